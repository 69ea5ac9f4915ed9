/// Rounds of the root register (protocol.md section 2), client to keeper.
public enum RegisterRequest: Equatable, Sendable {
    case placeholder

    public func encode(into writer: inout ByteWriter) {}
    public init(from reader: inout ByteReader) throws(DecodingError) { self = .placeholder }
}

public enum RegisterResponse: Equatable, Sendable {
    case placeholder

    public func encode(into writer: inout ByteWriter) {}
    public init(from reader: inout ByteReader) throws(DecodingError) { self = .placeholder }
}
