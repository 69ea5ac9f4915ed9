/// The sizes every role agrees on.
public enum Limits {
    /// Bytes of a file that one frame seals; file chunks are aligned to it. Half of it costs a sequential reader as much
    /// as a random one would gain, twice as much makes a random 4 KiB read or write a quarter slower.
    public static let chunkSize = 16 * 1024
    /// Header, tag and authenticator that sealing adds to a frame (libsodium secretstream: 24 + 1 + 16).
    public static let frameOverhead = 41
    public static let sealedChunkSize = chunkSize + frameOverhead
    /// Chunks of one full data block: 1 MiB of payload.
    public static let chunksPerBlock = 64
    /// The longest sealed block a server accepts: 1 MiB of payload in frames no smaller than 512 bytes on average.
    public static let blockSize = (1 << 20) + 2048 * frameOverhead
    /// Bytes of blocks that travel within one commit request, and lie beside its vote in the keeper's journals.
    public static let carriedSize = 64 * 1024
    /// How many those may be.
    public static let carriedBlocks = 64
    /// A root record with everything in it.
    public static let rootRecordSize = 4096
    /// One control message of a connection, sealed; block bytes travel outside it.
    public static let messageSize = 256 * 1024
}

/// Where a frame (or a run of equal frames) is and what opens it.
public struct FrameRef: Hashable, Sendable {
    public static let encodedSize = 32 + 32 + 4 + 4 + 4

    /// `.zero` inside a block's own frames means the block itself, whose name is not known until it is sealed.
    public var block: BlockID
    public var key: BlockKey
    /// The first frame's number within the block: the associated data it was sealed with.
    public var index: UInt32
    /// Where the first frame starts in the sealed block, in bytes.
    public var offset: UInt32
    /// Sealed bytes, of all frames when this is a run: each frame is `Limits.sealedChunkSize` long but the last.
    public var length: UInt32

    @inlinable
    public init(block: BlockID, key: BlockKey, index: UInt32, offset: UInt32, length: UInt32) {
        self.block = block
        self.key = key
        self.index = index
        self.offset = offset
        self.length = length
    }

    @inlinable
    public func encode(into writer: inout ByteWriter) {
        writer.append(block)
        writer.append(key)
        writer.append(index)
        writer.append(offset)
        writer.append(length)
    }

    @inlinable
    public init(from reader: inout ByteReader) throws(DecodingError) {
        block = try reader.id()
        key = try reader.id()
        index = try reader.integer()
        offset = try reader.integer()
        length = try reader.integer()
    }

    /// This reference as seen from outside: one that meant "the same block" now names it.
    @inlinable
    public func resolved(in containing: FrameRef) -> FrameRef {
        guard block == .zero else { return self }
        var resolved = self
        resolved.block = containing.block
        resolved.key = containing.key
        return resolved
    }
}
