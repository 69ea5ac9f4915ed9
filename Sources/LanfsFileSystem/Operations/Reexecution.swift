import LanfsTree
import SystemPackage

/// Operations that were acknowledged on a root that did not become the base of the next one are done again, in order, on the
/// root that did (L6, T2). Where that gives what was acknowledged nobody notices. Where another client's commit is in the way
/// it keeps the name, and nothing is dropped: what was made here gets a name of its own, `report (conflict HOST TIME).odt`.
///
/// Contents follow in a second step: what was written to files that nobody else changed is carried over (``carried``),
/// whole files that somebody did change are to be copied (``copied``).
public struct Reexecution: Sendable {
    /// What became of an operation that could not be done as it was acknowledged.
    public enum Conflict: Equatable, Sendable {
        /// It was made under this name instead.
        case renamed(Place)
        /// Somebody else's newer work would have been lost: it was not done.
        case kept(Place)
    }

    /// What may happen to the contents of a file.
    fileprivate enum Fate {
        case unchanged, copied
    }

    private let mark: [UInt8]
    private let session: Incarnation
    private var fates: [InodeNumber: Fate] = [:]
    private var foreign: Set<InodeNumber> = []
    /// A name that they got here was theirs already, by somebody else's doing.
    private var shared: Set<InodeNumber> = []
    public private(set) var conflicts: [Conflict] = []
    /// Something came to be other than it was acknowledged: whoever still waits for an answer must not be told that it was done.
    public var isContested: Bool { !conflicts.isEmpty || hasMoot }
    private var hasMoot = false
    /// Files whose chunks (half-open ranges of them) are to come from the tree they were written to.
    public private(set) var carried: [InodeNumber: [Range<UInt64>]] = [:]
    /// Files of which the whole contents are to become a file of their own, in order.
    public private(set) var copied: [InodeNumber] = []
    /// What was done in place of each operation: what to do again should this root be overtaken too.
    public private(set) var log = OperationLog()

    /// - Parameter mark: what the names of losers get, such as `(conflict HOST TIME)`.
    public init(mark: [UInt8], session: Incarnation) {
        self.mark = mark
        self.session = session
    }

    /// What is written to these now is somebody else's to say: what was written here goes into a copy.
    public mutating func countAsChanged(_ inodes: Set<InodeNumber>) { foreign.formUnion(inodes) }

    /// What one operation comes to.
    public struct Step: Sendable {
        fileprivate var entry: OperationLog.Entry?
        fileprivate var conflict: Conflict?
        fileprivate var fate: (inode: InodeNumber, fate: Fate)?
        fileprivate var carried: (inode: InodeNumber, chunks: Range<UInt64>)?
        fileprivate var shared: InodeNumber?
        fileprivate var foreign: InodeNumber?
        /// Somebody else has done it, or away with what it was done to.
        fileprivate var isMoot = false
    }

