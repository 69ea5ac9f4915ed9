/// Where a member of a volume may be reached, as somebody who knows says: a hint, proven by the handshake.
public struct MemberEndpoints: Equatable, Sendable {
    /// Addresses of one server, and bytes of one of them: a full list of servers fits in one message.
    public static let limit = 8
    public static let addressLimit = 100

    public var server: ServerID
    /// `HOST:PORT`.
    public var addresses: [String]

    /// Those that are too many or too long are left out.
    public init(server: ServerID, addresses: [String]) {
        self.server = server
        self.addresses = Array(addresses.filter { $0.utf8.count <= Self.addressLimit }.prefix(Self.limit))
    }

    public func encode(into writer: inout ByteWriter) {
        writer.append(server)
        writer.append(list: addresses) { $0.append(text: $1) }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        server = try reader.id()
        addresses = try reader.list(minimum: 4, limit: Self.limit) { (reader) throws(DecodingError) in
            try reader.text(limit: Self.addressLimit)
        }
    }

    public static func list(from reader: inout ByteReader) throws(DecodingError) -> [MemberEndpoints] {
        try reader.list(minimum: 36, limit: VolumeConfig.serverLimit) { (reader) throws(DecodingError) in
            try MemberEndpoints(from: &reader)
        }
    }
}
