import LanfsTree
import SystemPackage

// An inode without a name lives on under an orphan key while its session has it open. When it goes, what is small of it
// goes in the same transaction; the runs of a large file are left under a trim key and removed in batches, so that
// deleting takes the same time whatever the size. Inode numbers are never used again (T4), so nobody can meet them.

/// The value of keys that say all by being there.
let marker: [UInt8] = [RecordVersion.current]

extension Transaction {
    /// The last local close of a file without a name, or its session is known to be dead. Nothing happens when the
    /// session keeps no such inode.
    public mutating func releaseOrphan(_ inode: InodeNumber, of incarnation: Incarnation) throws(Interruption) {
        guard try read(.orphan(incarnation, inode)) != nil else { return }
        remove(.orphan(incarnation, inode))
        if let record = try inodeIfPresent(inode), record.attributes.linkCount == 0 { try erase(record) }
    }

    /// Up to `limit` inodes without a name that this session keeps.
    public func orphans(of incarnation: Incarnation, limit: Int) throws(Interruption) -> [InodeNumber] {
        try collect(in: .orphans(of: incarnation), limit: limit) { key, _ in
            guard case .orphan(_, let inode)? = RecordKey(key) else { return nil }
            return inode
        }
    }

    /// Removes up to `limit` runs (and extended attributes) that deleted and emptied files left behind.
    ///
    /// - Returns: whether nothing is left; else call it again, in another transaction.
    public mutating func reapTrimmed(limit: Int) throws(Interruption) -> Bool {
        var left = max(1, limit)
        // As many files as the limit allows, so that a thousand of two runs each are not a thousand transactions.
        while let (key, _) = try first(in: .all(.trim)) {
            guard case .trim(let inode, let generation)? = RecordKey(key) else { throw .failed(.ioError) }
            guard left > 0 else { return false }
            let runs = try runs(of: inode, generation, in: allChunks, limit: left)
            for run in runs { try drop(run, of: inode, generation) }
            left -= runs.count
            if left > 0, try inodeIfPresent(inode) == nil {
                left -= try removeAttributes(of: inode, limit: left)
            }
            if left > 0 {
                remove(key)
                left -= 1
            }
        }
        return true
    }

    /// Removes an inode that has no name, and either all that belongs to it or a first part, leaving a trim key.
    mutating func erase(_ record: InodeRecord) throws(Interruption) {
        let inode = record.attributes.inode
        remove(.inode(inode))
        try count(files: -1, bytes: -Int64(clamping: record.attributes.allocated))
        var isComplete = true
        if record.hasExtents {
            isComplete = try dropAllRuns(of: inode, record.generation)
        }
        if isComplete, record.attributeNames > 0 {
            let limit = FileSystemLimits.runsAtOnce
            isComplete = try removeAttributes(of: inode, limit: limit) < limit
        }
        if !isComplete { set(.trim(inode, generation: record.generation), marker) }
    }

    /// Removes all runs when they are few, none when they are many.
    ///
    /// - Returns: whether it did.
    mutating func dropAllRuns(of inode: InodeNumber, _ generation: UInt32) throws(Interruption) -> Bool {
        let runs = try runs(of: inode, generation, in: allChunks, limit: FileSystemLimits.runsAtOnce + 1)
        guard runs.count <= FileSystemLimits.runsAtOnce else { return false }
        for run in runs { try drop(run, of: inode, generation) }
        return true
    }
}

extension InodeRecord {
    /// Whether chunks of the file are in blocks: all that is allocated and not inline.
    var hasExtents: Bool {
        attributes.type == .regular && attributes.allocated > UInt64(inline.count)
    }
}
