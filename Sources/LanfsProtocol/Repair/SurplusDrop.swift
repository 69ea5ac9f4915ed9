/// When this server may let go of a copy that it need not have (B5): not before all R servers where the block belongs
/// have proven, with a fresh nonce and within a short time, that they hold its bytes; not within a day of becoming
/// surplus; and not while anybody is suspect or anything changes.
public struct SurplusDrop: Sendable {
    public struct Options: Sendable {
        /// How long a copy stays after it became surplus. It is also what keeps a member that flaps from making its
        /// blocks be copied again and again: the copies made last time are still there.
        public var age: Duration = .seconds(24 * 3600)
        /// From the first challenge to the drop.
        public var proofTime: Duration = .seconds(30)
        /// After a round that failed.
        public var retry: Duration = .seconds(3600)
        /// Blocks that wait for their age at once; others are noticed when these are gone.
        public var candidateLimit = 1 << 16
        /// Blocks that are being proven at once.
        public var roundLimit = 16

        public init() {}
    }

    public enum Effect: Equatable, Sendable {
        /// Read this server's own copy, check it against its name (B1), and call `digested` with a challenge that
        /// carries its present tag, and the copy's hashes after `challenge.prefix` for each of the provers; or
        /// `withdraw` if it is not here whole any more.
        case digest(BlockID, nonce: UInt128, provers: [ServerID])
        case challenge(PossessionChallenge, to: ServerID)
        /// Delete the copy now, if its tag is still this one: a client that touched it meanwhile counts on it (G2).
        case drop(BlockID, gcEpoch: UInt64)
    }

    private struct Candidate: Sendable {
        var block: BlockID
        /// When its age, or the time until the next try, is over.
        var due: Duration
    }

    private struct Round: Sendable {
        var block: BlockID
        var nonce: UInt128
        /// Of the view under which it began.
        var generation: UInt64
        var provers: [ServerID]
        /// The own copy's tag when it was hashed.
        var gcEpoch: UInt64 = 0
        /// Of the provers, in their order; empty until the own copy is hashed.
        var expected: [PossessionDigest] = []
        var proven: [Bool]
        var deadline: Duration
    }

    private let options: Options
    private var view: MemberView
    /// In the order of the ids.
    private var candidates: [Candidate] = []
    private var rounds: [Round] = []
    /// Where the search for due candidates goes on.
    private var cursor = BlockID.zero
    private var ticked: Duration?

    public init(view: MemberView, options: Options = Options()) {
        self.view = view
        self.options = options
    }

    /// Bounded by the options.
    public var candidateCount: Int { candidates.count }
    public var roundCount: Int { rounds.count }

    /// After every change of `Health`: what was proven under other circumstances is not proven.
    public mutating func update(_ next: MemberView) {
        guard next.generation != view.generation else { return }
        let previous = view
        view = next
        rounds = []
        if next.config.version != previous.config.version {
            candidates = []
        } else if next.replaces(previous) {
            // A copy in the place of one that was lost is needed; when that one is back, its age starts anew.
            candidates.removeAll { !next.isSurplus($0.block) }
        }
    }

    /// A page of this server's own live blocks, as `RepairPlan` gets it.
    public mutating func consider(_ blocks: [StoredBlock], now: Duration) {
        for stored in blocks {
            let place = place(of: stored.block)
            let isKnown = place < candidates.count && candidates[place].block == stored.block
            if !view.isSurplus(stored.block) {
                if isKnown { candidates.remove(at: place) }
            } else if !isKnown, candidates.count < options.candidateLimit {
                candidates.insert(Candidate(block: stored.block, due: now + options.age), at: place)
            }
        }
    }

    /// Every second, after `Health.tick` and `update`. Nothing is dropped later than two seconds after it, because a
    /// process that was stopped does not know yet who is alive.
    /// - Parameter nonce: 128 random bits that were never used before.
    public mutating func tick(nonce: UInt128, now: Duration) -> [Effect] {
        ticked = now
        for round in rounds where round.deadline <= now { postpone(round.block, now) }
        rounds.removeAll { $0.deadline <= now }
        guard view.isCalm else { return [] }

        var effects: [Effect] = []
        let start = place(of: cursor)
        for offset in candidates.indices {
            guard rounds.count < options.roundLimit else { break }
            let candidate = candidates[(start + offset) % candidates.count]
            guard candidate.due <= now, round(of: candidate.block) == nil else { continue }
            let provers = view.home(of: candidate.block)
            guard provers.count == view.placement.replicas, !provers.contains(view.server) else { continue }
            cursor = candidate.block
            rounds.append(
                Round(
                    block: candidate.block, nonce: nonce, generation: view.generation, provers: provers,
                    proven: provers.map { _ in false }, deadline: now + options.proofTime))
            effects.append(.digest(candidate.block, nonce: nonce, provers: provers))
        }
        return effects
    }

    /// What this server's own copy says that each prover has to answer.
    public mutating func digested(
        _ challenge: PossessionChallenge, expected: [PossessionDigest]
    ) -> [Effect] {
        guard let index = round(of: challenge.block), rounds[index].nonce == challenge.nonce,
            challenge.configVersion == view.config.version, rounds[index].expected.isEmpty,
            expected.count == rounds[index].provers.count
        else { return [] }
        rounds[index].gcEpoch = challenge.gcEpoch
        rounds[index].expected = expected
        return rounds[index].provers.map { .challenge(challenge, to: $0) }
    }

    /// A prover's answer. The drop is decided here or never: at this moment everybody is alive, nothing changed since
    /// the challenge, and all have proven.
    public mutating func answered(_ answer: PossessionAnswer, from member: ServerID, now: Duration) -> [Effect] {
        guard let index = round(of: answer.block), rounds[index].nonce == answer.nonce,
            let prover = rounds[index].provers.firstIndex(of: member), prover < rounds[index].expected.count,
            let ticked, now - ticked <= .seconds(2)
        else { return [] }
        guard answer.digest == rounds[index].expected[prover], rounds[index].deadline > now else {
            rounds.remove(at: index)
            postpone(answer.block, now)
            return []
        }
        rounds[index].proven[prover] = true
        guard rounds[index].proven.allSatisfy({ $0 }), rounds[index].generation == view.generation, view.isCalm else {
            return []
        }
        let gcEpoch = rounds[index].gcEpoch
        withdraw(answer.block)
        return [.drop(answer.block, gcEpoch: gcEpoch)]
    }

    /// The block is not here any more, or not whole.
    public mutating func withdraw(_ block: BlockID) {
        rounds.removeAll { $0.block == block }
        let place = place(of: block)
        if place < candidates.count, candidates[place].block == block { candidates.remove(at: place) }
    }

    /// A round failed. Where others wait for its place it goes, and is noticed again when there is room: blocks that
    /// nobody ever proves do not fill the table for good.
    private mutating func postpone(_ block: BlockID, _ now: Duration) {
        let place = place(of: block)
        guard place < candidates.count, candidates[place].block == block else { return }
        if candidates.count >= options.candidateLimit {
            candidates.remove(at: place)
        } else {
            candidates[place].due = now + options.retry
        }
    }

    private func round(of block: BlockID) -> Int? {
        rounds.firstIndex { $0.block == block }
    }

    /// Where the block's candidate is, or belongs.
    private func place(of block: BlockID) -> Int {
        var low = 0
        var high = candidates.count
        while low < high {
            let middle = (low + high) / 2
            if candidates[middle].block < block { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
