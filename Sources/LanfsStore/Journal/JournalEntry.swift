import LanfsProtocol

/// A small block that a journal keeps beside the state that needs it, until the segments surely have it.
public struct CarriedBlock: Equatable, Sendable {
    public var id: BlockID
    public var gcEpoch: UInt64
    /// Sealed; their hash is `id`.
    public var bytes: [UInt8]

    public init(id: BlockID, gcEpoch: UInt64, bytes: [UInt8]) {
        self.id = id
        self.gcEpoch = gcEpoch
        self.bytes = bytes
    }
}

/// What one record of a journal says: a state that replaces all before, and blocks that add to those before.
///
/// A commit's blocks must be on disk before its vote is given (B2, A5). Lying in the same record they get there with the
/// vote, by one flush of the disk instead of two, one after the other.
struct JournalEntry: Equatable {
    var state: [UInt8]
    /// Blocks of records up to this sequence number are on disk in the segments.
    var settled: UInt64 = 0
    var blocks: [CarriedBlock] = []

    /// Bytes that `encoded` adds to those of the state and the blocks.
    static func overhead(blocks count: Int) -> Int { 4 + 8 + 4 + count * (32 + 8 + 4) }

    var encoded: [UInt8] {
        let size = blocks.reduce(state.count + Self.overhead(blocks: blocks.count)) { $0 + $1.bytes.count }
        var writer = ByteWriter(reserving: size)
        writer.append(prefixed: state)
        writer.append(settled)
        writer.append(list: blocks) { writer, block in
            writer.append(block.id)
            writer.append(block.gcEpoch)
            writer.append(prefixed: block.bytes)
        }
        return writer.bytes
    }

    init(state: [UInt8], settled: UInt64 = 0, blocks: [CarriedBlock] = []) {
        self.state = state
        self.settled = settled
        self.blocks = blocks
    }

    init(encoded bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        state = try reader.prefixed(limit: KeeperJournal.stateLimit)
        settled = try reader.integer()
        blocks = try reader.list(minimum: 44, limit: Limits.carriedBlocks) { (reader) throws(DecodingError) in
            CarriedBlock(id: try reader.id(), gcEpoch: try reader.integer(), bytes: try reader.prefixed(limit: Limits.carriedSize))
        }
        try reader.finish()
    }
}
