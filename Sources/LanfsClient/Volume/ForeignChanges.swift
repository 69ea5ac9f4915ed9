import LanfsFileSystem
import LanfsTree

// What another client changed and the kernel may remember as it was: inodes. A change of a file's bytes moves the time of its last
// change, one of a name that of its directory and the links of what it leads to.

/// Which inodes other clients changed since the kernel last showed that it dropped the pages it had of them.
struct ForeignChanges {
    /// Of all of them, in order.
    private var last: UInt64 = 0
    private var newest: [InodeNumber: UInt64] = [:]

    /// The number of the newest change the kernel may not know about; `nil` where it knows of all.
    subscript(inode: InodeNumber) -> UInt64? { newest[inode] }

    mutating func note(_ inodes: some Sequence<InodeNumber>) {
        last += 1
        for inode in inodes { newest[inode] = last }
    }

    /// The kernel has nothing of it.
    mutating func forget(_ inode: InodeNumber) {
        newest[inode] = nil
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
        return OpenFile(
            handle: handles.open(inode, flags: flags, after: change), keepCache: change == nil,
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
        case .superblock?, .orphan?, .trim?, .usage?, .dead?, .pinnedRoot?, .recovery?, .conflict?, .lock?,
            .lockRequest?, nil:
            nil
        }
    }

    /// Everything may be different.
    mutating func noteAllForeign() -> Set<InodeNumber> {
        changedElsewhere.note(lookups.keys)
        // Who was shown nothing yet cannot be mistaken, as just after mounting; and a way that is gone twice counts its symbolic
        // links twice (ELOOP).
        if !lookups.isEmpty { renamedElsewhere.noteAll() }
        return Set(lookups.keys + [rootInode])
    }

    func openInodes(removedBy changes: [Change]) -> [InodeNumber] {
        changes.compactMap { change in
            guard change.value == nil, case .inode(let inode)? = RecordKey(change.key), handles.isOpen(inode) else {
                return nil
            }
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
    func isKnown(_ inode: InodeNumber) -> Bool { lookups[inode] != nil || inode == rootInode }
}
