import LanfsProtocol

/// What concerns the whole volume. Its version is the volume's format.
public struct Superblock: Equatable, Sendable {
    /// Numbers from here on were never handed out (T4).
    public var nextInode: InodeNumber
    /// Inodes, unlinked ones that are still open included.
    public var files: UInt64
    /// Bytes of all files that are backed by data: the sum of their `allocated`.
    public var bytes: UInt64
    public var created: Timestamp

    public init(nextInode: InodeNumber, files: UInt64, bytes: UInt64, created: Timestamp) {
        self.nextInode = nextInode
        self.files = files
        self.bytes = bytes
        self.created = created
    }

    public func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 37)
        writer.append(RecordVersion.current)
        writer.append(nextInode)
        writer.append(files)
        writer.append(bytes)
        writer.append(created)
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "the superblock")
        nextInode = try reader.integer()
        files = try reader.integer()
        self.bytes = try reader.integer()
        created = try reader.timestamp()
        try reader.finish()
    }
}