    /// Does one operation again. It changes nothing here, so that it can be run again when it was interrupted; then `note` it.
    public func run(
        _ entry: OperationLog.Entry, in transaction: inout Transaction, isOpen: (InodeNumber) -> Bool
    ) throws(Interruption) -> Step {
        let caller = entry.caller
        switch entry.operation {
        case .makeNode(let place, let type, let permissions, let device, let inode):
            return try make(inode, at: place, entry, in: &transaction) { (transaction, place) throws(Interruption) in
                _ = try transaction.makeNode(
                    place.name, in: place.parent, type: type, permissions: permissions, device: device, inode: inode,
                    by: caller)
                return .makeNode(place, type, permissions: permissions, device: device, inode)
            }
        case .makeDirectory(let place, let permissions, let inode):
            return try make(inode, at: place, entry, in: &transaction) { (transaction, place) throws(Interruption) in
                _ = try transaction.makeDirectory(
                    place.name, in: place.parent, permissions: permissions, inode: inode, by: caller)
                return .makeDirectory(place, permissions: permissions, inode)
            }
        case .makeSymlink(let place, let target, let inode):
            return try make(inode, at: place, entry, in: &transaction) { (transaction, place) throws(Interruption) in
                _ = try transaction.makeSymlink(place.name, in: place.parent, to: target, inode: inode, by: caller)
                return .makeSymlink(place, target: target, inode)
            }
        case .makeUnnamed(let parent, let permissions, let inode):
            guard try transaction.inodeIfPresent(inode) == nil else { return Step() }
            let parent = try transaction.isLivingDirectory(parent) ? parent : rootInode
            _ = try transaction.createUnnamed(
                in: parent, permissions: permissions, inode: inode, by: caller, incarnation: session)
            return done(entry, .makeUnnamed(in: parent, permissions: permissions, inode))
        case .link(let inode, let place):
            return try link(inode, at: place, entry, in: &transaction)
        case .unlink(let place, let found):
            return try remove(place, found, entry, in: &transaction) { (transaction) throws(Interruption) in
                _ = try transaction.unlink(
                    place.name, in: place.parent, by: caller, incarnation: session, isOpen: isOpen)
            }
        case .removeDirectory(let place, let found):
            return try remove(place, found, entry, in: &transaction) { (transaction) throws(Interruption) in
                _ = try transaction.removeDirectory(
                    place.name, in: place.parent, by: caller, incarnation: session, isOpen: isOpen)
            }
        case .rename(let source, let moved, let target, let replaced, let mode):
            return try rename(source, moved, target, replaced, mode, entry, in: &transaction, isOpen)
        case .setAttributes, .write, .punch:
            return try changeFile(entry, in: &transaction)
        case .setExtendedAttribute(let name, let inode, let value):
            return try ifPossible(entry, in: &transaction) { (transaction) throws(Interruption) in
                try transaction.setExtendedAttribute(name, of: inode, to: value, mode: .any, by: caller)
            }
        case .removeExtendedAttribute(let name, let inode):
            return try ifPossible(entry, in: &transaction) { (transaction) throws(Interruption) in
                try transaction.removeExtendedAttribute(name, of: inode, by: caller)
            }
        }
    }

    /// Takes in what a step came to.
    public mutating func note(_ step: Step) {
        if step.isMoot { hasMoot = true }
        if let conflict = step.conflict { conflicts.append(conflict) }
        if let (inode, fate) = step.fate, fates[inode] == nil {
            fates[inode] = fate
            if case .copied = fate { copied.append(inode) }
        }
        if let inode = step.shared { shared.insert(inode) }
        if let inode = step.foreign { foreign.insert(inode) }
        if let (inode, chunks) = step.carried { carried[inode] = joined(carried[inode] ?? [], chunks) }
        if let entry = step.entry {
            log.append(entry.operation, number: entry.number, by: entry.caller, before: entry.before)
        }
    }

    /// Files that were made or changed here, and that have a name in the tree where that was done and none in this one: of two
    /// names each client removed one, or moved one to where the other's was. They are to be copied as well. Where nothing but
    /// names were removed, by both, that is what was wanted.
    public func unnamed(in transaction: Transaction, from source: Transaction) throws(Interruption) -> [InodeNumber] {
        var unnamed: [InodeNumber] = []
        for inode in shared.union(fates.keys).sorted() where !isCopied(inode) {
            let links = try transaction.inodeIfPresent(inode)?.attributes.linkCount ?? 0
            if links == 0, try source.inodeIfPresent(inode)?.attributes.linkCount ?? 0 > 0 { unnamed.append(inode) }
        }
        return unnamed
    }

    public mutating func copy(_ inodes: [InodeNumber]) {
        for inode in inodes {
            fates[inode] = .copied
            carried[inode] = nil
            copied.append(inode)
        }
    }

    /// Disjoint: what is carried twice would be given up the second time.
    private func joined(_ ranges: [Range<UInt64>], _ new: Range<UInt64>) -> [Range<UInt64>] {
        var whole = new
        var others: [Range<UInt64>] = []
        for range in ranges {
            if range.overlaps(whole) || range.lowerBound == whole.upperBound || range.upperBound == whole.lowerBound {
                whole = min(range.lowerBound, whole.lowerBound)..<max(range.upperBound, whole.upperBound)
            } else {
                others.append(range)
            }
        }
        return others + [whole]
    }

    // MARK: Names

