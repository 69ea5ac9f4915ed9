public enum EpochMoveEffect: Equatable, Sendable {
    case send(to: ServerID, RegisterRequest)
    /// Send `tick` at this time; replaces the time asked for before.
    case wake(at: Duration)
    /// The next epoch has begun: go on with a ``Proposer`` there. The end.
    case begun
}

/// M2 (3): makes a chosen sealing record known to the keepers that it names. Anyone who sees it does this; repeats change
/// nothing.
///
/// With it goes the ballot that holds the lease in the new epoch, that of who sealed: everybody else has to wait there as
/// long as in the epoch before.
public struct EpochMove: Sendable {
    private let seal: RootRecord
    private let keepers: Keepers
    private let sender: ProposerID
    private let timing: LeaseTiming
    private var begun = KeeperSet()
    private var startedAt = Duration.zero
    private var askAgainAt = Duration.zero
    private var delay: Duration
    private var isOver = false

    /// `nil` for a record that seals nothing.
    public init?(after seal: RootRecord, sender: ProposerID, timing: LeaseTiming = .standard) {
        guard let keepers = seal.sealedNext, seal.epoch < .max else { return nil }
        self.seal = seal
        self.keepers = keepers
        self.sender = sender
        self.timing = timing
        delay = timing.firstRetry
    }

    public mutating func start(now: Duration) -> [EpochMoveEffect] {
        startedAt = now
        return ask(now)
    }

    public mutating func tick(now: Duration) -> [EpochMoveEffect] {
        guard !isOver else { return [] }
        if isEnough(now) { return end() }
        guard now >= askAgainAt else { return [.wake(at: askAgainAt)] }
        delay = min(delay * 2, timing.longestRetry)
        return ask(now)
    }

    public mutating func answered(
        _ server: ServerID, _ response: RegisterResponse, now: Duration
    ) -> [EpochMoveEffect] {
        guard !isOver, let keeper = keepers.members.firstIndex(of: server) else { return [] }
        switch response.verdict {
        case .yes: begun.insert(keeper)
        // It went on from there already.
        case .refused(.occupied), .refused(.wrongEpoch):
            if response.epoch > seal.epoch { begun.insert(keeper) }
        case .accepted, .refused: break
        }
        return isEnough(now) ? end() : []
    }

    /// A quorum; the others get a few chances more, because only the seal can begin the epoch there.
    private func isEnough(_ now: Duration) -> Bool {
        begun.count == keepers.members.count
            || begun.count >= keepers.quorum && now >= startedAt + timing.shortestRenewal
    }

    private mutating func end() -> [EpochMoveEffect] {
        isOver = true
        return [.begun]
    }

    private mutating func ask(_ now: Duration) -> [EpochMoveEffect] {
        askAgainAt = now + delay
        let next = seal.ballot.next(for: seal.ballot.proposer)
        let request = RegisterRequest(epoch: seal.epoch + 1, sender: sender, body: .initialize(seal, next: next))
        let silent = keepers.members.indices.filter { !begun.contains($0) }
        return silent.map { .send(to: keepers.members[$0], request) } + [.wake(at: askAgainAt)]
    }
}
