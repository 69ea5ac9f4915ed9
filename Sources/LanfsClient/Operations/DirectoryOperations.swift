import LanfsFileSystem
import SystemPackage

extension Volume {
    public func openDirectory(_ inode: InodeNumber) -> Outcome<Handle> {
        performOnNewest { (state) throws(Pause) in
            let parent = try state.read { (transaction) throws(Interruption) in try transaction.parent(of: inode) }
            return state.handles.openDirectory(inode, parent: parent)
        }
    }

    public func releaseDirectory(_ handle: Handle) {
        // As for files: one that was removed is there, empty, until its last close.
        let orphan = update { state in
            let inode = state.handles.closeDirectory(handle)
            if let inode { state.ghosts[inode] = nil }
            return inode
        }
        if let orphan { releaseIfOrphan(orphan) }
    }

    public func readDirectory(
        _ handle: Handle, offset: UInt64, limit: Int, attributes: Bool
    ) -> Outcome<[ListedEntry]> {
        perform { (state) throws(Pause) in
            try state.list(handle, offset: offset, limit: limit, attributes: attributes)
        }
    }
}

extension VolumeState {
    /// Positions: 0 before `.`, 1 before `..`, then one for each entry in the order this handle first saw them.
    mutating func list(
        _ handle: Handle, offset: UInt64, limit: Int, attributes withAttributes: Bool
    ) throws(Pause) -> [ListedEntry] {
        guard var directory = handles.directories[handle] else { throw .failed(.badFileDescriptor) }
        if offset == 0 {
            // rewinddir(3): look afresh.
            directory.entries = []
            directory.isComplete = false
        }
        var listed: [ListedEntry] = []
        if offset == 0 { listed.append(dot([UInt8(ascii: ".")], directory.inode, next: 1)) }
        if offset <= 1 { listed.append(dot([UInt8(ascii: "."), UInt8(ascii: ".")], directory.parent, next: 2)) }
        let first = Int(clamping: max(offset, 2) - 2)
        let wanted = first + max(1, limit)
        if directory.entries.count < wanted, !directory.isComplete {
            let missing = wanted - directory.entries.count
            let known = directory
            let more = try read { (transaction) throws(Interruption) in
                try transaction.entries(of: known.inode, after: known.entries.last?.name, limit: missing)
            }
            directory.entries += more
            directory.isComplete = more.count < missing
        }
        let end = min(wanted, directory.entries.count)
        if first < end {
            for position in first..<end {
                let entry = directory.entries[position]
                let attributes = withAttributes ? try attributesIfPresent(of: entry.inode) : nil
                listed.append(ListedEntry(entry: entry, nextOffset: UInt64(position + 3), attributes: attributes))
            }
        }
        // Nothing before this line is kept if it has to pause; lookups are counted only once all entries are at hand.
        for entry in listed {
            if let attributes = entry.attributes { lookups[attributes.inode, default: 0] += 1 }
        }
        handles.setDirectory(handle, directory)
        return listed
    }

    private func dot(_ name: [UInt8], _ inode: InodeNumber, next: UInt64) -> ListedEntry {
        ListedEntry(
            entry: DirectoryEntry(name: name, inode: inode, type: .directory), nextOffset: next, attributes: nil)
    }

    /// `nil` when the file was removed since the directory was read.
    private func attributesIfPresent(of inode: InodeNumber) throws(Pause) -> Attributes? {
        do throws(Pause) {
            return withUnsavedSize(
                try read { (transaction) throws(Interruption) in try transaction.attributes(of: inode) })
        } catch .failed {
            return nil
        }
    }
}
