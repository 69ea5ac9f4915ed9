import LanfsProtocol
import LanfsTree
import SystemPackage

extension Transaction {
    /// Two looks into the tree. `.` and `..` are answered too.
    public func lookup(_ name: [UInt8], in parent: InodeNumber) throws(Interruption) -> Attributes {
        let dot = UInt8(ascii: ".")
        if name == [dot] { return try directory(parent).attributes }
        if name == [dot, dot] { return try attributes(of: try directory(parent).parent) }
        guard name.count <= FileSystemLimits.name else { throw .failed(.fileNameTooLong) }
        guard let entry = try entry(name, in: parent) else {
            _ = try directory(parent)
            throw .failed(.noSuchFileOrDirectory)
        }
        return try attributes(of: entry.inode)
    }

    /// One look.
    public func attributes(of inode: InodeNumber) throws(Interruption) -> Attributes {
        try self.inode(inode).attributes
    }

    /// The directory that a directory is in; of the root, itself. One look.
    public func parent(of directory: InodeNumber) throws(Interruption) -> InodeNumber {
        try self.directory(directory).parent
    }

    /// A symbolic link's target. One look.
    public func readLink(_ inode: InodeNumber) throws(Interruption) -> [UInt8] {
        let record = try self.inode(inode)
        guard record.attributes.type == .symlink else { throw .failed(.invalidArgument) }
        return record.inline
    }

    /// Up to `limit` entries in the order of their bytes, from the first after `name` on: a position that stays good
    /// while the directory changes. One look and a scan.
    public func entries(
        of directory: InodeNumber, after name: [UInt8]? = nil, limit: Int
    ) throws(Interruption) -> [DirectoryEntry] {
        _ = try self.directory(directory)
        let range: KeyRange = if let name { .entries(of: directory, after: name) } else { .entries(of: directory) }
        let nameStart = 1 + MemoryLayout<InodeNumber>.size
        return try collect(in: range, limit: limit) { key, value in
            guard let entry = try? EntryRecord(decoding: value) else { return nil }
            return DirectoryEntry(name: Array(key.bytes[nameStart...]), inode: entry.inode, type: entry.type)
        }
    }

    /// The same with each entry's attributes, one look more for each; `nil` where the inode cannot be read, so that one
    /// damaged record does not hide a directory.
    public func entriesWithAttributes(
        of directory: InodeNumber, after name: [UInt8]? = nil, limit: Int
    ) throws(Interruption) -> [(entry: DirectoryEntry, attributes: Attributes?)] {
        var listed: [(entry: DirectoryEntry, attributes: Attributes?)] = []
        for entry in try entries(of: directory, after: name, limit: limit) {
            do {
                listed.append((entry, try attributes(of: entry.inode)))
            } catch .failed {
                listed.append((entry, nil))
            }
        }
        return listed
    }
}
