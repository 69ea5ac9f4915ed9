@testable import LanfsProtocol

struct Violation: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// What a commit's contents are in the simulation: the client table, and which commit made the record.
struct SimulatedContents: Equatable {
    /// Per client, the number of its last commit.
    var table: [UInt64]
    var writer: UInt8
    var number: UInt64

    init(table: [UInt64], writer: UInt8, number: UInt64) {
        self.table = table
        self.writer = writer
        self.number = number
    }

    init(_ record: RootRecord) {
        var reader = ByteReader(record.contents)
        writer = (try? reader.integer()) ?? 255
        number = (try? reader.integer()) ?? 0
        table = []
        // Not to the first error: each costs a backtrace under Swift Testing.
        while reader.remaining >= 8, let number: UInt64 = try? reader.integer() { table.append(number) }
    }

    var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.append(self.writer)
        writer.append(number)
        for number in table { writer.append(number) }
        return writer.bytes
    }

    func committing(_ number: UInt64, by client: Int) -> SimulatedContents {
        var next = SimulatedContents(table: table, writer: UInt8(client), number: number)
        next.table[client] = number
        return next
    }
}

/// Sees everything at once, as nobody in the real world can: which values are chosen, whether they form one chain, and
/// whether what clients were told is true.
struct RegisterOracle {
    private struct Acceptance {
        var record: RootRecord
        var keepers: UInt32
    }

    /// An attempt: ballots of different epochs have nothing to do with each other.
    private struct Attempt: Hashable, Comparable {
        var epoch: UInt64
        var ballot: Ballot

        init(_ record: RootRecord) { (epoch, ballot) = (record.epoch, record.ballot) }

        static func < (one: Attempt, other: Attempt) -> Bool {
            (one.epoch, one.ballot) < (other.epoch, other.ballot)
        }
    }

    /// Of each epoch that a chosen seal opened: how many keepers choose, and which may.
    private var quorums: [UInt64: (count: Int, keepers: UInt32)]
    /// All that are keepers in some epoch, by number.
    private let servers: [ServerID]
    private var acceptances: [Attempt: Acceptance] = [:]
    /// In order of epoch and ballot.
    private(set) var chosen: [RootRecord] = []
    private var isChosenAttempt: Set<Attempt> = []
    /// Seals that no quorum chose (M3).
    private var forced: Set<Attempt> = []
    /// Values whose blocks come to the keepers with the vote, by contents, and the keepers that have them on disk (B2).
    private var carried: [[UInt8]: UInt32] = [:]
    private var succeeded: [(client: Int, number: UInt64)] = []
    private var failed: [(client: Int, number: UInt64)] = []
    private let authority = SimulatedAuthority()

    /// `keepers`: of the first epoch. `servers`: all that may ever be keepers.
    init(keepers: Keepers, servers: [ServerID]? = nil) {
        self.servers = servers ?? keepers.members
        quorums = [:]
        quorums[1] = quorum(keepers)
    }

    private func quorum(_ keepers: Keepers) -> (count: Int, keepers: UInt32) {
        let numbers = servers.indices.filter { keepers.members.contains(servers[$0]) }
        return (keepers.quorum, numbers.reduce(0) { $0 | 1 << UInt32($1) })
    }

    var newest: RootRecord? { chosen.last }
    var epochCount: Int { quorums.count }

    func isChosen(_ record: RootRecord) -> Bool { isChosenAttempt.contains(Attempt(record)) }

    /// A client brings the blocks of a value with it when it asks for votes.
    mutating func carries(_ contents: [UInt8]) {
        if carried[contents] == nil { carried[contents] = 0 }
    }

    func isCarried(_ contents: [UInt8]) -> Bool { carried[contents] != nil }

    /// A keeper has the blocks of this value on disk.
    mutating func stored(_ contents: [UInt8], by keeper: Int) { carried[contents]? |= 1 << UInt32(keeper) }

    func hasBlocks(_ keeper: Int, of contents: [UInt8]) -> Bool { carried[contents].map { $0 >> UInt32(keeper) & 1 == 1 } ?? false }

    /// A keeper has this on disk, for good.
    mutating func accepted(_ record: RootRecord, in epoch: UInt64, by keeper: Int) throws {
        guard record.epoch == epoch else {
            // M2: what a keeper starts an epoch with.
            guard record.opens(epoch), isChosen(record) else { throw Violation("epoch \(epoch) was opened by no chosen seal") }
            return
        }
        guard let quorum = quorums[epoch], quorum.keepers >> UInt32(keeper) & 1 == 1 else {
            throw Violation("keeper \(keeper) accepted in epoch \(epoch), of which it is none")
        }
        var acceptance = acceptances[Attempt(record)] ?? Acceptance(record: record, keepers: 0)
        guard acceptance.record.sameValue(as: record) else {
            throw Violation("two values under ballot \(record.ballot)")
        }
        acceptance.keepers |= 1 << UInt32(keeper)
        acceptances[Attempt(record)] = acceptance
        if acceptance.keepers.nonzeroBitCount >= quorum.count, isChosenAttempt.insert(Attempt(record)).inserted {
            // Invariant 2. What opens an epoch has the blocks of the seal before it, where they were.
            if let copies = carried[record.contents], !chosen.contains(where: { $0.contents == record.contents }) {
                guard (copies & quorum.keepers).nonzeroBitCount >= quorum.count else {
                    throw Violation("sequence \(record.sequence) is chosen, and its blocks are on \(copies.nonzeroBitCount) disks")
                }
            }
            try choose(record)
        }
    }

