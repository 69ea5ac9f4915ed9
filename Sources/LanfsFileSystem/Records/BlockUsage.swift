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
    /// The newest commit that was known to the client that made the block, before any commit named it; 0 when that is not
    /// known. After a recovery by force it tells what only this side can have (`RecoveryHold`).
    public var made: UInt64

    public init(kind: BlockKind, total: UInt32, live: UInt32, made: UInt64 = 0) {
        self.kind = kind
        self.total = total
        self.live = live
        self.made = made
    }

    public func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 18)
        writer.append(RecordVersion.current)
        writer.append(kind.rawValue)
        writer.append(total)
        writer.append(live)
        writer.append(made)
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "a block's usage")
        guard let kind = BlockKind(rawValue: try reader.integer()) else { throw .invalid(what: "a block's kind") }
        self.kind = kind
        total = try reader.integer()
        live = try reader.integer()
        made = try reader.integer()
        try reader.finish()
        guard live <= total else { throw .invalid(what: "a block's live bytes") }
    }
}

extension BlockUsage {
    /// What is left of it on the dead list.
    static func dead(made: UInt64) -> [UInt8] {
        var writer = ByteWriter(reserving: 9)
        writer.append(RecordVersion.current)
        writer.append(made)
        return writer.bytes
    }

    static func made(ofDead value: [UInt8]) throws(DecodingError) -> UInt64 {
        var reader = ByteReader(value)
        try reader.version(of: "a dead block")
        let made: UInt64 = try reader.integer()
        try reader.finish()
        return made
    }
}
