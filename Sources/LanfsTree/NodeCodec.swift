import LanfsProtocol

// A node in its frame: version (1 byte), level (1), number of records (2), the records in key order (key length 2,
// value length 2, key, value), and in an inner node one reference for each record: a 0 and index, offset and length of
// a frame of the same block, or a 1 and a whole FrameRef.

extension Node {
    static let formatVersion: UInt8 = 1
    /// No tree of 2^64 keys is this deep.
    static let levelLimit: UInt8 = 31

    /// - Parameter references: of the children; `.zero` as block means the block this node goes to.
    /// - Returns: the payload of the frame, and where in it each record starts.
    func encoded(references: [FrameRef]) -> (payload: [UInt8], offsets: [UInt32]) {
        var writer = ByteWriter(reserving: size)
        writer.append(Self.formatVersion)
        writer.append(level)
        writer.append(UInt16(count))
        var packed: [UInt32] = []
        packed.reserveCapacity(count)
        heap.withUnsafeBytes { heap in
            for slot in slots {
                packed.append(UInt32(writer.bytes.count))
                let record = Record(in: heap, at: Int(slot.offset))
                writer.bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: heap[record.range]))
            }
        }
        for reference in references {
            writer.append(reference.block != .zero)
            if reference.block == .zero {
                writer.append(reference.index)
                writer.append(reference.offset)
                writer.append(reference.length)
            } else {
                reference.encode(into: &writer)
            }
        }
        return (writer.bytes, packed)
    }

    /// Reads the opened payload of the frame that an operation missed.
    ///
    /// - Throws: when these bytes are not a node, or not one of the level that belongs there.
    public init(decoding payload: [UInt8], for missing: MissingNode) throws(DecodingError) {
        try self.init(decoding: payload, from: missing.ref)
        if let expected = missing.level, expected != level { throw .invalid(what: "the level of a tree node") }
    }

    /// Reads the opened payload of the frame at `ref`.
    public init(decoding payload: [UInt8], from ref: FrameRef) throws(DecodingError) {
        var reader = ByteReader(payload)
        guard try reader.integer(UInt8.self) == Self.formatVersion else {
            throw .invalid(what: "a tree node's version")
        }
        let level = try reader.integer(UInt8.self)
        guard level <= Self.levelLimit else { throw .invalid(what: "a tree node's level") }
        let count = Int(try reader.integer(UInt16.self))
        guard count >= (level == 0 ? 1 : 2) else { throw .invalid(what: "a tree node's number of entries") }

        let (offsets, end) = try Self.checkedRecords(of: payload, count: count, isLeaf: level == 0)
        var children: [Child] = []
        if level > 0 {
            var references = ByteReader(payload[end...])
            guard references.remaining >= count * 13 else {
                throw .truncated(wanted: count * 13, left: references.remaining)
            }
            children.reserveCapacity(count)
            for _ in 0..<count { children.append(.stored(try Self.reference(from: &references, in: ref))) }
            try references.finish()
        } else if end != payload.count {
            throw .trailing(count: payload.count - end)
        }
        self.init(level: level, heap: payload, offsets: offsets, live: end - Self.headerSize, children: children)
    }

    private static func reference(from reader: inout ByteReader, in ref: FrameRef) throws(DecodingError) -> FrameRef {
        guard try reader.bool() else {
            let local = FrameRef(
                block: .zero, key: .zero, index: try reader.integer(), offset: try reader.integer(),
                length: try reader.integer())
            return local.resolved(in: ref)
        }
        let reference = try FrameRef(from: &reader)
        guard reference.block != .zero else { throw .invalid(what: "a tree node's reference") }
        return reference
    }

    /// Where each record starts and where the last one ends, once all are whole and in strictly ascending order.
    private static func checkedRecords(
        of payload: [UInt8], count: Int, isLeaf: Bool
    ) throws(DecodingError) -> (offsets: [UInt32], end: Int) {
        guard count * recordOverhead <= payload.count - headerSize else {
            throw .truncated(wanted: count * recordOverhead, left: payload.count - headerSize)
        }
        var offsets: [UInt32] = []
        offsets.reserveCapacity(count)
        var position = headerSize
        let problem: DecodingError? = payload.withUnsafeBytes { bytes in
            var previous: Range<Int>?
            for _ in 0..<count {
                guard bytes.count - position >= recordOverhead else {
                    return .truncated(wanted: recordOverhead, left: bytes.count - position)
                }
                let record = Record(in: bytes, at: position)
                guard record.range.upperBound <= bytes.count else {
                    return .truncated(wanted: record.range.count, left: bytes.count - position)
                }
                guard record.keyLength <= Key.sizeLimit else {
                    return .tooLong(what: "a tree key", length: record.keyLength, limit: Key.sizeLimit)
                }
                let valueLimit = isLeaf ? Tree.valueSizeLimit : 0
                guard record.valueLength <= valueLimit else {
                    return .tooLong(what: "a tree value", length: record.valueLength, limit: valueLimit)
                }
                let key = UnsafeRawBufferPointer(rebasing: bytes[record.keyRange])
                if let previous, byteOrder(UnsafeRawBufferPointer(rebasing: bytes[previous]), key) >= 0 {
                    return .invalid(what: "the order of a tree node's keys")
                }
                previous = record.keyRange
                offsets.append(UInt32(position))
                position = record.range.upperBound
            }
            return nil
        }
        if let problem { throw problem }
        return (offsets, position)
    }
}
