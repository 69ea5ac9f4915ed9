import LanfsTree
import SystemPackage
import TestSupport

@testable import LanfsFileSystem

/// Clients of one volume and the chain of roots that they make (L6, T1, T2, T5): some stall until the lease is somebody else's
/// and go on working for a while on a root that nobody builds on any more, nobody hears what became of some commits, some
/// clients die. How a root is chosen is simulated elsewhere; here a commit on the newest root is chosen, and any other never.
struct ClientsWorld {
    enum Mutant: CaseIterable, Sendable {
        /// T2: the changed keys are put over the newer root.
        case mergesKeys
        /// L6: what is in no root is dropped.
        case dropsUncommitted
        /// T5: a commit of which nobody heard counts as failed.
        case takesUnknownForFailed
        /// L6: what was written to files that somebody else changed goes with the lease.
        case copiesNothing
        /// L6: a file is deleted that somebody else has changed meanwhile.
        case deletesEdited
        /// L6: what was written to a file that nobody else changed stays behind.
        case carriesNothing
        /// L6: whoever set a file's time is taken to have seen what it was.
        case believesTimes
        /// T1: a commit says that it has one operation more than it has.
        case coversTooMuch
        /// T2, L6: a commit whose blocks took long goes on top of the root that its operations were done again on.
        case commitsWhatIsDoneAgain
    }

    struct Violation: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    struct Root {
        var tree: Tree
        /// Who made it.
        var session: Incarnation
        /// The last commit of each session in it (T5).
        var commits: [Incarnation: UInt64]
    }

    let mutant: Mutant?
    var random: SplitMix64
    var tally = ClientsTally()
    private let nodes = NodeCache(limitBytes: 1 << 20)
    private var contents = ContentsBook()
    private var roots: [Root] = []
    private var clients: [SimulatedClient] = []
    private var holder: Int?
    private var now: Int64 = 1
    private var sessions: UInt64 = 0
    private var oracle = ClientsOracle()
    /// A seed that is replayed tells what happens.
    private let isTold = environment("LANFS_SEED") != nil

    init(seed: UInt64, mutant: Mutant? = nil) throws {
        self.mutant = mutant
        random = SplitMix64(seed: seed)
        var transaction = Transaction(reading: Tree(), nodes: nodes)
        try transaction.format(by: Caller(user: 0, group: 0, umask: 0, now: Timestamp(seconds: 0, nanoseconds: 0)))
        _ = try transaction.reserveInodes(1 << 32)
        var tree = Tree()
        do { try tree.apply(transaction.changes, nodes: nodes) } catch { fatalError("\(error)") }
        roots = [Root(tree: tree, session: Incarnation(high: 0, low: 0), commits: [:])]
        for _ in 0..<2 + random.below(2) { clients.append(try newClient()) }
    }

    private mutating func newClient() throws -> SimulatedClient {
        sessions += 1
        let start = rootInode + sessions * 10_000
        var client = SimulatedClient(
            session: Incarnation(high: 1, low: sessions), base: roots.count - 1, tree: roots[roots.count - 1].tree,
            nodes: nodes, numbers: start..<start + 10_000)
        client.view = try view(of: client.tree)
        return client
    }

    private func tell(_ what: @autoclosure () -> String) {
        if isTold { print("  \(what())") }
    }

    private func view(of tree: Tree) throws -> View { try View(Transaction(reading: tree, nodes: nodes), contents) }

    // MARK: What happens

    mutating func run(steps: Int) throws {
        for _ in 0..<steps {
            let client = random.below(clients.count)
            switch random.below(20) {
            case 0..<10: try operate(client)
            case 10..<14: if holder == client { try commit(client) } else { try operate(client) }
            case 14..<17: try acquire(client)
            case 17: loseLease()
            case 18: try hear(client)
            default: if random.chance(15) { try crash(client) } else { try operate(client) }
            }
        }
        try settle()
    }

    private mutating func operate(_ number: Int) throws {
        let isHolder = holder == number
        guard isHolder || clients[number].stalled > 0 else { return }
        if !isHolder { clients[number].stalled -= 1 }
        now += 1
        let before = clients[number].view.treasures
        guard clients[number].operate(&random, at: Timestamp(seconds: now, nanoseconds: 0), &contents) else { return }
        tally[.operations] += 1
        tell("client \(number), operation \(clients[number].operations): \(clients[number].log.entries.last.map { "\($0.operation)" } ?? "")")
        clients[number].view = try view(of: clients[number].tree)
        oracle.acknowledged(
            clients[number].operations, of: clients[number].session, before: before, after: clients[number].view.treasures)
    }

