import LanfsFileSystem
import LanfsTree

/// Something that another client changed and the kernel may remember as it was.
public enum ForeignChange: Hashable, Sendable {
    /// Of a file, and maybe its bytes: with those the time of its last change is another one.
    case attributes(InodeNumber)
    case entry(parent: InodeNumber, name: [UInt8])

    /// What this change of the tree changes for its readers.
    fileprivate init?(_ change: Change) {
        switch RecordKey(change.key) {
        case .inode(let inode)?, .attribute(let inode, _, _)?, .extent(let inode, _, _)?: self = .attributes(inode)
        case .entry(let parent, let name)?: self = .entry(parent: parent, name: name)
        case .superblock?, .orphan?, .trim?, .usage?, .dead?, .pinnedRoot?, .recovery?, .conflict?, .lock?, .lockRequest?, nil: return nil
        }
    }

    /// Whose memory of it counts: the kernel forgets a directory's names with the directory.
    fileprivate var inode: InodeNumber {
        switch self {
        case .attributes(let inode), .entry(let inode, _): inode
        }
    }
}

extension VolumeState {
    /// What the kernel may remember of these.
    mutating func noteForeign(_ changes: [Change]) -> Set<ForeignChange> {
        var foreign: Set<ForeignChange> = []
        for change in changes.lazy.compactMap(ForeignChange.init) where isKnown(change.inode) {
            foreign.insert(change)
            if case .entry = change { continue }
            changedElsewhere.insert(change.inode)
        }
        return foreign
    }

    /// Everything may be different.
    mutating func noteAllForeign() -> Set<ForeignChange> {
        changedElsewhere.formUnion(lookups.keys)
        return Set((lookups.keys + [rootInode]).map { .attributes($0) })
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
