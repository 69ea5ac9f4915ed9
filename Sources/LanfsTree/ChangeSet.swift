import LanfsProtocol

// A change set as it is stored: version (1 byte), sequence (8), flag and FrameRef of the previous one, number of changes
// (4), then each change: key length (2), value length + 1 or 0 for a removal (2), key, value.

/// What one change block holds: changes of keys, and the way back to the changes before.
///
/// A set that is too large for one block is cut with ``split(maximumBytes:)``.
public struct ChangeSet: Sendable, Equatable {
    static let formatVersion: UInt8 = 1
    /// More than any writer lets pile up (128 commits or 4 MiB), less than what hurts to hold in memory.
    public static let sizeLimit = 16 << 20
    private static let headerSize = 1 + 8 + 1 + FrameRef.encodedSize + 4
    private static let changeOverhead = 4

    /// Of the commit, as in the root record.
    public var sequence: UInt64
    /// The change set before this one; `nil` right after a checkpoint.
    public var previous: FrameRef?
    /// In the order in which they are to be applied.
    public var changes: [Change]

    public init(sequence: UInt64, previous: FrameRef?, changes: [Change]) {
        self.sequence = sequence
        self.previous = previous
        self.changes = changes
    }

    /// Bytes the set takes when encoded, at most.
    public var encodedSize: Int { changes.reduce(Self.headerSize) { $0 + Self.size(of: $1) } }

    private static func size(of change: Change) -> Int {
        changeOverhead + change.key.bytes.count + (change.value?.count ?? 0)
    }

    /// The set as frame payloads: all of `maximumFrame` bytes but the last, so that one reference can name the run.
    public func payloads(maximumFrame: Int = Limits.chunkSize) -> [[UInt8]] {
        let bytes = encoded()
        return stride(from: 0, to: bytes.count, by: maximumFrame).map {
            Array(bytes[$0..<min($0 + maximumFrame, bytes.count)])
        }
    }

    /// Puts together what ``payloads(maximumFrame:)`` took apart.
    public init(joining payloads: [[UInt8]]) throws(DecodingError) {
        let total = payloads.reduce(0) { $0 + $1.count }
        guard total <= Self.sizeLimit else {
            throw .tooLong(what: "a change set", length: total, limit: Self.sizeLimit)
        }
        try self.init(decoding: payloads.dropFirst().reduce(into: payloads.first ?? []) { $0.append(contentsOf: $1) })
    }

    /// Sets of at most `maximumBytes` that make the same changes when applied in this order, at least one. Each of them
    /// but the first needs `previous` set to where the one before was stored; the root record names the last.
    public func split(maximumBytes: Int = Limits.chunksPerBlock * Limits.chunkSize) -> [ChangeSet] {
        var sets = [ChangeSet(sequence: sequence, previous: previous, changes: [])]
        var bytes = Self.headerSize
        for change in changes {
            let size = Self.size(of: change)
            if bytes + size > maximumBytes, bytes > Self.headerSize {
                sets.append(ChangeSet(sequence: sequence, previous: nil, changes: []))
                bytes = Self.headerSize
            }
            sets[sets.count - 1].changes.append(change)
            bytes += size
        }
        return sets
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: encodedSize)
        writer.append(Self.formatVersion)
        writer.append(sequence)
        writer.append(optional: previous) { writer, ref in ref.encode(into: &writer) }
        writer.append(UInt32(changes.count))
        for change in changes {
            writer.append(UInt16(change.key.bytes.count))
            writer.append(UInt16(change.value.map { $0.count + 1 } ?? 0))
            writer.append(raw: change.key.bytes)
            if let value = change.value { writer.append(raw: value) }
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        guard try reader.integer(UInt8.self) == Self.formatVersion else {
            throw .invalid(what: "a change set's version")
        }
        sequence = try reader.integer()
        previous = try reader.optional { reader throws(DecodingError) in try FrameRef(from: &reader) }
        changes = try reader.list(minimum: Self.changeOverhead, limit: Self.sizeLimit) { reader throws(DecodingError) in
            let keyLength = Int(try reader.integer(UInt16.self))
            let valueLength = Int(try reader.integer(UInt16.self)) - 1
            guard keyLength <= Key.sizeLimit else {
                throw .tooLong(what: "a tree key", length: keyLength, limit: Key.sizeLimit)
            }
            guard valueLength <= Tree.valueSizeLimit else {
                throw .tooLong(what: "a tree value", length: valueLength, limit: Tree.valueSizeLimit)
            }
            let key = Key(try reader.raw(keyLength))
            return Change(key: key, value: valueLength < 0 ? nil : try reader.raw(valueLength))
        }
        try reader.finish()
    }
}
