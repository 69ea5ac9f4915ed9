import LanfsCrypto
import NIOCore

/// One side of a handshake: bytes in, bytes out.
protocol Handshake: AnyObject {
    /// What to send before anything has come: the initiator's first message.
    func start() -> HandshakeStep
    func receive(_ input: inout ByteBuffer) -> HandshakeStep
}