    private func make(
        _ inode: InodeNumber, at place: Place, _ entry: OperationLog.Entry, in transaction: inout Transaction,
        _ body: (inout Transaction, Place) throws(Interruption) -> Operation
    ) throws(Interruption) -> Step {
        // It is in the root that was chosen.
        guard try transaction.inodeIfPresent(inode) == nil else { return Step() }
        let free = try freePlace(at: place, in: transaction)
        var step = done(entry, try body(&transaction, free))
        if free != place { step.conflict = try settled(at: free, in: &transaction) }
        step.fate = (inode, .unchanged)
        return step
    }

    private func link(
        _ inode: InodeNumber, at place: Place, _ entry: OperationLog.Entry, in transaction: inout Transaction
    ) throws(Interruption) -> Step {
        if try transaction.find(place)?.inode == inode { return Step(shared: inode, isMoot: true) }
        guard let record = try transaction.inodeIfPresent(inode) else {
            // It was deleted elsewhere; whoever gave it one more name wanted to keep it.
            return Step(fate: (inode, .copied), isMoot: true)
        }
        guard try isKept(record, in: transaction) else { return Step(fate: (inode, .copied), isMoot: true) }
        let free = try freePlace(at: place, in: transaction)
        let isDone = try whole(&transaction) { (transaction) throws(Interruption) in
            _ = try transaction.link(inode, to: free.name, in: free.parent, by: entry.caller, incarnation: session)
        }
        guard isDone else { return Step(conflict: .kept(place)) }
        var step = done(entry, .link(inode, free))
        if free != place { step.conflict = try settled(at: free, in: &transaction) }
        return step
    }

    /// Edit wins over delete: only what was there when it was removed here goes.
    private func remove(
        _ place: Place, _ found: Found, _ entry: OperationLog.Entry, in transaction: inout Transaction,
        _ body: (inout Transaction) throws(Interruption) -> Void
    ) throws(Interruption) -> Step {
        guard let now = try transaction.find(place), now.inode == found.inode else { return Step(isMoot: true) }
        if case .unlink = entry.operation, isNewer(now, than: found) { return Step(conflict: .kept(place)) }
        return try whole(&transaction, body) ? done(entry, entry.operation) : Step(conflict: .kept(place))
    }

    private func rename(
        _ source: Place, _ moved: Found, _ target: Place, _ replaced: Found?, _ mode: RenameMode,
        _ entry: OperationLog.Entry, in transaction: inout Transaction, _ isOpen: (InodeNumber) -> Bool
    ) throws(Interruption) -> Step {
        guard let here = try transaction.find(source), here.inode == moved.inode else {
            if try transaction.find(target)?.inode == moved.inode { return Step(isMoot: true) }
            // Moved elsewhere by somebody: first come. Deleted: whoever moved it wanted to keep it.
            guard let record = try transaction.inodeIfPresent(moved.inode), record.attributes.linkCount > 0 else {
                return Step(fate: (moved.inode, .copied), isMoot: true)
            }
            return Step(conflict: .kept(target))
        }
        let there = try transaction.find(target)
        if mode == .exchange {
            guard let there, there.inode == replaced?.inode else { return Step(conflict: .kept(source)) }
        }
        var free = target
        // Only what was replaced here is replaced there.
        if mode != .exchange, let there {
            let isReplaced = replaced.map { there.inode == $0.inode && !isNewer(there, than: $0) } ?? false
            if !isReplaced { free = try freePlace(at: target, in: transaction) }
        }
        if try !transaction.isLivingDirectory(target.parent) { free = try freePlace(at: target, in: transaction) }
        let isDone = try whole(&transaction) { (transaction) throws(Interruption) in
            _ = try transaction.rename(
                source.name, in: source.parent, to: free.name, in: free.parent, mode: mode, by: entry.caller,
                incarnation: session, isOpen: isOpen)
        }
        // A folder that would become its own parent, or is not empty any more, stays where it is.
        guard isDone else { return Step(conflict: .kept(source)) }
        var step = done(entry, .rename(source, moved, to: free, free == target ? replaced : nil, mode))
        if free != target { step.conflict = try settled(at: free, in: &transaction) }
        return step
    }

    /// Somebody else has changed it. What was written here and is done again may differ in how it came about.
    private func isNewer(_ now: Found, than found: Found) -> Bool {
        if foreign.contains(now.inode) { return true }
        switch fates[now.inode] {
        case .unchanged?: return false
        case .copied?: return true
        case nil: return now.version != found.version
        }
    }