    /// M3: a keeper went on from what it had accepted, which counts as chosen by that, and the seal with it.
    mutating func recovered(_ seal: RootRecord, on base: RootRecord) throws {
        guard forced.insert(Attempt(seal)).inserted else { return }
        if base.epoch == seal.epoch, isChosenAttempt.insert(Attempt(base)).inserted { try choose(base) }
        isChosenAttempt.insert(Attempt(seal))
        try choose(seal)
    }

    /// Invariant 1: chosen roots form one chain.
    private mutating func choose(_ record: RootRecord) throws {
        if let next = record.sealedNext { quorums[record.epoch + 1] = quorum(next) }
        var index = chosen.endIndex
        while index > 0, Attempt(chosen[index - 1]) > Attempt(record) { index -= 1 }
        if index > 0 { try link(chosen[index - 1], record) }
        if index < chosen.endIndex { try link(record, chosen[index]) }
        chosen.insert(record, at: index)
    }

    private func link(_ parent: RootRecord, _ child: RootRecord) throws {
        if child.sameValue(as: parent) { return }
        guard child.sequence == parent.sequence + 1, child.previous == parent.hash(authority) else {
            throw Violation(
                "fork: the value chosen at \(child.epoch):\(child.ballot.counter) (sequence \(child.sequence)) does not descend "
                    + "from the one chosen at \(parent.epoch):\(parent.ballot.counter) (sequence \(parent.sequence))")
        }
        // M1, M2: the servers are those of the record before, or a change of them.
        let config = parent.config(in: child.epoch)
        guard child.config == config || child.config.version == config.version + 1 else {
            throw Violation("a change of servers, version \(config.version), is lost in version \(child.config.version)")
        }
        let before = SimulatedContents(parent)
        let after = SimulatedContents(child)
        if parent.sealedNext != nil {
            // Invariant 5: nothing after the seal but what opens the next epoch, which changes nothing or is a commit.
            guard child.epoch == parent.epoch + 1 else { throw Violation("epoch \(parent.epoch) goes on after its seal") }
            if before == after { return }
        }
        if before == after, forced.contains(Attempt(child)) { return }
        guard before.committing(after.number, by: Int(after.writer)) == after,
            before.table[Int(after.writer)] < after.number
        else { throw Violation("commit \(after.number) of client \(after.writer) was applied twice or out of order") }
    }

    /// P3, L1: what a holder builds on is the newest chosen root.
    func checkAcquired(_ base: RootRecord) throws {
        guard isChosen(base) else { throw Violation("a client acquired a root that is not chosen") }
        guard let newest, newest.sameValue(as: base) else {
            throw Violation("a client holds the lease on a root that is not the newest")
        }
    }

    /// P4, invariant 6: a read shows a chosen root, and none older than what was chosen when it began.
    func checkRead(_ record: RootRecord, from floor: UInt64) throws {
        guard isChosen(record) else { throw Violation("a read showed a root that is not chosen") }
        guard record.sequence >= floor else {
            throw Violation("a read showed sequence \(record.sequence) when \(floor) was chosen before it began")
        }
    }

    mutating func told(_ client: Int, _ number: UInt64, success: Bool) {
        if success { succeeded.append((client, number)) } else { failed.append((client, number)) }
    }

    /// Invariant 4: no commit twice, none lost, and none that was called a failure.
    func checkHistory() throws {
        var commits: Set<[UInt64]> = []
        var last: RootRecord?
        for record in chosen where record.sequence > last?.sequence ?? 0 {
            let contents = SimulatedContents(record)
            // What opens an epoch may change nothing.
            let isOpening =
                last.map { $0.epoch < record.epoch && SimulatedContents($0) == contents } ?? false
                || forced.contains(Attempt(record))
            last = record
            if isOpening { continue }
            guard commits.insert([UInt64(contents.writer), contents.number]).inserted else {
                throw Violation("commit \(contents.number) of client \(contents.writer) is in the chain twice")
            }
        }
        for (client, number) in succeeded where !commits.contains([UInt64(client), number]) {
            throw Violation("commit \(number) of client \(client) was reported done and is lost")
        }
        for (client, number) in failed where commits.contains([UInt64(client), number]) {
            throw Violation("commit \(number) of client \(client) was reported failed and is in the chain")
        }
    }

    var commitCount: Int { succeeded.count }

    /// Whether nothing that some keeper accepted under a lower ballot may yet be chosen, or not.
    func isDecided(below ballot: Ballot) -> Bool {
        acceptances.keys.allSatisfy { $0.ballot >= ballot || isChosenAttempt.contains($0) }
    }

    /// Which keepers have ever accepted what.
    var memory: [(record: RootRecord, keepers: UInt32)] { acceptances.values.map { ($0.record, $0.keepers) } }
}
