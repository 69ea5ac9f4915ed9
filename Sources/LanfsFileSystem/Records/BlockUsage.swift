import LanfsProtocol

/// What a block was made for.
public enum BlockKind: UInt8, Sendable {
    /// Contents of files.
    case data = 1
    /// A change set, and contents of files beside it.
    case changes
    /// Nodes of the tree.
    case tree
}

/// How much of a block is still referred to (G8).
public struct BlockUsage: Equatable, Sendable {
    public var kind: BlockKind
    /// Sealed bytes of the block.
    public var total: UInt32
    /// Sealed bytes of its frames that something refers to.
    public var live: UInt32

    public init(kind: BlockKind, total: UInt32, live: UInt32) {
        self.kind = kind
        self.total = total
        self.live = live
    }

    public func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 10)
        writer.append(RecordVersion.current)
        writer.append(kind.rawValue)
        writer.append(total)
        writer.append(live)
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "a block's usage")
        guard let kind = BlockKind(rawValue: try reader.integer()) else { throw .invalid(what: "a block's kind") }
        self.kind = kind
        total = try reader.integer()
        live = try reader.integer()
        try reader.finish()
        guard live <= total else { throw .invalid(what: "a block's live bytes") }
    }
}
