public enum FastReadEffect: Equatable, Sendable {
    case send(to: ServerID, RegisterRequest)
    /// Send `tick` at this time; replaces the time asked for before.
    case wake(at: Duration)
    /// The newest chosen root. The end. It may seal its epoch: then the keepers it names know newer ones.
    case chosen(RootRecord)
    /// A commit was left half done and its holder is gone: have a ``Proposer`` acquire, which completes it. The end.
    case stuck
    /// The epoch is over: read in `epoch`, from the keepers that the record names for it. The end.
    case moved(RootRecord, epoch: UInt64)
    /// L4: the session's registration changed meanwhile: read again, with `session` as it is now. The end.
    case rejoin
}

/// L4: the registrations of one session in one epoch, by keeper; kept from one read to the next.
public struct SessionTickets: Equatable, Sendable {
    var known: [ServerID: UInt64] = [:]

    public init() {}
}

/// P4: the newest chosen root in one round, without a disk write at any keeper. One value of this type is one read:
/// hand it only answers to its own requests.
public struct FastRead<Verifier: RecordVerifier>: Sendable {
    private struct Reply: Sendable {
        var record: RootRecord
        var isLearned: Bool
    }

    public let volume: VolumeID
    public let epoch: UInt64
    public let keepers: Keepers
    private let sender: ProposerID
    private let known: RootRecord?
    private let chosen: ChosenEvidence?
    /// Where the session is registered (L4); `nil`: the read does not count on close-to-open.
    public private(set) var session: SessionTickets?
    /// The keepers that knew the session when this read began to count: enough of them to be part of any lease. Only their answers
    /// count, while they still know it by the same registration: so there was a moment when no holder was solo.
    private var joined = KeeperSet()
    private let verifier: Verifier
    private let timing: LeaseTiming

    private var replies: [Reply?]
    private var askAgainAt: Duration
    private var delay: Duration
    /// Since when a quorum disagrees.
    private var mixedSince: Duration?
    /// L4: some keeper does not let the session read yet.
    private var isJoining = false
    /// Whether no keeper that answered knows of another session. A hint.
    public private(set) var isAlone = true
    private var isOver = false
    #if DEBUG
        /// P4 broken, to show that the simulator notices: of mixed values the lower one is taken for chosen.
        var takesLowerOfMixed = false
    #else
        var takesLowerOfMixed: Bool { false }
    #endif

    /// `known`: a chosen root whose bytes need not travel again. `chosen`: the evidence that comes with it (A6). `session`:
    /// what others closed before must be seen (L4); the first read takes as long as it takes the holder to commit it.
    public init(
        volume: VolumeID, epoch: UInt64, keepers: Keepers, sender: ProposerID, known: RootRecord? = nil,
        chosen: ChosenEvidence? = nil, session: SessionTickets? = nil, verifier: Verifier, timing: LeaseTiming = .standard
    ) {
        self.volume = volume
        self.epoch = epoch
        self.keepers = keepers
        self.sender = sender
        self.known = known
        self.chosen = chosen
        self.session = session
        self.verifier = verifier
        self.timing = timing
        replies = Array(repeating: nil, count: keepers.members.count)
        askAgainAt = .zero
        delay = timing.firstRetry
    }

    public mutating func start(now: Duration) -> [FastReadEffect] {
        join()
        askAgainAt = now + delay
        return ask(keepers.members) + [.wake(at: askAgainAt)]
    }

    public mutating func tick(now: Duration) -> [FastReadEffect] {
        guard !isOver else { return [] }
        guard now >= askAgainAt else { return [.wake(at: askAgainAt)] }
        if let mixedSince {
            guard now - mixedSince < timing.length else { return end(.stuck) }
            delay = min(delay * 2, timing.longestRecheck)
            askAgainAt = now + delay
            return ask(keepers.members) + [.wake(at: askAgainAt)]
        }
        // Somebody the round counts on may be gone, and others be there.
        if joined.count > 0, registered.count > joined.count { return end(.rejoin) }
        delay = min(delay * 2, isJoining ? timing.longestRecheck : timing.longestRetry)
        askAgainAt = now + delay
        let silent = keepers.members.indices.filter { replies[$0] == nil }.map { keepers.members[$0] }
        return ask(silent) + [.wake(at: askAgainAt)]
    }

