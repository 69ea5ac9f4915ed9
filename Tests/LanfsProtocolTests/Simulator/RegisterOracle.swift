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
        while let number: UInt64 = try? reader.integer() { table.append(number) }
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

    let quorum: Int
    private var acceptances: [Ballot: Acceptance] = [:]
    /// In order of ballot.
    private(set) var chosen: [RootRecord] = []
    private var isChosenBallot: Set<Ballot> = []
    private var succeeded: [(client: Int, number: UInt64)] = []
    private var failed: [(client: Int, number: UInt64)] = []
    private let authority = SimulatedAuthority()

    init(quorum: Int) { self.quorum = quorum }

    var newest: RootRecord? { chosen.last }

    func isChosen(_ record: RootRecord) -> Bool { isChosenBallot.contains(record.ballot) }

    /// A keeper has this on disk, for good.
    mutating func accepted(_ record: RootRecord, by keeper: Int) throws {
        var acceptance = acceptances[record.ballot] ?? Acceptance(record: record, keepers: 0)
        guard acceptance.record.sameValue(as: record) else {
            throw Violation("two values under ballot \(record.ballot)")
        }
        acceptance.keepers |= 1 << UInt32(keeper)
        acceptances[record.ballot] = acceptance
        if acceptance.keepers.nonzeroBitCount >= quorum, isChosenBallot.insert(record.ballot).inserted {
            try choose(record)
        }
    }

    /// Invariant 1: chosen roots form one chain.
    private mutating func choose(_ record: RootRecord) throws {
        var index = chosen.endIndex
        while index > 0, chosen[index - 1].ballot > record.ballot { index -= 1 }
        if index > 0 { try link(chosen[index - 1], record) }
        if index < chosen.endIndex { try link(record, chosen[index]) }
        chosen.insert(record, at: index)
    }

    private func link(_ parent: RootRecord, _ child: RootRecord) throws {
        if child.sameValue(as: parent) { return }
        guard child.sequence == parent.sequence + 1, child.previous == parent.hash(authority) else {
            throw Violation(
                "fork: the value chosen at \(child.ballot.counter) (sequence \(child.sequence)) does not descend from "
                    + "the one chosen at \(parent.ballot.counter) (sequence \(parent.sequence))")
        }
        let before = SimulatedContents(parent)
        let after = SimulatedContents(child)
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
        var last: UInt64 = 0
        for record in chosen where record.sequence > last {
            last = record.sequence
            let contents = SimulatedContents(record)
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
}