    // MARK: Contents and attributes

    private func changeFile(
        _ entry: OperationLog.Entry, in transaction: inout Transaction
    ) throws(Interruption) -> Step {
        var step = done(entry, entry.operation)
        if let inode = entry.operation.versioned {
            let fate = try fate(of: inode, entry.before, in: transaction)
            step.fate = (inode, fate)
            if case .copied = fate {
                // A time alone is not worth a copy; it is the other's file that has its own. The copy will have the rest.
                return entry.operation.contents == nil ? Step(foreign: inode) : Step(fate: (inode, .copied))
            }
            // It was deleted here afterwards or before, while it was open: it is not any more.
            guard try transaction.inodeIfPresent(inode) != nil else { return Step() }
        }
        switch entry.operation {
        case .write(let inode, let range):
            _ = try transaction.noteWrite(inode, range: range, by: entry.caller)
            if !range.isEmpty { step.carried = (inode, range.lowerBound / chunkSize..<chunkCount(range.upperBound)) }
        case .punch(let inode, let chunks):
            while try !transaction.punch(chunks, of: inode, by: entry.caller) {}
        case .setAttributes(let inode, let changes):
            // Who deletes a file cares little for its permissions; a copy has them already.
            guard !isCopied(inode), try transaction.inodeIfPresent(inode) != nil else { return Step() }
            while try !transaction.setAttributes(of: inode, to: changes, by: entry.caller).isComplete {}
        default: break
        }
        return step
    }

    private func fate(
        of inode: InodeNumber, _ before: ContentVersion?, in transaction: Transaction
    ) throws(Interruption) -> Fate {
        if let known = fates[inode] { return known }
        if foreign.contains(inode) { return .copied }
        // What somebody else deleted and still has open goes with the last close there.
        guard let record = try transaction.inodeIfPresent(inode), try isKept(record, in: transaction) else { return .copied }
        return record.version == before ? .unchanged : .copied
    }

    private func isCopied(_ inode: InodeNumber) -> Bool { if case .copied? = fates[inode] { true } else { false } }

    /// It has a name, or this session has it open.
    private func isKept(_ record: InodeRecord, in transaction: Transaction) throws(Interruption) -> Bool {
        if record.attributes.linkCount > 0 { return true }
        return try transaction.isOrphan(record.attributes.inode, of: session)
    }

    /// Nothing happens to an inode that is gone.
    private func ifPossible(
        _ entry: OperationLog.Entry, in transaction: inout Transaction,
        _ body: (inout Transaction) throws(Interruption) -> Void
    ) throws(Interruption) -> Step {
        try whole(&transaction, body) ? done(entry, entry.operation) : Step()
    }

    /// All of `body`, or nothing and `false` when the file system says no.
    private func whole(
        _ transaction: inout Transaction, _ body: (inout Transaction) throws(Interruption) -> Void
    ) throws(Interruption) -> Bool {
        var attempt = transaction
        do throws(Interruption) {
            try body(&attempt)
        } catch .failed {
            return false
        }
        transaction = attempt
        return true
    }

    private func done(_ entry: OperationLog.Entry, _ operation: Operation) -> Step {
        var entry = entry
        entry.operation = operation
        return Step(entry: entry)
    }

    // MARK: Where losers go

    private func settled(at place: Place, in transaction: inout Transaction) throws(Interruption) -> Conflict {
        try transaction.forgetSettledConflicts()
        try transaction.noteConflict(at: place)
        return .renamed(place)
    }

