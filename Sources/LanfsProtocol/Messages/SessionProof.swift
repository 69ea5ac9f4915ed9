/// What the volume key signs to prove, in `Request.open`, that this connection's other end holds it. The handshake hash
/// binds the proof to one connection, the prefix to this one purpose.
public func sessionProof(handshakeHash: [UInt8]) -> [UInt8] {
    Array("lanfs session proof\0".utf8) + handshakeHash
}
