import TestSupport
@testable import LanfsProtocol

/// What persons make of a volume when they recover it by force, on as many sides as there are, and what the machines notice
/// that have seen one of them (F1, M3). Which value is chosen is decided here: how keepers agree is another simulation's.
struct RecoveryWorld {
    enum Mutant: CaseIterable, Sendable {
        case ignoresIdentity, looksAtNewestOnly
    }

    /// A root somebody may see.
    private struct Root {
        var record: RootRecord
        var recoveries: RecoveryHistory
        var parent: Int?
    }

    /// A set of keepers that go on agreeing with each other.
    private struct Side {
        var epoch: UInt64
        var newest: Int
        /// What each keeper accepted last: an older root, or one that was not chosen.
        var accepted: [ServerID: Int]
        /// Some are with another side now, and too few are left to agree.
        var isBroken = false
    }

    private let authority = SimulatedAuthority()
    private let mutant: Mutant?
    private var random: SplitMix64
    private let servers: [ServerID]
    private var roots: [Root] = []
    private var sides: [Side] = []
    /// What each machine saw last.
    private var machines: [Int]
    private var counter: UInt64 = 1
    private(set) var tally = Tally()

    init(seed: UInt64, mutant: Mutant? = nil) {
        var random = SplitMix64(seed: seed)
        self.mutant = mutant
        servers = (0..<5).map { _ in random.id() }
        let keepers = Keepers(Array(servers.prefix(random.pick([2, 2, 3, 5]))))
        let config = VolumeConfig(
            version: 1, servers: servers.map { Member(server: $0, weight: 1) }, keepers: keepers, replicas: 2)
        let ballot = Ballot(counter: 1, proposer: 1)
        let genesis = RootRecord(creating: random.id(), config: config, contents: [], ballot: ballot).signed(ballot: ballot, authority)
        machines = [0, 0, 0]
        self.random = random
        roots = [Root(record: genesis, recoveries: RecoveryHistory())]
        sides = [Side(epoch: 1, newest: 0, accepted: keepers.members.reduce(into: [:]) { $0[$1] = 0 })]
    }

    mutating func run() throws {
        for _ in 0..<120 {
            let side = random.below(sides.count)
            switch random.below(8) {
            case 0...2: commit(side)
            case 3: move(side)
            case 4 where sides.count < 6 && roots[sides[side].newest].recoveries.points.count < RecoveryHistory.limit: recover(side)
            default: try look(random.below(machines.count), at: side)
            }
        }
    }

    private mutating func nextBallot() -> Ballot {
        counter += 1
        return Ballot(counter: counter, proposer: random.wide())
    }

    private mutating func add(_ record: RootRecord, _ recoveries: RecoveryHistory, on parent: Int) -> Int {
        roots.append(Root(record: record, recoveries: recoveries, parent: parent))
        return roots.count - 1
    }

    private mutating func propose(on side: Side, sealing next: Keepers?) -> Int {
        let base = roots[side.newest]
        let change = RootChange(contents: random.bytes(4), gcEpoch: 0, sealedNext: next)
        let record = base.record.child(change, epoch: side.epoch, ballot: nextBallot(), signer: authority)
        return add(record, base.recoveries, on: side.newest)
    }

    private mutating func commit(_ index: Int, sealing next: Keepers? = nil) {
        guard !sides[index].isBroken else { return }
        let side = sides[index]
        let keepers = roots[side.newest].record.config(in: side.epoch).keepers
        // Now and then one was told of another value first, which came to nothing.
        if next == nil, random.chance(0.2) {
            let keeper = random.pick(keepers.members)
            let proposed = propose(on: side, sealing: nil)
            sides[index].accepted[keeper] = proposed
        }
        let chosen = propose(on: side, sealing: next)
        sides[index].newest = chosen
        var rest = keepers.members
        for _ in 0..<(keepers.quorum + random.below(rest.count - keepers.quorum + 1)) {
            let keeper = rest.remove(at: random.below(rest.count))
            sides[index].accepted[keeper] = chosen
        }
        tally[.commits] += 1
    }

    private mutating func move(_ index: Int) {
        guard !sides[index].isBroken else { return }
        var rest = servers
        let next = Keepers((0..<random.pick([1, 2, 3])).map { _ in rest.remove(at: random.below(rest.count)) })
        commit(index, sealing: next)
        sides[index].epoch += 1
        let newest = sides[index].newest
        sides[index].accepted = next.members.reduce(into: [:]) { $0[$1] = newest }
        tally[.moves] += 1
    }

    /// A person at some of the keepers holds the others for lost. Those may go on.
    private mutating func recover(_ index: Int) {
        let side = sides[index]
        let keepers = roots[side.newest].record.config(in: side.epoch).keepers
        let reached = keepers.members.filter { side.accepted[$0] != nil && random.chance(0.5) }
        let survivors = reached.compactMap { server in
            side.accepted[server].map { ForcedRecovery.Survivor(server: server, record: roots[$0].record) }
        }
        guard ForcedRecovery.isNeeded(survivors, of: keepers),
            let recovery = ForcedRecovery(from: survivors, in: side.epoch), let base = side.accepted[recovery.server]
        else { return }
        var recoveries = roots[base].recoveries
        recoveries.ignoresIdentity = mutant == .ignoresIdentity
        recoveries.looksAtNewestOnly = mutant == .looksAtNewestOnly
        recoveries.add(recovery.point(id: random.next(), authority))
        let seal = recovery.seal(contents: random.bytes(4), ballot: nextBallot(), authority)
        let root = add(seal, recoveries, on: base)
        sides[index].accepted[recovery.server] = nil
        sides[index].isBroken = sides[index].accepted.count < keepers.quorum
        sides.append(Side(epoch: side.epoch + 1, newest: root, accepted: [recovery.server: root]))
        tally[.recoveries] += 1
        tally.note(.M3)
    }

    /// Invariant 18: an alarm exactly when what is shown does not descend from what was seen.
    private mutating func look(_ machine: Int, at side: Int) throws {
        let (seen, shown) = (roots[machines[machine]], roots[sides[side].newest])
        let memory = RollbackMemory(seen.record, seen.recoveries, authority)
        let judgement = memory.judge(shown.record, authority)
        let isAlarmed =
            judgement == .rolledBack || judgement == .forked || shown.recoveries.relation(to: memory) != .sameSide
        guard isAlarmed != descends(sides[side].newest, from: machines[machine]) else {
            throw Violation(
                "a machine that saw commit \(seen.record.sequence) is \(isAlarmed ? "" : "not ")alarmed by commit "
                    + "\(shown.record.sequence), \(judgement), \(shown.recoveries.points.count) recoveries")
        }
        tally[.reads] += 1
        if isAlarmed { tally.note(.F1) } else { machines[machine] = sides[side].newest }
    }

    private func descends(_ root: Int, from ancestor: Int) -> Bool {
        var root = root
        while root > ancestor, let parent = roots[root].parent { root = parent }
        return root == ancestor
    }
}
