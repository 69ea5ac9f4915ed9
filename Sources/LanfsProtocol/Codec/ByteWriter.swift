/// Appends fixed-width big-endian integers and length-prefixed byte strings: the encoding of every message and record.
public struct ByteWriter: Sendable {
    public var bytes: [UInt8]

    @inlinable
    public init(reserving capacity: Int = 64) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    @inlinable
    public mutating func append<Integer: FixedWidthInteger>(_ value: Integer) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    @inlinable
    public mutating func append(_ flag: Bool) {
        bytes.append(flag ? 1 : 0)
    }

    /// Bytes of a length that both sides know.
    @inlinable
    public mutating func append(raw other: some Sequence<UInt8>) {
        bytes.append(contentsOf: other)
    }

    /// A 32-bit length, then the bytes.
    @inlinable
    public mutating func append(prefixed other: [UInt8]) {
        append(UInt32(other.count))
        bytes.append(contentsOf: other)
    }

    @inlinable
    public mutating func append(text: String) {
        append(prefixed: Array(text.utf8))
    }

    @inlinable
    public mutating func append<Tag>(_ id: ID<Tag>) {
        append(id.word0)
        append(id.word1)
        append(id.word2)
        append(id.word3)
    }

    /// A 32-bit count, then each element.
    @inlinable
    public mutating func append<Element>(list: [Element], _ encode: (inout ByteWriter, Element) -> Void) {
        append(UInt32(list.count))
        for element in list { encode(&self, element) }
    }

    @inlinable
    public mutating func append<Wrapped>(optional value: Wrapped?, _ encode: (inout ByteWriter, Wrapped) -> Void) {
        append(value != nil)
        if let value { encode(&self, value) }
    }
}
