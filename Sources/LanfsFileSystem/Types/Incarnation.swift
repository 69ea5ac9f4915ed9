import LanfsProtocol

/// One life of one client, from mount to unmount or crash: 16 random bytes, given by the client.
public struct Incarnation: Hashable, Comparable, Sendable {
    public let high, low: UInt64

    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static func < (left: Self, right: Self) -> Bool { (left.high, left.low) < (right.high, right.low) }
}

extension Incarnation {
    func encode(into writer: inout ByteWriter) {
        writer.append(high)
        writer.append(low)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(high: try reader.integer(), low: try reader.integer())
    }
}

extension Incarnation: CustomStringConvertible {
    public var description: String { [high, low].map(hexadecimal).joined() }
}

private func hexadecimal(_ word: UInt64) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