    public mutating func answered(
        _ server: ServerID, _ response: RegisterResponse, now: Duration
    ) -> [FastReadEffect] {
        guard !isOver, let keeper = keepers.members.firstIndex(of: server),
            case .accepted(let ballot, let bytes) = response.verdict,
            let record = bytes ?? (ballot == known?.ballot ? known : nil),
            record == known || record.isSigned(for: volume, verifier)
        else { return [] }
        if response.epoch > epoch {
            return record.belongs(to: response.epoch) ? end(.moved(record, epoch: response.epoch)) : []
        }
        guard response.epoch == epoch, record.epoch <= epoch else { return [] }
        if !response.isAlone { isAlone = false }
        if session != nil, !response.mayRead || !joined.contains(keeper) { return joining(keeper, response, now) }
        // Answers may overtake each other; what a keeper accepted only ever grows.
        if let before = replies[keeper], before.record.isNewer(than: record) { return [] }
        let isLearned =
            response.learned == ballot || replies[keeper].map { $0.isLearned && $0.record == record } == true
        replies[keeper] = Reply(record: record, isLearned: isLearned)
        return evaluate(now)
    }

    /// The keepers that know the session.
    private var registered: [Int] {
        keepers.members.indices.filter { session?.known[keepers.members[$0]] != nil }
    }

    /// Begins the round that counts, once the session is known to a part of any quorum.
    private mutating func join() {
        let registered = registered
        guard registered.count > keepers.members.count - keepers.quorum else { return }
        for keeper in registered { joined.insert(keeper) }
    }

    /// An answer that does not count: what it says of the registration.
    private mutating func joining(_ keeper: Int, _ response: RegisterResponse, _ now: Duration) -> [FastReadEffect] {
        let server = keepers.members[keeper]
        let before = session?.known[server]
        if joined.count > 0 {
            // One that was asked before the round began is late, and of no use.
            guard response.ticket != before || !joined.contains(keeper) else { return [] }
            session?.known[server] = response.ticket
            return joined.contains(keeper) ? end(.rejoin) : []
        }
        session?.known[server] = response.ticket
        join()
        if joined.count > 0 {
            delay = timing.firstRetry
            askAgainAt = now + delay
            return ask(keepers.members) + [.wake(at: askAgainAt)]
        }
        guard response.ticket == nil, !isJoining else { return [] }
        isJoining = true
        delay = timing.firstRecheck
        askAgainAt = now + delay
        return [.wake(at: askAgainAt)]
    }

    private mutating func evaluate(_ now: Duration) -> [FastReadEffect] {
        let heard = replies.compactMap { $0 }
        for reply in heard
        where heard.count(where: { $0.record.ballot == reply.record.ballot }) >= keepers.quorum {
            return end(.chosen(reply.record))
        }
        // Where all must agree, each of them has accepted everything that is chosen: what one has accepted last and knows
        // to be chosen is the newest.
        if keepers.quorum == keepers.members.count, let newest = heard.first(where: \.isLearned) {
            return end(.chosen(newest.record))
        }
        guard heard.count >= keepers.quorum else { return [] }
        if takesLowerOfMixed, let lowest = heard.min(by: { $1.record.isNewer(than: $0.record) }) {
            return end(.chosen(lowest.record))
        }
        // Never the lower value: the higher one may be chosen already. And not the higher one before that is known.
        if let highest = heard.max(by: { $1.record.isNewer(than: $0.record) }),
            heard.contains(where: { $0.isLearned && $0.record.ballot == highest.record.ballot })
        {
            return end(.chosen(highest.record))
        }
        guard mixedSince == nil else { return [] }
        mixedSince = now
        delay = timing.firstRecheck
        askAgainAt = now + delay
        return [.wake(at: askAgainAt)]
    }

    private mutating func end(_ effect: FastReadEffect) -> [FastReadEffect] {
        isOver = true
        return [effect]
    }

    private func ask(_ servers: [ServerID]) -> [FastReadEffect] {
        servers.map { server in
            var body = RegisterRequest.Body.read(known: known?.ballot)
            if let session {
                let counts = keepers.members.firstIndex(of: server).map(joined.contains) ?? false
                body = .join(known: known?.ballot, ticket: counts ? session.known[server] : nil)
            }
            return .send(to: server, RegisterRequest(epoch: epoch, sender: sender, chosen: chosen, body: body))
        }
    }
}