    /// Everything acknowledged so far, as one root (T1).
    private mutating func commit(_ number: Int) throws {
        if let waiting = clients[number].waiting { return try propose(waiting, number) }
        if clients[number].prepared == nil {
            guard clients[number].hasUncommittedWork else { return }
            clients[number].number += 1
            clients[number].prepared = SimulatedClient.Prepared(
                number: clients[number].number,
                operations: clients[number].operations + (mutant == .coversTooMuch ? 1 : 0),
                tree: clients[number].tree, changes: clients[number].cut(), base: clients[number].base)
        }
        guard let prepared = clients[number].prepared else { return }
        // Its blocks are stored first, which may take longer than the lease lasts.
        if random.chance(25) {
            clients[number].waiting = prepared
            tally[.slow] += 1
        } else {
            try propose(prepared, number)
        }
    }

    private mutating func propose(_ prepared: SimulatedClient.Prepared, _ number: Int) throws {
        clients[number].waiting = nil
        let base = mutant == .commitsWhatIsDoneAgain ? clients[number].base : prepared.base
        // The register takes it only from who holds its base. Else what is newest is found out, and gone on from.
        guard base == roots.count - 1 else { return try goOn(number) }
        clients[number].prepared?.isOnItsWay = true
        let isHeard = random.chance(80)
        // It may also be on its way yet, or lost there.
        if isHeard || random.chance(50) { try choose(prepared, of: number) }
        if isHeard {
            finish(prepared, number)
        } else {
            tally[.unknown] += 1
            loseLease()
        }
    }

    /// The register's word: on the newest root, once, and not when a later holder of the lease has made its round (P1).
    private mutating func chooseIfOnItsWay(_ number: Int) throws {
        guard let prepared = clients[number].prepared, prepared.isOnItsWay, prepared.base == roots.count - 1 else { return }
        try choose(prepared, of: number)
    }

    /// Others read its change block, and on the way back those before it: what it says it says of the root it was made on.
    private mutating func choose(_ prepared: SimulatedClient.Prepared, of number: Int) throws {
        let session = clients[number].session
        var commits = roots[roots.count - 1].commits
        if let last = commits[session], last >= prepared.number {
            throw Violation("commit \(prepared.number) of client \(number) is chosen twice")
        }
        commits[session] = prepared.number
        var tree = roots[prepared.base].tree
        do { try tree.apply(prepared.changes, nodes: nodes) } catch { fatalError("no node is ever stored: \(error)") }
        let (seen, meant) = (try view(of: tree), try view(of: prepared.tree))
        guard seen.names == meant.names, seen.treasures == meant.treasures else {
            throw Violation("others see something else in commit \(prepared.number) of client \(number) than it saw")
        }
        roots.append(Root(tree: tree, session: session, commits: commits))
        tally[.commits] += 1
        tell("root \(roots.count - 1): commit \(prepared.number) of client \(number), operations up to \(prepared.operations)")
        try oracle.chosen(Transaction(reading: tree, nodes: nodes), through: prepared.operations, of: session)
    }

    /// It hears that its commit is chosen.
    private mutating func finish(_ prepared: SimulatedClient.Prepared, _ number: Int) {
        clients[number].committed = max(clients[number].committed, prepared.operations)
        clients[number].log.forget(through: prepared.operations)
        clients[number].prepared = nil
        clients[number].base = roots.count - 1
    }

    /// It does not know yet.
    private mutating func loseLease() {
        if let holder { clients[holder].stalled = random.below(5) }
        holder = nil
    }

    /// Gets the lease: first whoever has it gives it back, with all that it acknowledged in a root, or has lost it.
    private mutating func acquire(_ number: Int) throws {
        if let other = holder, other != number {
            if random.chance(50) { try commit(other) }
            if clients[other].hasUncommittedWork { loseLease() } else { tally[.handovers] += 1 }
        }
        // A full round: what others have on its way is chosen now, or never (P1, P5).
        for client in clients.indices where clients[client].prepared != nil {
            if random.chance(50) { try chooseIfOnItsWay(client) }
            clients[client].prepared?.isOnItsWay = false
        }
        clients[number].stalled = 0
        holder = number
        try goOn(number)
    }

    /// A client without the lease sees a newer root. One that still has something acknowledged waits for the lease with that.
    private mutating func hear(_ number: Int) throws {
        guard holder != number, !clients[number].hasUncommittedWork else { return }
        try goOn(number)
    }

    private mutating func crash(_ number: Int) throws {
        tally[.crashes] += 1
        tell("client \(number) dies")
        if random.chance(50) { try chooseIfOnItsWay(number) }
        oracle.died(clients[number].session)
        if holder == number { holder = nil }
        clients[number] = try newClient()
    }

    // MARK: On the newest root

