import LanfsTree
import SystemPackage

/// What became of an inode that lost a name.
public struct Removal: Equatable, Sendable {
    public var inode: InodeNumber
    public var type: InodeType
    /// Names it has left. An inode without names that is open somewhere stays until
    /// ``Transaction/releaseOrphan(_:of:)``.
    public var linkCount: UInt32
    /// The inode no longer exists: what is cached or dirty of it is of no use.
    public var isGone: Bool

    public init(inode: InodeNumber, type: InodeType, linkCount: UInt32, isGone: Bool) {
        self.inode = inode
        self.type = type
        self.linkCount = linkCount
        self.isGone = isGone
    }
}

extension Transaction {
    /// Gives an inode one more name. Four looks at most, three writes.
    ///
    /// - Parameter incarnation: whose unnamed files (O_TMPFILE) may be given a name.
    /// - Throws: `EPERM` for a directory, `ENOENT` for a file that lost its last name.
    public mutating func link(
        _ inode: InodeNumber, to name: [UInt8], in parent: InodeNumber, by caller: Caller, incarnation: Incarnation
    ) throws(Interruption) -> Attributes {
        var record = try self.inode(inode)
        guard record.attributes.type != .directory else { throw .failed(.notPermitted) }
        var directory = try livingDirectory(parent)
        try requireAbsent(name, in: parent)
        guard record.attributes.linkCount < FileSystemLimits.links else { throw .failed(.tooManyLinks) }
        if record.attributes.linkCount == 0 {
            guard try read(.orphan(incarnation, inode)) != nil else { throw .failed(.noSuchFileOrDirectory) }
            remove(.orphan(incarnation, inode))
        }
        record.attributes.linkCount += 1
        record.attributes.changed = caller.now
        directory.changeNames(entries: 1, at: caller.now)
        store(EntryRecord(inode: inode, type: record.attributes.type), as: name, in: parent)
        store(record)
        store(directory)
        return record.attributes
    }

    /// Takes a name away from anything but a directory. Three looks, and one more (the superblock) and the file's own
    /// extents when that was its last name.
    ///
    /// - Parameter incarnation: who keeps the inode when `isOpen` says so.
    /// - Parameter isOpen: whether this client has the inode open; asked once at most. Others that have it open get
    ///   `ESTALE` from then on.
    public mutating func unlink(
        _ name: [UInt8], in parent: InodeNumber, by caller: Caller, incarnation: Incarnation,
        isOpen: (InodeNumber) -> Bool
    ) throws(Interruption) -> Removal {
        var directory = try self.directory(parent)
        try checkName(name)
        guard let entry = try entry(name, in: parent) else { throw .failed(.noSuchFileOrDirectory) }
        guard entry.type != .directory else { throw .failed(.isDirectory) }
        let record = try self.inode(entry.inode)
        remove(.entry(parent: parent, name: name))
        directory.changeNames(entries: -1, at: caller.now)
        store(directory)
        return try dropName(of: record, at: caller.now, incarnation, isOpen)
    }

    /// Five looks (parent, name, inode, that it is empty (T3), superblock).
    public mutating func removeDirectory(
        _ name: [UInt8], in parent: InodeNumber, by caller: Caller, incarnation: Incarnation,
        isOpen: (InodeNumber) -> Bool
    ) throws(Interruption) -> Removal {
        var directory = try self.directory(parent)
        try checkName(name)
        guard let entry = try entry(name, in: parent) else { throw .failed(.noSuchFileOrDirectory) }
        guard entry.type == .directory else { throw .failed(.notDirectory) }
        try requireEmpty(entry.inode)
        let record = try self.inode(entry.inode)
        remove(.entry(parent: parent, name: name))
        directory.changeNames(entries: -1, subdirectories: -1, at: caller.now)
        store(directory)
        return try dropName(of: record, at: caller.now, incarnation, isOpen)
    }

    /// In a folder with the sticky bit a name is for the owner of the file, or of the folder, to take away. Who else may the kernel
    /// knows: to be called where it has asked that of another file.
    ///
    /// - Throws: `ESTALE`, which the kernel takes as a request to look, and to ask, again.
    public func requireOwner(_ inode: InodeNumber, in parent: InodeNumber, _ caller: Caller) throws(Interruption) {
        let directory = try self.directory(parent).attributes
        guard directory.permissions & sticky != 0, caller.user != 0, caller.user != directory.user else { return }
        guard try self.inode(inode).attributes.user == caller.user else { throw .failed(.staleNFSFileHandle) }
    }

    func requireEmpty(_ directory: InodeNumber) throws(Interruption) {
        guard try first(in: .entries(of: directory)) == nil else { throw .failed(.directoryNotEmpty) }
    }

    /// An inode lost a name; a directory with it all its links.
    mutating func dropName(
        of record: InodeRecord, at now: Timestamp, _ incarnation: Incarnation, _ isOpen: (InodeNumber) -> Bool
    ) throws(Interruption) -> Removal {
        var record = record
        let inode = record.attributes.inode
        let isDirectory = record.attributes.type == .directory
        record.attributes.linkCount =
            isDirectory ? 0 : record.attributes.linkCount - min(1, record.attributes.linkCount)
        record.attributes.changed = now
        var removal = Removal(
            inode: inode, type: record.attributes.type, linkCount: record.attributes.linkCount, isGone: false)
        if removal.linkCount > 0 {
            store(record)
        } else if isOpen(inode) {
            store(record)
            set(.orphan(incarnation, inode), marker)
        } else {
            try erase(record)
            removal.isGone = true
        }
        return removal
    }
}
