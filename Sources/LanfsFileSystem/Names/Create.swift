import LanfsTree
import SystemPackage

// Permissions are taken as given: the kernel has applied the umask. `inode` is a number of a reserved range that was
// never used before (T4). Each operation here takes three looks (parent, name, superblock) and four writes.

extension Transaction {
    /// A file, fifo, socket or device.
    public mutating func makeNode(
        _ name: [UInt8], in parent: InodeNumber, type: InodeType, permissions: UInt16, device: UInt32 = 0,
        inode: InodeNumber, by caller: Caller
    ) throws(Interruption) -> Attributes {
        guard type != .directory, type != .symlink else { throw .failed(.invalidArgument) }
        var directory = try livingDirectory(parent)
        try requireAbsent(name, in: parent)
        var record = newInode(inode, type, permissions, in: directory, by: caller)
        if type == .characterDevice || type == .blockDevice { record.attributes.device = device }
        return try add(record, as: name, to: &directory, at: caller.now)
    }

    /// open(2) with O_CREAT. Without `exclusive` a file that is there already is the answer, and `isNew` is `false`.
    ///
    /// - Throws: `EISDIR` for a directory; `ESTALE` for a symlink, which the kernel takes as a request to look again.
    public mutating func create(
        _ name: [UInt8], in parent: InodeNumber, permissions: UInt16, exclusive: Bool, inode: InodeNumber,
        by caller: Caller
    ) throws(Interruption) -> (attributes: Attributes, isNew: Bool) {
        try checkName(name)
        if !exclusive, let existing = try entry(name, in: parent) {
            switch existing.type {
            case .directory: throw .failed(.isDirectory)
            case .symlink: throw .failed(.staleNFSFileHandle)
            default: return (try attributes(of: existing.inode), false)
            }
        }
        let attributes = try makeNode(
            name, in: parent, type: .regular, permissions: permissions, inode: inode, by: caller)
        return (attributes, true)
    }

    public mutating func makeDirectory(
        _ name: [UInt8], in parent: InodeNumber, permissions: UInt16, inode: InodeNumber, by caller: Caller
    ) throws(Interruption) -> Attributes {
        var directory = try livingDirectory(parent)
        try requireAbsent(name, in: parent)
        guard directory.attributes.linkCount < FileSystemLimits.links else { throw .failed(.tooManyLinks) }
        var record = newInode(inode, .directory, permissions, in: directory, by: caller)
        record.attributes.linkCount = 2
        record.attributes.permissions |= directory.attributes.permissions & setGroupID
        record.parent = parent
        return try add(record, as: name, to: &directory, at: caller.now)
    }

    public mutating func makeSymlink(
        _ name: [UInt8], in parent: InodeNumber, to target: [UInt8], inode: InodeNumber, by caller: Caller
    ) throws(Interruption) -> Attributes {
        guard !target.isEmpty else { throw .failed(.noSuchFileOrDirectory) }
        guard target.count <= FileSystemLimits.target else { throw .failed(.fileNameTooLong) }
        guard !target.contains(0) else { throw .failed(.invalidArgument) }
        var directory = try livingDirectory(parent)
        try requireAbsent(name, in: parent)
        var record = newInode(inode, .symlink, 0o777, in: directory, by: caller)
        record.inline = target
        record.attributes.size = UInt64(target.count)
        return try add(record, as: name, to: &directory, at: caller.now)
    }

    /// A file without a name (O_TMPFILE): an orphan of `incarnation` until ``link(_:to:in:by:incarnation:)`` names it.
    /// Two looks, three writes.
    public mutating func createUnnamed(
        in parent: InodeNumber, permissions: UInt16, inode: InodeNumber, by caller: Caller, incarnation: Incarnation
    ) throws(Interruption) -> Attributes {
        let directory = try livingDirectory(parent)
        var record = newInode(inode, .regular, permissions, in: directory, by: caller)
        record.attributes.linkCount = 0
        store(record)
        set(.orphan(incarnation, inode), marker)
        try count(files: 1)
        return record.attributes
    }
}

/// From a directory with this bit only owners take names away.
let sticky: UInt16 = 0o1000
/// A directory with this bit gives its group to what is made in it, and the bit to directories.
let setGroupID: UInt16 = 0o2000

extension Transaction {
    func requireAbsent(_ name: [UInt8], in parent: InodeNumber) throws(Interruption) {
        try checkName(name)
        guard try entry(name, in: parent) == nil else { throw .failed(.fileExists) }
    }

    private func newInode(
        _ inode: InodeNumber, _ type: InodeType, _ permissions: UInt16, in directory: InodeRecord, by caller: Caller
    ) -> InodeRecord {
        let inheritsGroup = directory.attributes.permissions & setGroupID != 0
        return InodeRecord(
            attributes: Attributes(
                new: inode, type: type, permissions: permissions, links: 1, user: caller.user,
                group: inheritsGroup ? directory.attributes.group : caller.group, at: caller.now))
    }

    private mutating func add(
        _ record: InodeRecord, as name: [UInt8], to directory: inout InodeRecord, at now: Timestamp
    ) throws(Interruption) -> Attributes {
        let attributes = record.attributes
        directory.changeNames(entries: 1, subdirectories: attributes.type == .directory ? 1 : 0, at: now)
        store(EntryRecord(inode: attributes.inode, type: attributes.type), as: name, in: directory.attributes.inode)
        store(record)
        store(directory)
        try count(files: 1)
        return attributes
    }
}