    private mutating func goOn(_ number: Int) throws {
        let newest = roots.count - 1
        let base = clients[number].base
        // The same commit comes again, under its own number.
        guard newest > base else { return }
        if let prepared = clients[number].prepared, mutant != .takesUnknownForFailed,
            let last = roots[newest].commits[clients[number].session], last >= prepared.number
        {
            clients[number].committed = max(clients[number].committed, prepared.operations)
            clients[number].log.forget(through: prepared.operations)
            tally[.found] += 1
        }
        let unsaved = clients[number].prepared?.changes ?? []
        clients[number].prepared = nil
        if !clients[number].hasUncommittedWork || mutant == .dropsUncommitted {
            clients[number].committed = clients[number].operations
            clients[number].tree = roots[newest].tree
            clients[number].pending = [:]
            clients[number].log = OperationLog()
        } else if mutant == .mergesKeys {
            let changes = unsaved + clients[number].cut()
            clients[number].tree = roots[newest].tree
            clients[number].apply(changes)
        } else {
            let isAlone = roots[(base + 1)...].allSatisfy { $0.session == clients[number].session }
            let before = clients[number].view
            let execution = try redo(number, on: roots[newest].tree)
            if isAlone, !execution.conflicts.isEmpty {
                throw Violation("client \(number) had a conflict with itself: \(execution.conflicts)")
            }
            clients[number].view = try view(of: clients[number].tree)
            if isAlone, clients[number].view.treasures != before.treasures || clients[number].view.names != before.names {
                throw Violation("client \(number) does not see what it saw, although nobody else did anything")
            }
        }
        clients[number].base = newest
        clients[number].view = try view(of: clients[number].tree)
    }

    /// As a client's shell does it: all operations in order, copies of what somebody else changed too, what was written to the rest.
    private mutating func redo(_ number: Int, on newest: Tree) throws -> Reexecution {
        tally[.redone] += 1
        var client = clients[number]
        let source = Transaction(reading: client.tree, nodes: nodes)
        client.tree = newest
        client.pending = [:]
        var execution = Reexecution(mark: Array("(conflict \(number))".utf8), session: client.session)
        let open = client.open
        for entry in client.log.entries {
            var entry = entry
            if mutant == .deletesEdited || mutant == .believesTimes { try forgetVersion(of: &entry, in: client.tree) }
            var transaction = Transaction(reading: client.tree, nodes: nodes)
            let step = try execution.run(entry, in: &transaction, isOpen: open.contains)
            client.apply(transaction.changes)
            execution.note(step)
        }
        execution.copy(try execution.unnamed(in: Transaction(reading: client.tree, nodes: nodes), from: source))
        client.open.subtract(execution.copied)
        let caller = Caller(user: 0, group: 0, umask: 0, now: Timestamp(seconds: now, nanoseconds: 0))
        for inode in execution.copied where mutant != .copiesNothing {
            guard let place = try source.place(of: inode, limit: .max).place else { continue }
            let copy = client.numbers.lowerBound
            client.numbers = copy + 1..<client.numbers.upperBound
            var transaction = Transaction(reading: client.tree, nodes: nodes)
            let made = try execution.makeCopy(of: inode, beside: place, as: copy, from: source, by: caller, in: &transaction)
            if case .makeNode? = made.first {
                for (chunk, piece) in try source.pieces(of: inode) {
                    try transaction.put(contents.copy(piece), in: copy, chunk: chunk, made: UInt64(roots.count - 1))
                }
            }
            client.apply(transaction.changes)
            execution.note(copy: made, copy, number: client.operations, by: caller)
            contents.note(copy, of: inode)
            tally[.copies] += 1
        }
        for (inode, chunks) in execution.carried.sorted(by: { $0.key < $1.key }) where mutant != .carriesNothing {
            var transaction = Transaction(reading: client.tree, nodes: nodes)
            for range in chunks { try transaction.carry(range, of: inode, from: source) }
            client.apply(transaction.changes)
        }
        tell("client \(number): done again: \(execution.log.entries.map(\.operation)), conflicts \(execution.conflicts), copied \(execution.copied), carried \(execution.carried)")
        client.log = execution.log
        tally[.conflicts] += execution.conflicts.count
        clients[number] = client
        return execution
    }

    private func forgetVersion(of entry: inout OperationLog.Entry, in tree: Tree) throws {
        let transaction = Transaction(reading: tree, nodes: nodes)
        switch entry.operation {
        case .unlink(let place, let found) where mutant == .deletesEdited:
            guard let here = try transaction.find(place), here.inode == found.inode else { return }
            entry.operation = .unlink(place, here)
        case .setAttributes(let inode, let changes) where mutant == .believesTimes && changes.size == nil:
            if try transaction.inodeIfPresent(inode) != nil { entry.before = try transaction.version(of: inode) }
        default: break
        }
    }

    // MARK: In the end

    /// All come back, one after the other, and save what they have.
    private mutating func settle() throws {
        for number in clients.indices {
            while clients[number].hasUncommittedWork || clients[number].prepared != nil || clients[number].waiting != nil {
                try acquire(number)
                if clients[number].hasUncommittedWork || clients[number].waiting != nil { try commit(number) }
            }
        }
        let last = roots[roots.count - 1].tree
        try oracle.requireAll(in: try view(of: last).treasures)
    }
}
