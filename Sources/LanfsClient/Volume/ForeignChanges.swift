import LanfsFileSystem
import LanfsTree

// What another client changed and the kernel may remember as it was: inodes. A change of a file's bytes moves the time of its last
// change, one of a name that of its directory and the links of what it leads to.

/// Which inodes other clients changed since the kernel last showed that it dropped the pages it had of them.
struct ForeignChanges {
    /// For so long after a change the kernel may come by a name that is another file's now: it looks names up before it opens,
    /// and may have looked just before.
    private static let doubt = Duration.seconds(1)

    /// Of all of them, in order.
    private var last: UInt64 = 0
    private var newest: [InodeNumber: UInt64] = [:]
    /// When a name of it was given away or removed, where none has led to it since.
    private var renamed: [InodeNumber: ContinuousClock.Instant] = [:]
    /// When whoever opened it was sent back to look.
    private var doubted: [InodeNumber: ContinuousClock.Instant] = [:]

    /// The number of the newest change the kernel may not know about; `nil` where it knows of all.
    subscript(inode: InodeNumber) -> UInt64? { newest[inode] }

    mutating func note(_ inodes: some Sequence<InodeNumber>) {
        last += 1
        for inode in inodes { newest[inode] = last }
    }

    mutating func noteRenamed(_ inodes: some Sequence<InodeNumber>) {
        let now = ContinuousClock.now
        renamed = renamed.filter { now - $0.value < Self.doubt }
        doubted = doubted.filter { now - $0.value < Self.doubt }
        for inode in inodes { renamed[inode] = now }
    }

    /// The kernel has nothing of it.
    mutating func forget(_ inode: InodeNumber) {
        newest[inode] = nil
        renamed[inode] = nil
    }

    /// A name leads to it now.
    mutating func noteName(of inode: InodeNumber) { renamed[inode] = nil }

    /// Whether the kernel may mean another file: the name by which it came to this one may have been given away meanwhile, as
    /// where an editor keeps the old version under another name. Told so (ESTALE) it looks all names up again; who has no name
    /// to look up, as for a file in /proc/self/fd, comes a second time, and is right. Not more than once in a while: a second
    /// ESTALE the program would get.
    mutating func mayBeMistaken(_ inode: InodeNumber) -> Bool {
        let now = ContinuousClock.now
        guard let since = renamed.removeValue(forKey: inode), now - since < Self.doubt,
            doubted[inode].map({ now - $0 >= Self.doubt }) ?? true
        else { return false }
        doubted[inode] = now
        return true
    }

    /// The kernel has dropped what it had before this change.
    mutating func forget(_ inode: InodeNumber, upTo change: UInt64) {
        if newest[inode] == change { newest[inode] = nil }
    }
}

/// Who hears of them. A struct of its own: a closure that is the value of a `Mutex` itself is passed to `withLock` in another
/// form and wrapped once more on its way back, whenever it is looked at, until calling it takes minutes and then the stack.
struct ForeignChangesListener {
    var tell: (@Sendable (InodeNumber) -> Void)?
}

extension VolumeState {
    /// Until the kernel is known to have heard it, each open says that the pages are old ones: an answer may reach nobody, and
    /// of two opens at one time the other may be the first to read.
    mutating func open(_ inode: InodeNumber, _ flags: OpenFlags) -> OpenFile {
        let change = changedElsewhere[inode]
        return OpenFile(handle: handles.open(inode, flags: flags, after: change), keepCache: change == nil,
            isDirect: flags.isSuperset(of: [.write, .append]))
    }

    /// The kernel has the answer to the open: it asks for something by that handle.
    mutating func noteUse(of handle: Handle, _ file: HandleTable.File) {
        guard let change = file.foreignChange else { return }
        changedElsewhere.forget(file.inode, upTo: change)
        handles.update(handle) { $0.foreignChange = nil }
    }

    /// What the kernel may remember of these.
    mutating func noteForeign(_ changes: [Change]) -> Set<InodeNumber> {
        var foreign: Set<InodeNumber> = []
        for change in changes {
            guard let inode = Self.inode(shownDifferentlyBy: change), isKnown(inode) else { continue }
            foreign.insert(inode)
        }
        changedElsewhere.note(foreign)
        return foreign
    }

    private static func inode(shownDifferentlyBy change: Change) -> InodeNumber? {
        switch RecordKey(change.key) {
        case .inode(let inode)?, .attribute(let inode, _, _)?, .extent(let inode, _, _)?, .entry(let inode, _)?: inode
        case .superblock?, .orphan?, .trim?, .usage?, .dead?, .pinnedRoot?, .recovery?, .conflict?, .lock?, .lockRequest?, nil: nil
        }
    }

    /// Everything may be different.
    mutating func noteAllForeign() -> Set<InodeNumber> {
        changedElsewhere.note(lookups.keys)
        changedElsewhere.noteRenamed(lookups.keys)
        return Set(lookups.keys + [rootInode])
    }

    /// Before the changes are made: what the kernel knows by a name that will be another's, or nobody's.
    func inodes(renamedBy changes: [Change]) throws(MissingNode) -> [InodeNumber] {
        var renamed: [InodeNumber] = []
        for change in changes {
            guard case .entry? = RecordKey(change.key), let old = try tree.value(change.key, nodes: nodes),
                old != change.value, let entry = try? EntryRecord(decoding: old), isKnown(entry.inode)
            else { continue }
            renamed.append(entry.inode)
        }
        return renamed
    }

    func openInodes(removedBy changes: [Change]) -> [InodeNumber] {
        changes.compactMap { change in
            guard change.value == nil, case .inode(let inode)? = RecordKey(change.key), handles.isOpen(inode) else { return nil }
            return inode
        }
    }

    func openInodes(missingFrom other: Tree) throws(Pause) -> [InodeNumber] {
        var missing: [InodeNumber] = []
        for inode in handles.openInodes where ghosts[inode] == nil {
            guard try isThere(inode, in: tree), try !isThere(inode, in: other) else { continue }
            missing.append(inode)
        }
        return missing
    }

    private func isThere(_ inode: InodeNumber, in tree: Tree) throws(Pause) -> Bool {
        do throws(Interruption) {
            return try Transaction(reading: tree, nodes: nodes).has(inode)
        } catch {
            throw Pause(error)
        }
    }

    /// The kernel never looks the root up.
    private func isKnown(_ inode: InodeNumber) -> Bool { lookups[inode] != nil || inode == rootInode }
}
