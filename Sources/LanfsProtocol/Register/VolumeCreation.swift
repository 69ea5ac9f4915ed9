public enum VolumeCreationEffect: Equatable, Sendable {
    case send(to: ServerID, RegisterRequest)
    case wake(at: Duration)
    /// Every keeper holds this first record. The end; go on with a ``Proposer``.
    case created(RootRecord)
    /// The volume exists and is in use; this is one of its records, not necessarily chosen. The end.
    case exists(RootRecord)
    /// Two creations at once: nothing more was done. The end.
    case conflict(RootRecord)
    /// This keeper says no for good: it is not in the record, or lost its memory. The end.
    case refused(ServerID, RegisterRefusal)
}

/// F5: makes a volume's first record known to all its keepers, explicitly: done by the client that made the volume's
/// key, never because servers say they do not know the volume.
///
/// It asks every keeper first and needs an answer from every one: a creation that was interrupted is completed with
/// the record it began with.
public struct VolumeCreation<Verifier: RecordVerifier>: Sendable {
    private enum Stage: Sendable {
        case asking, initializing, over
    }

    private var record: RootRecord
    private let keepers: Keepers
    private let sender: ProposerID
    private let verifier: Verifier
    private let timing: LeaseTiming
    private var stage = Stage.asking
    private var answered = KeeperSet()
    private var askAgainAt = Duration.zero
    private var delay: Duration

    /// `record`: signed, and of sequence 0.
    public init(
        creating record: RootRecord, sender: ProposerID, verifier: Verifier, timing: LeaseTiming = .standard
    ) {
        self.record = record
        keepers = record.config.keepers
        self.sender = sender
        self.verifier = verifier
        self.timing = timing
        delay = timing.firstRetry
    }

    public mutating func start(now: Duration) -> [VolumeCreationEffect] {
        askAgainAt = now + delay
        return ask()
    }

    public mutating func tick(now: Duration) -> [VolumeCreationEffect] {
        guard stage != .over else { return [] }
        guard now >= askAgainAt else { return [.wake(at: askAgainAt)] }
        delay = min(delay * 2, timing.longestRetry)
        askAgainAt = now + delay
        return ask()
    }

    public mutating func answered(
        _ server: ServerID, _ request: RegisterRequest, _ response: RegisterResponse, now: Duration
    ) -> [VolumeCreationEffect] {
        guard let keeper = keepers.members.firstIndex(of: server) else { return [] }
        switch (stage, request.body, response.verdict) {
        case (.asking, .read, .refused(.uninitialized)):
            return count(keeper, now)
        case (.asking, .read, .accepted(_, let found?)) where found.isSigned(for: record.volume, verifier):
            guard found.sequence == 0, found.config.keepers == keepers else { return end(.exists(found)) }
            record = found
            return count(keeper, now)
        case (.initializing, .initialize(let asked, _), .yes) where asked.sameValue(as: record):
            return count(keeper, now)
        case (.initializing, .initialize, .refused(.occupied(let found))):
            return end(.conflict(found))
        case (.asking, .read, .refused(let refusal)), (.initializing, .initialize, .refused(let refusal)):
            return end(.refused(server, refusal))
        default:
            return []
        }
    }

    private mutating func count(_ keeper: Int, _ now: Duration) -> [VolumeCreationEffect] {
        answered.insert(keeper)
        guard answered.count == keepers.members.count else { return [] }
        guard stage == .asking else { return end(.created(record)) }
        stage = .initializing
        answered = KeeperSet()
        delay = timing.firstRetry
        askAgainAt = now + delay
        return ask()
    }

    private mutating func end(_ effect: VolumeCreationEffect) -> [VolumeCreationEffect] {
        stage = .over
        return [effect]
    }

    private func ask() -> [VolumeCreationEffect] {
        let body = stage == .asking ? RegisterRequest.Body.read(known: nil) : .initialize(record, next: nil)
        let request = RegisterRequest(epoch: record.epoch, sender: sender, body: body)
        let silent = keepers.members.indices.filter { !answered.contains($0) }
        return silent.map { .send(to: keepers.members[$0], request) } + [.wake(at: askAgainAt)]
    }
}
