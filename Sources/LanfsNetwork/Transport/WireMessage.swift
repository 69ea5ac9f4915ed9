import LanfsCrypto
import LanfsProtocol

/// What travels in one direction of a connection: requests to a server, responses to a client.
protocol WireMessage: Sendable {
    /// Raw bytes that follow the message.
    var payloadLength: Int { get }
    func encode(into writer: inout ByteWriter)
    init(from reader: inout ByteReader) throws(DecodingError)
}

extension Request: WireMessage {}
extension Response: WireMessage {}

/// Names a request until it is answered; chosen by the client, never 0.
public typealias RequestID = UInt32

/// After both sides have their keys, each direction of the wire is
///
///     24 bytes secretstream header
///     frame*   u32 length, that many bytes sealed: u32 request id, message     (+17 bytes of secretstream)
///              then `payloadLength` of the message, raw: sealed block bytes, which carry their own proof
///
/// with request id 0 for the connection's own words, one byte each. The first frame must be `hello`, sealed with the
/// handshake hash as additional data; the last is `goodbye`, sealed as FINAL.
enum FrameWire {
    static let lengthSize = 4
    static let idSize = 4
    static let controlID: RequestID = 0
    static let sealedLengths = idSize + SecretStream.overhead...Limits.messageSize + SecretStream.overhead

    enum Control: UInt8 {
        case hello = 1
        /// "I am here and your requests are not forgotten": a server says so every second while it has work.
        case alive = 2
        case goodbye = 3
    }
}
