/// Some of a configuration's servers, by their place in its list: one bit each, so that a heartbeat stays small however
/// many servers there are.
public struct MemberSet: Equatable, Sendable {
    public static let encodedSize = 32

    private var low: UInt128 = 0
    private var high: UInt128 = 0

    public init() {}

    /// False for places that no configuration has.
    public func contains(_ place: Int) -> Bool {
        switch place {
        case 0..<128: low >> UInt128(place) & 1 == 1
        case 128..<256: high >> UInt128(place - 128) & 1 == 1
        default: false
        }
    }

    /// Places that no configuration has are left out.
    public mutating func insert(_ place: Int) {
        switch place {
        case 0..<128: low |= 1 << UInt128(place)
        case 128..<256: high |= 1 << UInt128(place - 128)
        default: break
        }
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(high)
        writer.append(low)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        high = try reader.integer()
        low = try reader.integer()
    }
}