    /// Makes the file that gets all of what was written here to a file that somebody else changed too, or deleted: still empty,
    /// but of its size, with its attributes.
    ///
    /// - Parameter place: where the file was.
    public func makeCopy(
        of inode: InodeNumber, beside place: Place, as copy: InodeNumber, from source: Transaction, by caller: Caller,
        in transaction: inout Transaction
    ) throws(Interruption) -> [Operation] {
        let record = try source.inode(inode)
        let original = record.attributes
        let isThere = try transaction.isLivingDirectory(place.parent)
        let free = try conflictPlace(beside: isThere ? place : Place(place.name, in: rootInode), in: transaction)
        var operations: [Operation] = []
        switch original.type {
        case .directory:
            operations.append(.makeDirectory(free, permissions: original.permissions, copy))
            _ = try transaction.makeDirectory(
                free.name, in: free.parent, permissions: original.permissions, inode: copy, by: caller)
        case .symlink:
            operations.append(.makeSymlink(free, target: record.inline, copy))
            _ = try transaction.makeSymlink(free.name, in: free.parent, to: record.inline, inode: copy, by: caller)
        default:
            operations.append(
                .makeNode(free, original.type, permissions: original.permissions, device: original.device, copy))
            _ = try transaction.makeNode(
                free.name, in: free.parent, type: original.type, permissions: original.permissions,
                device: original.device, inode: copy, by: caller)
        }
        for name in try source.extendedAttributes(of: inode) {
            let value = try source.extendedAttribute(name, of: inode)
            try transaction.setExtendedAttribute(name, of: copy, to: value, mode: .any, by: caller)
            operations.append(.setExtendedAttribute(name, copy, value: value))
        }
        var changes = AttributeChanges()
        changes.size = original.type == .regular ? original.size : nil
        changes.user = original.user
        changes.group = original.group
        changes.permissions = original.permissions
        changes.accessed = original.accessed
        changes.modified = original.modified
        _ = try transaction.setAttributes(of: copy, to: changes, by: caller)
        if original.type == .regular, original.size > 0 { operations.append(.write(copy, 0..<original.size)) }
        operations.append(.setAttributes(copy, changes))
        _ = try settled(at: free, in: &transaction)
        return operations
    }

    /// Notes a copy that was made.
    public mutating func note(copy operations: [Operation], _ copy: InodeNumber, number: UInt64, by caller: Caller) {
        fates[copy] = .unchanged
        switch operations.first {
        case .makeNode(let place, _, _, _, _), .makeDirectory(let place, _, _), .makeSymlink(let place, _, _):
            conflicts.append(.renamed(place))
        default: break
        }
        for operation in operations { log.append(operation, number: number, by: caller) }
    }

    /// The place itself when it is free, else one beside it; in the root directory when its own is gone.
    public func freePlace(at place: Place, in transaction: Transaction) throws(Interruption) -> Place {
        let isThere = try transaction.isLivingDirectory(place.parent)
        if isThere, try transaction.entry(place.name, in: place.parent) == nil { return place }
        return try conflictPlace(beside: isThere ? place : Place(place.name, in: rootInode), in: transaction)
    }

    /// A name that says that there was a conflict.
    public func conflictPlace(beside place: Place, in transaction: Transaction) throws(Interruption) -> Place {
        var count = 1
        while true {
            let name = ConflictName.make(place.name, mark: mark, count: count)
            if try transaction.entry(name, in: place.parent) == nil { return Place(name, in: place.parent) }
            count += 1
        }
    }
}

/// Names of what lost a conflict.
enum ConflictName {
    /// `report (conflict HOST TIME).odt`: what opened the file before still does. The mark survives in the longest name.
    static func make(_ name: [UInt8], mark: [UInt8], count: Int) -> [UInt8] {
        let dot = name.lastIndex(of: UInt8(ascii: "."))
        // `.profile` has no ending, and what is longer than 16 bytes is none.
        let split = dot.flatMap { $0 > 0 && name.count - $0 <= 16 ? $0 : nil } ?? name.count
        let tail = [UInt8(ascii: " ")] + mark + (count > 1 ? Array(" \(count)".utf8) : []) + name[split...]
        var stem = name[..<split].prefix(FileSystemLimits.name - tail.count)
        // Not within a character of UTF-8.
        if stem.count < split { while let last = stem.last, last & 0xc0 == 0x80 { stem.removeLast() } }
        if stem.count < split, let last = stem.last, last >= 0xc0 { stem.removeLast() }
        return stem + tail
    }
}

extension Transaction {
    func isLivingDirectory(_ inode: InodeNumber) throws(Interruption) -> Bool {
        guard let record = try inodeIfPresent(inode) else { return false }
        return record.attributes.type == .directory && record.attributes.linkCount > 0
    }

    func isOrphan(_ inode: InodeNumber, of session: Incarnation) throws(Interruption) -> Bool {
        try read(.orphan(session, inode)) != nil
    }
}
