/// L4, the holder's half: what keepers said of other sessions since the lease was asked for.
struct Company: Sendable {
    /// When the newest request was sent to which each keeper answered that it knows nobody else.
    private var alone: [Duration?]
    private var lastSign: Duration
    /// Who waits for this holder, as each keeper said last.
    private(set) var waiting: [[JoinTicket]]
    /// Somebody was heard of while nobody was known to be there: what was acknowledged till then may be in no commit. Until it is
    /// no answer counts for the lease, from whatever keeper: else the lease could go on at those that the newcomer has joined
    /// already, for as long as the commit takes, while the join runs out at the others.
    private(set) var mustCommit = false
    /// The client was told, and has not acknowledged since.
    var isTold = false

    /// - Parameter since: nothing that was asked before counts.
    init(keepers: Int, since: Duration) {
        lastSign = since
        alone = Array(repeating: nil, count: keepers)
        waiting = Array(repeating: [], count: keepers)
    }

    var isWaitedFor: Bool { mustCommit || waiting.contains { !$0.isEmpty } }

    mutating func heard(
        _ keeper: Int, _ response: RegisterResponse, sentAt: Duration, now: Duration, quorum: Int,
        _ mutants: ProposerMutants
    ) {
        if case .refused = response.verdict { return }
        waiting[keeper] = response.joining
        if !response.isAlone {
            if isAbsent(quorum: quorum, mutants) { mustCommit = !mutants.contains(.countsSigns) }
            lastSign = now
        } else if response.leased {
            // A keeper whose word came without the lease could let somebody read at once.
            alone[keeper] = max(alone[keeper] ?? sentAt, sentAt)
        }
    }

    /// Only the word of a round that was sent after the last sign of somebody: an older one may have passed the newcomer on its
    /// way.
    func isAbsent(quorum: Int, _ mutants: ProposerMutants) -> Bool {
        alone.count { word in
            guard let word else { return false }
            return word >= lastSign || mutants.contains(.believesOldWord)
        } >= quorum
    }

    mutating func admitted() {
        for keeper in waiting.indices { waiting[keeper] = [] }
        mustCommit = false
        isTold = false
    }
}
