@testable import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage
import TestSupport
import Testing

/// One of two clients that start from the same root: its tree, and what it did.
private struct Side {
    var tree: Tree
    let nodes: NodeCache
    var log = OperationLog()
    var count: UInt64 = 0
    var numbers: Range<InodeNumber>
    let caller: Caller
    var session = Incarnation(high: 3, low: 4)
    var open: Set<InodeNumber> = []

    mutating func change<Value>(
        _ body: (inout Transaction) throws(Interruption) -> (Value, Operation?)
    ) throws(Interruption) -> Value {
        var transaction = Transaction(reading: tree, nodes: nodes)
        let (value, operation) = try body(&transaction)
        apply(transaction.changes)
        count += 1
        if let operation {
            log.append(operation, number: count, by: caller, before: nil)
        }
        return value
    }

    mutating func apply(_ changes: [Change]) {
        do { try tree.apply(changes, nodes: nodes) } catch { fatalError("no node is ever stored: \(error)") }
    }

    func read<Value>(_ body: (Transaction) throws(Interruption) -> Value) throws(Interruption) -> Value {
        try body(Transaction(reading: tree, nodes: nodes))
    }

    private mutating func take() -> InodeNumber {
        defer { numbers = numbers.lowerBound + 1..<numbers.upperBound }
        return numbers.lowerBound
    }

    mutating func make(_ name: String, in parent: InodeNumber = rootInode) throws(Interruption) -> InodeNumber {
        let (inode, caller, place) = (take(), caller, Place(Array(name.utf8), in: parent))
        return try change { (tree) throws(Interruption) in
            _ = try tree.makeNode(
                place.name, in: parent, type: .regular, permissions: 0o644, inode: inode, by: caller)
            return (inode, .makeNode(place, .regular, permissions: 0o644, device: 0, inode))
        }
    }

    mutating func makeDirectory(_ name: String, in parent: InodeNumber = rootInode) throws(Interruption) -> InodeNumber {
        let (inode, caller, place) = (take(), caller, Place(Array(name.utf8), in: parent))
        return try change { (tree) throws(Interruption) in
            _ = try tree.makeDirectory(place.name, in: parent, permissions: 0o755, inode: inode, by: caller)
            return (inode, .makeDirectory(place, permissions: 0o755, inode))
        }
    }

    mutating func write(_ inode: InodeNumber, _ size: UInt64) throws(Interruption) {
        let before = log.needsVersion(of: inode) ? try read { (tree) throws(Interruption) in try tree.version(of: inode) } : nil
        var transaction = Transaction(reading: tree, nodes: nodes)
        _ = try transaction.noteWrite(inode, range: 0..<size, by: caller)
        apply(transaction.changes)
        count += 1
        log.append(.write(inode, 0..<size), number: count, by: caller, before: before)
    }

    mutating func link(_ inode: InodeNumber, _ name: String) throws(Interruption) {
        let (caller, session, place) = (caller, session, Place(Array(name.utf8), in: rootInode))
        try change { (tree) throws(Interruption) in
            _ = try tree.link(inode, to: place.name, in: place.parent, by: caller, incarnation: session)
            return ((), .link(inode, place))
        }
    }

    mutating func setTime(of inode: InodeNumber, to seconds: Int64) throws(Interruption) {
        var changes = AttributeChanges()
        changes.modified = Timestamp(seconds: seconds, nanoseconds: 0)
        let wanted = changes
        let before = log.needsVersion(of: inode) ? try read { (tree) throws(Interruption) in try tree.version(of: inode) } : nil
        var transaction = Transaction(reading: tree, nodes: nodes)
        _ = try transaction.setAttributes(of: inode, to: wanted, by: caller)
        apply(transaction.changes)
        count += 1
        log.append(.setAttributes(inode, wanted), number: count, by: caller, before: before)
    }

    mutating func unlink(_ name: String, in parent: InodeNumber = rootInode) throws(Interruption) {
        let (caller, session, open, place) = (caller, session, open, Place(Array(name.utf8), in: parent))
        try change { (tree) throws(Interruption) in
            let found = try tree.find(place)
            _ = try tree.unlink(place.name, in: parent, by: caller, incarnation: session, isOpen: open.contains)
            return ((), found.map { .unlink(place, $0) })
        }
    }

