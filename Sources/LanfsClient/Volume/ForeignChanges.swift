import LanfsFileSystem
import LanfsTree

// What another client changed and the kernel may remember as it was: inodes. A change of a file's bytes moves the time of its last
// change, one of a name that of its directory and the links of what it leads to.

extension VolumeState {
    /// What the kernel may remember of these.
    mutating func noteForeign(_ changes: [Change]) -> Set<InodeNumber> {
        var foreign: Set<InodeNumber> = []
        for change in changes {
            guard let inode = Self.inode(shownDifferentlyBy: change), isKnown(inode) else { continue }
            foreign.insert(inode)
        }
        changedElsewhere.formUnion(foreign)
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
        changedElsewhere.formUnion(lookups.keys)
        return Set(lookups.keys + [rootInode])
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
