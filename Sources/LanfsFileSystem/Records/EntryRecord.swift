import LanfsProtocol

/// What a name stands for.
public struct EntryRecord: Equatable, Sendable {
    public var inode: InodeNumber
    /// The inode's own type, repeated here so that listing a directory reads no inodes.
    public var type: InodeType

    public init(inode: InodeNumber, type: InodeType) {
        self.inode = inode
        self.type = type
    }

    public func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 10)
        writer.append(RecordVersion.current)
        writer.append(type.rawValue)
        writer.append(inode)
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "a directory entry")
        type = try reader.inodeType()
        inode = try reader.integer()
        try reader.finish()
    }
}
