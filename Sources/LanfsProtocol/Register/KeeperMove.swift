public enum KeeperMoveEffect: Equatable, Sendable {
    case send(to: ServerID, RegisterRequest)
    case wake(at: Duration)
    /// Every new keeper answers and can take the epoch: now, and only as long as the lease is held, commit the seal.
    case ready
    /// A quorum of the new keepers has the seal: go on with a ``Proposer`` in the new epoch. Those that are missing go on
    /// being asked.
    case opened
    /// All of them have it. The end.
    case complete
    /// This keeper cannot take part: it lost its memory, or (`nil`) knows this epoch already. Before the seal that is the
    /// end, with nothing done; after it the others go on without it.
    case refused(ServerID, RegisterRefusal?)
}

/// M2: other keepers for a volume. Before the seal it asks whether all of them can take the new epoch; the seal itself is a
/// commit of the ``Proposer``; after it, this brings the seal to the new keepers. Anyone who knows a chosen seal may do
/// that, as often as they like: the first one counts, and it alone gives the sealing holder its lease.
public struct KeeperMove<Verifier: RecordVerifier>: Sendable {
    private enum Stage: Sendable {
        case asking, ready, opening, over
    }

    public let keepers: Keepers
    /// The new one.
    public let epoch: UInt64
    private let volume: VolumeID
    private let sender: ProposerID
    private let verifier: Verifier
    private let timing: LeaseTiming
    private var stage = Stage.asking
    private var seal: RootRecord?
    private var next: Ballot?
    private var answered = KeeperSet()
    private var askAgainAt = Duration.zero
    private var delay: Duration

    /// - Parameters:
    ///   - epoch: the new one.
    ///   - sender: of the client's ballots.
    public init(
        to keepers: Keepers, epoch: UInt64, volume: VolumeID, sender: ProposerID, verifier: Verifier,
        timing: LeaseTiming = .standard
    ) {
        self.keepers = keepers
        self.epoch = epoch
        self.volume = volume
        self.sender = sender
        self.verifier = verifier
        self.timing = timing
        delay = timing.firstRetry
    }

    /// Whether the seal is on its way to the new keepers.
    public var isOpening: Bool { stage == .opening }
    public var isOver: Bool { stage == .over }

    /// Asks whether all can take part.
    public mutating func start(now: Duration) -> [KeeperMoveEffect] {
        askAgainAt = now + delay
        return ask()
    }

    /// Brings the seal, which must be chosen, to the new keepers; legal at any time, also without `start`.
    ///
    /// - Parameter next: the ballot under which its proposer goes on, which has the lease then; `nil` for anybody else.
    public mutating func open(_ seal: RootRecord, next: Ballot?, now: Duration) -> [KeeperMoveEffect] {
        guard stage != .opening, seal.opens(epoch), seal.sealedNext == keepers else { return [] }
        self.seal = seal
        self.next = next
        stage = .opening
        answered = KeeperSet()
        delay = timing.firstRetry
        askAgainAt = now + delay
        return ask()
    }

    public mutating func tick(now: Duration) -> [KeeperMoveEffect] {
        guard stage == .asking || stage == .opening else { return [] }
        guard now >= askAgainAt else { return [.wake(at: askAgainAt)] }
        delay = min(delay * 2, timing.longestRetry)
        askAgainAt = now + delay
        return ask()
    }

    public mutating func answered(
        _ server: ServerID, _ request: RegisterRequest, _ response: RegisterResponse
    ) -> [KeeperMoveEffect] {
        guard let keeper = keepers.members.firstIndex(of: server) else { return [] }
        switch (stage, request.body, response.verdict) {
        case (.asking, .read, .refused(.uninitialized)):
            return count(keeper)
        case (.asking, .read, .accepted) where response.epoch < epoch:
            return count(keeper)  // a keeper of an epoch before
        case (.opening, .initialize(let asked, _), .yes) where asked.sameValue(as: seal ?? asked):
            return count(keeper)
        case (.opening, .initialize, .refused(.occupied(let found))):
            // It has gone on in this epoch, or past it, from the same seal.
            return found.isSigned(for: volume, verifier) && found.epoch >= epoch ? count(keeper) : end(server, response)
        case (.opening, .initialize, .refused(.wrongEpoch)):
            return response.epoch > epoch ? count(keeper) : []
        case (.asking, .read, .accepted), (.asking, .read, .refused), (.opening, .initialize, .refused):
            return end(server, response)
        default:
            return []
        }
    }

    private mutating func count(_ keeper: Int) -> [KeeperMoveEffect] {
        guard !answered.contains(keeper) else { return [] }
        answered.insert(keeper)
        if stage == .asking {
            guard answered.count == keepers.members.count else { return [] }
            stage = .ready
            return [.ready]
        }
        var effects: [KeeperMoveEffect] = answered.count == keepers.quorum ? [.opened] : []
        if answered.count == keepers.members.count {
            stage = .over
            effects.append(.complete)
        }
        return effects
    }

    private mutating func end(_ server: ServerID, _ response: RegisterResponse) -> [KeeperMoveEffect] {
        if stage == .asking { stage = .over }
        if case .refused(let refusal) = response.verdict { return [.refused(server, refusal)] }
        return [.refused(server, nil)]
    }

    private func ask() -> [KeeperMoveEffect] {
        let body = seal.map { RegisterRequest.Body.initialize($0, next: next) } ?? .read(known: nil)
        let request = RegisterRequest(epoch: epoch, sender: sender, body: body)
        let silent = keepers.members.indices.filter { !answered.contains($0) }
        return silent.map { .send(to: keepers.members[$0], request) } + [.wake(at: askAgainAt)]
    }
}
