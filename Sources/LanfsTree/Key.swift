import Glibc

/// A byte string ordered as `memcmp` orders it, so that big-endian numbers inside it sort by value.
public struct Key: Hashable, Comparable, Sendable {
    /// Bytes of the longest key the tree takes; a node always has room for a dozen such.
    public static let sizeLimit = 1024

    public let bytes: [UInt8]

    @inlinable
    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Sorts before every other key.
    public static let empty = Key([])

    /// The smallest key greater than this one: where a scan goes on after it.
    public var successor: Key { Key(bytes + [0]) }

    /// Above every key that starts with these bytes, and below all others that sort after them; `nil` when nothing can
    /// sort after them (all bytes are 255).
    public var prefixEnd: Key? {
        guard let last = bytes.lastIndex(where: { $0 != 255 }) else { return nil }
        return Key(bytes[..<last] + [bytes[last] + 1])
    }

    @inlinable
    public static func < (left: Key, right: Key) -> Bool {
        left.bytes.withUnsafeBytes { left in right.bytes.withUnsafeBytes { right in byteOrder(left, right) < 0 } }
    }
}

extension Key: CustomStringConvertible {
    public var description: String {
        bytes.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }.joined()
    }
}

/// One key set to a value, or removed.
public struct Change: Sendable, Equatable {
    public var key: Key
    /// `nil` removes the key.
    public var value: [UInt8]?

    @inlinable
    public init(key: Key, value: [UInt8]?) {
        self.key = key
        self.value = value
    }
}

/// Negative, zero or positive as `left` sorts before, equals or sorts after `right`.
@inlinable
func byteOrder(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
    let shared = min(left.count, right.count)
    if shared > 0, let leftBase = left.baseAddress, let rightBase = right.baseAddress {
        let order = memcmp(leftBase, rightBase, shared)
        if order != 0 { return Int(order) }
    }
    return left.count - right.count
}
