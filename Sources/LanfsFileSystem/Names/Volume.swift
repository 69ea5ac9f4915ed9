import LanfsTree

extension Transaction {
    /// Makes an empty volume of an empty tree: the superblock and the root directory, owned by `caller`.
    ///
    /// - Throws: `EEXIST` when there is a volume already.
    public mutating func format(permissions: UInt16 = 0o755, by caller: Caller) throws(Interruption) {
        guard try read(.superblock) == nil else { throw .failed(.fileExists) }
        let superblock = Superblock(nextInode: rootInode + 1, files: 1, bytes: 0, created: caller.now)
        set(.superblock, superblock.encoded())
        store(
            InodeRecord(
                attributes: Attributes(
                    new: rootInode, type: .directory, permissions: permissions, links: 2, user: caller.user,
                    group: caller.group, at: caller.now),
                parent: rootInode))
    }

    /// Takes numbers for inodes out of the volume's supply, for good (T4): they are unique even if the client that took
    /// them never uses one. They may be used once the commit of this transaction is chosen, or in that very commit.
    public mutating func reserveInodes(
        _ count: UInt64 = FileSystemLimits.inodesPerReservation
    ) throws(Interruption) -> Range<InodeNumber> {
        var superblock = try superblock()
        let first = superblock.nextInode
        let (end, overflow) = first.addingReportingOverflow(count)
        guard !overflow else { throw .failed(.noSpace) }
        superblock.nextInode = end
        set(.superblock, superblock.encoded())
        return first..<end
    }
}

extension Attributes {
    init(
        new inode: InodeNumber, type: InodeType, permissions: UInt16, links: UInt32, user: UInt32, group: UInt32,
        at now: Timestamp
    ) {
        self.init(
            inode: inode, type: type, permissions: permissions & 0o7777, linkCount: links, user: user, group: group,
            device: 0, size: 0, allocated: 0, accessed: now, modified: now, changed: now, created: now)
    }
}
