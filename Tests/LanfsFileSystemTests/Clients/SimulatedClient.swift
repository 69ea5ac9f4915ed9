import LanfsTree
import SystemPackage
import TestSupport

@testable import LanfsFileSystem

/// One client of the simulated volume: the root that it builds on, its tree, and what it has done since.
struct SimulatedClient {
    /// A commit on its way, or of which nobody heard what became of it (P5).
    struct Prepared {
        var number: UInt64
        /// Those up to this one are in it.
        var operations: UInt64
        /// What its maker saw.
        var tree: Tree
        /// What its change block says, and the root that this says it of.
        var changes: [Change]
        var base: Int
        /// Keepers may still take it.
        var isOnItsWay = false
    }

    let session: Incarnation
    /// The root it builds on, in the chain.
    var base: Int
    var tree: Tree
    let nodes: NodeCache
    var log = OperationLog()
    /// Acknowledged so far, and how many of them it knows to be in a chosen root.
    var operations: UInt64 = 0
    var committed: UInt64 = 0
    var prepared: Prepared?
    /// The same, or one whose operations are done again by now, in the hands of whoever waits until its blocks are stored.
    var waiting: Prepared?
    /// Of its last commit (T5).
    var number: UInt64 = 0
    /// Inode numbers of its own (T4).
    var numbers: Range<InodeNumber>
    var open: Set<InodeNumber> = []
    /// What the last operation was about: programs do one thing after the other to a file.
    private var recent = rootInode
    /// What it may still do before it finds out that its lease is over (L6).
    var stalled = 0
    /// What is different from its base, or from what it prepared, by key.
    var pending: [Key: [UInt8]?] = [:]
    /// What it sees under names.
    var view = View()

    init(session: Incarnation, base: Int, tree: Tree, nodes: NodeCache, numbers: Range<InodeNumber>) {
        self.session = session
        self.base = base
        self.tree = tree
        self.nodes = nodes
        self.numbers = numbers
    }

    var hasUncommittedWork: Bool { operations > committed }

    /// Closes the books of a commit.
    mutating func cut() -> [Change] {
        log.cut()
        defer { pending = [:] }
        return pending.map { Change(key: $0.key, value: $0.value) }.sorted { $0.key < $1.key }
    }

    mutating func apply(_ changes: [Change]) {
        do { try tree.apply(changes, nodes: nodes) } catch { fatalError("no node is ever stored: \(error)") }
        for change in changes { pending[change.key] = .some(change.value) }
    }

    /// Does one operation whole, or not at all when the file system refuses it.
    ///
    /// - Returns: whether it is done, and acknowledged.
    private mutating func change(
        by caller: Caller, _ operation: Operation?, _ body: (inout Transaction) throws(Interruption) -> Void
    ) -> Bool {
        guard let operation else { return false }
        var transaction = Transaction(reading: tree, nodes: nodes)
        do throws(Interruption) {
            let before: ContentVersion? =
                if let inode = operation.versioned, log.needsVersion(of: inode) { try transaction.version(of: inode) } else { nil }
            try body(&transaction)
            apply(transaction.changes)
            operations += 1
            log.append(operation, number: operations, by: caller, before: before)
            return true
        } catch {
            return false
        }
    }

    private func found(_ place: Place) -> Found? {
        (try? Transaction(reading: tree, nodes: nodes).find(place)) ?? nil
    }

