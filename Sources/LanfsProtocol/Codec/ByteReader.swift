/// Why bytes from outside could not be read as what they claim to be.
public enum DecodingError: Error, Equatable, CustomStringConvertible {
    case truncated(wanted: Int, left: Int)
    case trailing(count: Int)
    case tooLong(what: String, length: Int, limit: Int)
    case invalid(what: String)

    public var description: String {
        switch self {
        case .truncated(let wanted, let left): "the data ends early: \(wanted) more bytes expected, \(left) left"
        case .trailing(let count): "\(count) bytes follow where the data should end"
        case .tooLong(let what, let length, let limit): "\(what) is \(length) long, more than the \(limit) allowed"
        case .invalid(let what): "\(what) is not valid"
        }
    }
}

/// Reads what ``ByteWriter`` wrote. Never traps and never allocates by a length it has not checked against the bytes
/// that are really there.
public struct ByteReader: Sendable {
    @usableFromInline let bytes: ArraySlice<UInt8>
    @usableFromInline var position: Int

    @inlinable
    public init(_ bytes: [UInt8]) {
        self.init(bytes[...])
    }

    @inlinable
    public init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        self.position = bytes.startIndex
    }

    @inlinable public var remaining: Int { bytes.endIndex - position }

    @inlinable
    mutating func advance(_ count: Int) throws(DecodingError) -> Int {
        guard count >= 0, count <= remaining else { throw .truncated(wanted: count, left: remaining) }
        defer { position += count }
        return position
    }

    @inlinable
    public mutating func integer<Integer: FixedWidthInteger>(
        _ type: Integer.Type = Integer.self
    ) throws(DecodingError) -> Integer {
        let start = try advance(MemoryLayout<Integer>.size)
        return bytes.withUnsafeBytes {
            Integer(bigEndian: $0.loadUnaligned(fromByteOffset: start - bytes.startIndex, as: Integer.self))
        }
    }

    @inlinable
    public mutating func bool() throws(DecodingError) -> Bool {
        switch try integer(UInt8.self) {
        case 0: return false
        case 1: return true
        default: throw .invalid(what: "a flag")
        }
    }

    @inlinable
    public mutating func raw(_ count: Int) throws(DecodingError) -> [UInt8] {
        let start = try advance(count)
        return Array(bytes[start..<start + count])
    }

    @inlinable
    public mutating func prefixed(limit: Int = Int(Int32.max)) throws(DecodingError) -> [UInt8] {
        let count = Int(try integer(UInt32.self))
        guard count <= limit else { throw .tooLong(what: "a byte string", length: count, limit: limit) }
        return try raw(count)
    }

    @inlinable
    public mutating func text(limit: Int = 4096) throws(DecodingError) -> String {
        let utf8 = try prefixed(limit: limit)
        guard let text = String(validating: utf8, as: UTF8.self) else { throw .invalid(what: "a text") }
        return text
    }

    @inlinable
    public mutating func id<Tag>(_ type: ID<Tag>.Type = ID<Tag>.self) throws(DecodingError) -> ID<Tag> {
        let word0 = try integer(UInt64.self)
        let word1 = try integer(UInt64.self)
        let word2 = try integer(UInt64.self)
        return ID(word0: word0, word1: word1, word2: word2, word3: try integer(UInt64.self))
    }

    /// A counted list whose elements each take at least `minimum` bytes, so that a false count cannot make us allocate.
    @inlinable
    public mutating func list<Element>(
        minimum: Int = 1, limit: Int = 1 << 20, _ decode: (inout ByteReader) throws(DecodingError) -> Element
    ) throws(DecodingError) -> [Element] {
        let count = Int(try integer(UInt32.self))
        guard count <= limit else { throw .tooLong(what: "a list", length: count, limit: limit) }
        guard count * minimum <= remaining else { throw .truncated(wanted: count * minimum, left: remaining) }
        var elements: [Element] = []
        elements.reserveCapacity(count)
        for _ in 0..<count { elements.append(try decode(&self)) }
        return elements
    }

    @inlinable
    public mutating func optional<Wrapped>(
        _ decode: (inout ByteReader) throws(DecodingError) -> Wrapped
    ) throws(DecodingError) -> Wrapped? {
        try bool() ? try decode(&self) : nil
    }

    /// Call at the end: what follows the last field would be silently ignored otherwise.
    @inlinable
    public func finish() throws(DecodingError) {
        guard remaining == 0 else { throw .trailing(count: remaining) }
    }
}