    mutating func removeDirectory(_ name: String, in parent: InodeNumber = rootInode) throws(Interruption) {
        let (caller, session, open, place) = (caller, session, open, Place(Array(name.utf8), in: parent))
        try change { (tree) throws(Interruption) in
            let found = try tree.find(place)
            _ = try tree.removeDirectory(
                place.name, in: parent, by: caller, incarnation: session, isOpen: open.contains)
            return ((), found.map { .removeDirectory(place, $0) })
        }
    }

    mutating func rename(
        _ name: String, in parent: InodeNumber = rootInode, to newName: String, under newParent: InodeNumber = rootInode,
        mode: RenameMode = .replace
    ) throws(Interruption) {
        let (caller, session, open) = (caller, session, open)
        let (source, target) = (Place(Array(name.utf8), in: parent), Place(Array(newName.utf8), in: newParent))
        try change { (tree) throws(Interruption) in
            let (moved, replaced) = (try tree.find(source), try tree.find(target))
            _ = try tree.rename(
                source.name, in: parent, to: target.name, in: newParent, mode: mode, by: caller,
                incarnation: session, isOpen: open.contains)
            return ((), moved.map { .rename(source, $0, to: target, replaced, mode) })
        }
    }

    func names(_ directory: InodeNumber = rootInode) throws(Interruption) -> [String] {
        try read { (tree) throws(Interruption) in try tree.entries(of: directory, limit: .max) }
            .map { String(decoding: $0.name, as: UTF8.self) }
    }

    func inode(_ name: String, in parent: InodeNumber = rootInode) throws(Interruption) -> InodeNumber {
        try read { (tree) throws(Interruption) in try tree.lookup(Array(name.utf8), in: parent).inode }
    }

    func version(_ inode: InodeNumber) -> ContentVersion? {
        try? read { (tree) throws(Interruption) in try tree.version(of: inode) }
    }

    /// All names of a tree: directories first seen, with what is in them.
    func walk() throws(Interruption) -> [(place: Place, entry: DirectoryEntry)] {
        var all: [(Place, DirectoryEntry)] = []
        var directories = [rootInode]
        while let directory = directories.popLast() {
            let entries = try read { (tree) throws(Interruption) in try tree.entries(of: directory, limit: .max) }
            for entry in entries {
                all.append((Place(entry.name, in: directory), entry))
                if entry.type == .directory { directories.append(entry.inode) }
            }
        }
        return all
    }

    /// What `other` did, done again here.
    mutating func redo(_ other: Side) throws(Interruption) -> Reexecution {
        var execution = Reexecution(mark: Array("(conflict here now)".utf8), session: other.session)
        for entry in other.log.entries {
            var transaction = Transaction(reading: tree, nodes: nodes)
            let step = try execution.run(entry, in: &transaction, isOpen: other.open.contains)
            apply(transaction.changes)
            execution.note(step)
        }
        let source = Transaction(reading: other.tree, nodes: nodes)
        var transaction = Transaction(reading: tree, nodes: nodes)
        try transaction.keepConflicts(of: source)
        apply(transaction.changes)
        execution.copy(try execution.unnamed(in: Transaction(reading: tree, nodes: nodes), from: source))
        return execution
    }
}

/// Two clients with inode numbers of their own and a base to start from.
private func sides(_ prepare: (inout Side) throws(Interruption) -> Void = { _ in }) throws -> (away: Side, here: Side) {
    func caller(_ seconds: Int64) -> Caller {
        Caller(user: 0, group: 0, umask: 0, now: Timestamp(seconds: seconds, nanoseconds: 0))
    }
    var base = Side(tree: Tree(), nodes: NodeCache(limitBytes: 1 << 24), numbers: 100..<1000, caller: caller(1))
    var transaction = Transaction(reading: base.tree, nodes: base.nodes)
    try transaction.format(by: base.caller)
    _ = try transaction.reserveInodes(5000)
    base.apply(transaction.changes)
    try prepare(&base)
    return (
        Side(tree: base.tree, nodes: base.nodes, numbers: 1000..<2000, caller: caller(2)),
        Side(tree: base.tree, nodes: base.nodes, numbers: 2000..<3000, caller: caller(3))
    )
}