    /// Something or other, in what it sees.
    ///
    /// - Parameter contents: names what is written, for good.
    /// - Returns: whether the file system took it.
    mutating func operate(
        _ random: inout SplitMix64, at now: Timestamp, _ contents: inout ContentsBook
    ) -> Bool {
        let caller = Caller(user: 0, group: 0, umask: 0, now: now)
        let folders = [rootInode] + view.names.filter { $0.type == .directory }.map(\.inode)
        let place = Place([UInt8(ascii: "a") + UInt8(random.below(6))], in: random.pick(folders))
        let again = random.chance(40) ? view.names.first { $0.inode == recent } : nil
        let some = again ?? (view.names.isEmpty ? nil : random.pick(view.names))
        recent = some?.inode ?? rootInode
        let (session, open) = (session, open)
        switch random.below(20) {
        case 0..<3:
            let inode = take()
            return change(by: caller, .makeNode(place, .regular, permissions: 0o644, device: 0, inode)) { (tree) throws(Interruption) in
                _ = try tree.makeNode(
                    place.name, in: place.parent, type: .regular, permissions: 0o644, device: 0, inode: inode, by: caller)
            }
        case 3, 4:
            let inode = take()
            return change(by: caller, .makeDirectory(place, permissions: 0o755, inode)) { (tree) throws(Interruption) in
                _ = try tree.makeDirectory(place.name, in: place.parent, permissions: 0o755, inode: inode, by: caller)
            }
        case 5:
            let inode = take()
            return change(by: caller, .makeSymlink(place, target: [47], inode)) { (tree) throws(Interruption) in
                _ = try tree.makeSymlink(place.name, in: place.parent, to: [47], inode: inode, by: caller)
            }
        case 6..<11:
            // Some of what is open has no name any more.
            if !self.open.isEmpty, random.chance(20) {
                return write(to: random.pick(self.open.sorted()), &random, caller, &contents)
            }
            guard let some, some.type == .regular else { return false }
            return write(to: some.inode, &random, caller, &contents)
        case 11, 12:
            guard let some else { return false }
            return change(by: caller, found(some.place).map { .unlink(some.place, $0) }) { (tree) throws(Interruption) in
                _ = try tree.unlink(
                    some.place.name, in: some.place.parent, by: caller, incarnation: session, isOpen: open.contains)
            }
        case 13:
            guard let some else { return false }
            return change(by: caller, found(some.place).map { .removeDirectory(some.place, $0) }) { (tree) throws(Interruption) in
                _ = try tree.removeDirectory(
                    some.place.name, in: some.place.parent, by: caller, incarnation: session, isOpen: open.contains)
            }
        case 14..<17:
            guard let some else { return false }
            let mode = random.pick([RenameMode.replace, .replace, .noReplace, .exchange])
            let other = random.pick(view.names)
            let target = mode == .exchange || random.chance(30) ? other.place : place
            let operation = found(some.place).map { moved in
                Operation.rename(some.place, moved, to: target, found(target), mode)
            }
            return change(by: caller, operation) { (tree) throws(Interruption) in
                _ = try tree.rename(
                    some.place.name, in: some.place.parent, to: target.name, in: target.parent, mode: mode, by: caller,
                    incarnation: session, isOpen: open.contains)
            }
        case 17:
            guard let some else { return false }
            return change(by: caller, .link(some.inode, place)) { (tree) throws(Interruption) in
                _ = try tree.link(some.inode, to: place.name, in: place.parent, by: caller, incarnation: session)
            }
        case 18:
            guard let some, some.type == .regular else { return false }
            return cut(some.inode, &random, caller)
        default:
            guard let some else { return false }
            switch random.below(4) {
            case 0:
                if some.type == .regular { self.open.formSymmetricDifference([some.inode]) }
                return false
            case 1: return set(some.inode, caller) { $0.permissions = 0o600 }
            // As touch and rsync do. Not to a time that it had before: see ContentVersion.
            case 2: return set(some.inode, caller) { $0.modified = Timestamp(seconds: now.seconds, nanoseconds: 7) }
            default: break
            }
            return change(by: caller, .setExtendedAttribute([120], some.inode, value: [1])) { (tree) throws(Interruption) in
                try tree.setExtendedAttribute([120], of: some.inode, to: [1], mode: .any, by: caller)
            }
        }
    }

    private mutating func take() -> InodeNumber {
        defer { numbers = numbers.lowerBound + 1..<numbers.upperBound }
        return numbers.lowerBound
    }

    /// One whole chunk, or a few bytes that stay in the inode's record, sealed at once.
    private mutating func write(
        to inode: InodeNumber, _ random: inout SplitMix64, _ caller: Caller, _ contents: inout ContentsBook
    ) -> Bool {
        let isSmall = random.chance(30)
        let first = isSmall ? 0 : UInt64(random.below(3))
        let range = first * chunkSize..<first * chunkSize + (isSmall ? 8 : chunkSize)
        let made = UInt64(base)
        let piece = isSmall ? ContentsBook.Piece.inline(contents.newTag()) : .block(contents.newBlock())
        return change(by: caller, .write(inode, range)) { (tree) throws(Interruption) in
            _ = try tree.noteWrite(inode, range: range, by: caller)
            try tree.put(piece, in: inode, chunk: first, made: made)
        }
    }

    /// Shorter, or with a hole.
    private mutating func cut(_ inode: InodeNumber, _ random: inout SplitMix64, _ caller: Caller) -> Bool {
        let chunk = UInt64(random.below(3))
        if random.chance(50) {
            return change(by: caller, .punch(inode, chunk..<chunk + 1)) { (tree) throws(Interruption) in
                while try !tree.punch(chunk..<chunk + 1, of: inode, by: caller) {}
            }
        }
        return set(inode, caller) { $0.size = chunk * chunkSize }
    }

    private mutating func set(
        _ inode: InodeNumber, _ caller: Caller, _ body: (inout AttributeChanges) -> Void
    ) -> Bool {
        var changes = AttributeChanges()
        body(&changes)
        let wanted = changes
        return change(by: caller, .setAttributes(inode, wanted)) { (tree) throws(Interruption) in
            while try !tree.setAttributes(of: inode, to: wanted, by: caller).isComplete {}
        }
    }
}