@Suite("What was acknowledged, done again on another client's root (L6)")
struct ReexecutionTests {
    @Test("where nobody is in the way, the result is the same")
    func undisturbed() throws {
        var (away, here) = try sides { (base) throws(Interruption) in
            let folder = try base.makeDirectory("folder")
            _ = try base.make("old", in: folder)
        }
        let folder = try away.inode("folder")
        let file = try away.make("temporary")
        try away.write(file, 10)
        try away.rename("temporary", to: "old", under: folder)
        _ = try here.make("unrelated")

        let execution = try here.redo(away)
        #expect(execution.conflicts.isEmpty && execution.copied.isEmpty)
        #expect(execution.carried[file] == [0..<1])
        #expect(try here.names() == ["folder", "unrelated"])
        #expect(try here.inode("old", in: folder) == file)
        #expect(execution.log.entries.map(\.operation) == away.log.entries.map(\.operation))
    }

    @Test("two who make the same name both keep what they made, the first its name; endings stay")
    func sameName() throws {
        var (away, here) = try sides()
        _ = try away.make("report.odt")
        let folder = try away.makeDirectory("folder")
        _ = try away.make("inside", in: folder)
        let theirs = try here.make("report.odt")
        _ = try here.makeDirectory("folder")
        _ = try here.redo(away)
        #expect(
            try here.names() == [
                "folder", "folder (conflict here now)", "report (conflict here now).odt", "report.odt",
            ])
        #expect(try here.inode("report.odt") == theirs)
        #expect(try here.names(folder) == ["inside"])
        #expect(try here.read { (tree) throws(Interruption) in try tree.conflicts() }.count == 2)
    }

    @Test("a file that both wrote, or one wrote and the other deleted, is kept whole, twice")
    func bothWrote() throws {
        var (away, here) = try sides { (base) throws(Interruption) in
            for name in ["both", "deleted", "mine"] { try base.write(try base.make(name), 5) }
        }
        for name in ["both", "deleted", "mine"] { try away.write(try away.inode(name), 7) }
        let both = try here.inode("both")
        try here.write(both, 9)
        let deleted = try here.inode("deleted")
        try here.unlink("deleted")
        let theirs = here.version(both)
        let execution = try here.redo(away)
        #expect(execution.copied == [both, deleted])
        #expect(here.version(both) == theirs)
        #expect(Array(execution.carried.keys) == [try here.inode("mine")])
    }

    @Test("edit wins over delete, and over being replaced")
    func editWins() throws {
        var (away, here) = try sides { (base) throws(Interruption) in
            for name in ["deleted", "replaced", "same"] { try base.write(try base.make(name), 5) }
        }
        try away.unlink("deleted")
        try away.unlink("same")
        let file = try away.make("temporary")
        try away.rename("temporary", to: "replaced")
        for name in ["deleted", "replaced"] { try here.write(try here.inode(name), 9) }
        let execution = try here.redo(away)
        #expect(try here.names() == ["deleted", "replaced", "replaced (conflict here now)"])
        #expect(try here.inode("replaced (conflict here now)") == file)
        #expect(execution.conflicts.count == 2)
    }

    @Test("two moves that together would make a folder its own parent: the second is not done")
    func noLoop() throws {
        var (away, here) = try sides { (base) throws(Interruption) in
            _ = try base.makeDirectory("a")
            _ = try base.makeDirectory("b")
        }
        try away.rename("a", to: "a", under: try away.inode("b"))
        try here.rename("b", to: "b", under: try here.inode("a"))
        _ = try here.redo(away)
        #expect(try here.names() == ["a"])
        #expect(try here.read { (tree) throws(Interruption) in try tree.check() }.isEmpty)
    }

    @Test("what was made in a folder that somebody deleted is found at the top")
    func parentGone() throws {
        var (away, here) = try sides { (base) throws(Interruption) in _ = try base.makeDirectory("folder") }
        _ = try away.make("file", in: try away.inode("folder"))
        try here.removeDirectory("folder")
        _ = try here.redo(away)
        #expect(try here.names() == ["file (conflict here now)"])
    }

    @Test("setting a time hides nobody's edit, whichever comes first, and takes no part in a copy's file")
    func times() throws {
        var (away, here) = try sides { (base) throws(Interruption) in
            for name in ["touched", "written"] { try base.write(try base.make(name), 9) }
        }
        let (touched, written) = (try away.inode("touched"), try away.inode("written"))
        try away.setTime(of: touched, to: 77)
        try away.write(touched, 9)
        try away.write(written, 9)
        try away.setTime(of: written, to: 77)
        try here.write(touched, 9)
        try here.write(written, 9)
        let theirs = [touched, written].map(here.version)
        let execution = try here.redo(away)
        #expect(execution.copied == [touched, written])
        #expect([touched, written].map(here.version) == theirs)
    }

    @Test("a file of two names that loses one on each side, and was written on one of them, is kept")
    func oneNameEach() throws {
        var (away, here) = try sides { (base) throws(Interruption) in
            let file = try base.make("first")
            try base.link(file, "second")
        }
        let file = try away.inode("first")
        try away.write(file, 7)
        try away.unlink("second")
        try here.unlink("first")
        let execution = try here.redo(away)
        #expect(execution.copied == [file])
    }

    @Test("a name that came back elsewhere meanwhile is not the last to be removed")
    func movedUnderneath() throws {
        var (away, here) = try sides { (base) throws(Interruption) in _ = try base.make("file") }
        let file = try away.inode("file")
        try away.link(file, "other")
        try away.unlink("other")
        try here.rename("file", to: "other")
        let execution = try here.redo(away)
        #expect(execution.copied == [file])
    }

    @Test("what was written to a file that somebody else deleted and has open does not go with the last close there")
    func openElsewhere() throws {
        var (away, here) = try sides { (base) throws(Interruption) in try base.write(try base.make("file"), 5) }
        let file = try away.inode("file")
        try away.write(file, 7)
        here.session = Incarnation(high: 5, low: 6)
        here.open = [file]
        try here.unlink("file")
        let execution = try here.redo(away)
        #expect(execution.copied == [file] && execution.carried.isEmpty)
    }

    @Test("done again a second time, on a third root, it comes to the same")
    func twice() throws {
        var (away, here) = try sides { (base) throws(Interruption) in try base.write(try base.make("file"), 5) }
        var third = here
        try away.write(try away.make("new"), 3)
        try away.write(try away.inode("file"), 6)
        _ = try here.make("new")
        _ = try third.make("new")
        var fourth = third
        _ = try third.make("new (conflict here now)")
        let first = try here.redo(away)
        var again = here
        again.log = first.log
        _ = try third.redo(again)
        #expect(try third.names().count == 4)
        // Where nobody else has the name that it got, it is listed all the same.
        _ = try fourth.redo(again)
        for side in [third, fourth] {
            #expect(try side.read { (tree) throws(Interruption) in try tree.conflicts() }.count == 1)
        }
        #expect(try third.read { (tree) throws(Interruption) in try tree.check() }.isEmpty)
    }

    @Test("a log comes back from its bytes as it was, whatever was done", arguments: 0..<50 as Range<UInt64>)
    func codec(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        var (away, _) = try sides()
        for _ in 0..<40 { step(&away, &generator) }
        var changes = AttributeChanges()
        changes.size = 5
        changes.modified = Timestamp(seconds: -1, nanoseconds: 9)
        for operation in [
            .setAttributes(7, changes), .punch(8, 1..<3), .setExtendedAttribute([1], 9, value: [2, 3]),
            .removeExtendedAttribute([1], 9), .makeUnnamed(in: 1, permissions: 7, 10), .link(10, Place([97], in: 1)),
            .makeSymlink(Place([98], in: 1), target: [47], 11),
        ] as [LanfsFileSystem.Operation] {
            away.log.append(operation, number: 1000, by: away.caller, before: nil)
        }
        let bytes = away.log.encoded()
        #expect(try OperationLog(decoding: bytes).entries == away.log.entries)
        #expect(throws: DecodingError.self) { try OperationLog(decoding: bytes.dropLast()) }
        let later = try OperationLog(decoding: bytes).continued(after: 2, upTo: 9, as: 50)
        #expect(later.entries.map(\.operation) == away.log.entries.filter { (3...9).contains($0.number) }.map(\.operation))
        #expect(later.entries.map(\.number) == Array(51..<51 + UInt64(later.entries.count)))
    }

    @Test("names stay within the limit, whole characters, and keep the mark")
    func names() {
        let long = Array(String(repeating: "ä", count: 127).utf8)
        let name = ConflictName.make(long, mark: Array("(conflict x)".utf8), count: 12)
        #expect(name.count <= 255)
        #expect(String(validating: name, as: UTF8.self)?.hasSuffix(" (conflict x) 12") == true)
        let hidden = ConflictName.make(Array(".profile".utf8), mark: [UInt8(ascii: "!")], count: 1)
        #expect(String(decoding: hidden, as: UTF8.self) == ".profile !")
    }

    @Test("whatever two do, nobody's work is lost and the tree is whole", arguments: 0..<300 as Range<UInt64>)
    func random(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        var (away, here) = try sides { (base) throws(Interruption) in
            for name in ["d0", "d1"] {
                let folder = try base.makeDirectory(name)
                for file in 0..<3 { try base.write(try base.make("f\(file)", in: folder), 5) }
            }
        }
        let base = here
        for _ in 0..<30 {
            step(&away, &generator)
            step(&here, &generator)
        }
        var done = here
        let execution = try done.redo(away)
        #expect(try done.read { (tree) throws(Interruption) in try tree.check() }.isEmpty)

        // What they wrote is there, as they wrote it.
        for (_, entry) in try here.walk() where entry.type == .regular && here.version(entry.inode) != base.version(entry.inode) {
            #expect(done.version(entry.inode) == here.version(entry.inode))
        }
        // What this one wrote is there as well, or is to be copied.
        for (_, entry) in try away.walk() where entry.type == .regular && away.version(entry.inode) != base.version(entry.inode) {
            let isCopied = execution.copied.contains(entry.inode)
            #expect(isCopied || done.version(entry.inode) == away.version(entry.inode))
        }
        // Each file has a name.
        let named = Set(try done.walk().map(\.entry.inode))
        for (_, entry) in try away.walk() where entry.type == .regular && base.version(entry.inode) == nil {
            #expect(named.contains(entry.inode))
        }
    }

    /// Something or other; what the file system refuses did not happen.
    private func step(_ side: inout Side, _ generator: inout SplitMix64) {
        guard let all = try? side.walk() else { return }
        let folders = [rootInode] + all.filter { $0.entry.type == .directory }.map(\.entry.inode)
        let parent = generator.pick(folders)
        let name = "f\(generator.below(6))"
        let some = all.isEmpty ? nil : generator.pick(all)
        let someName = some.map { String(decoding: $0.place.name, as: UTF8.self) } ?? ""
        let someParent = some?.place.parent ?? rootInode
        switch generator.below(7) {
        case 0: _ = try? side.make(name, in: parent)
        case 1: _ = try? side.makeDirectory("d\(generator.below(4))", in: parent)
        case 2, 3: if let some { try? side.write(some.entry.inode, UInt64(1 + generator.below(60_000))) }
        case 4: try? side.unlink(someName, in: someParent)
        case 5: try? side.removeDirectory(someName, in: someParent)
        default:
            let mode: RenameMode = generator.chance(70) ? .replace : generator.chance(50) ? .noReplace : .exchange
            try? side.rename(someName, in: someParent, to: generator.chance(50) ? name : someName, under: parent, mode: mode)
        }
    }
}
