import LanfsCrypto
import LanfsProtocol
import NIOCore

/// Seals the messages of one direction, in the order they are given.
struct FrameEncoder: ~Copyable {
    private var sealer: StreamSealer
    private let handshakeHash: [UInt8]

    init(key: SharedSecret, handshakeHash: [UInt8]) {
        sealer = StreamSealer(key: key)
        self.handshakeHash = handshakeHash
    }

    /// The header and the first frame.
    mutating func begin(into buffer: inout ByteBuffer) throws(CryptoError) {
        buffer.writeBytes(sealer.header)
        try seal(FrameEncoder.plain(.hello), additionalData: handshakeHash, into: &buffer)
    }

    /// `plain`: request id and message, at most `Limits.messageSize` bytes. Its payload is the caller's to send right
    /// after. `isFinal`: the goodbye.
    mutating func encode(_ plain: [UInt8], isFinal: Bool = false, into buffer: inout ByteBuffer) throws(CryptoError) {
        try seal(plain, isFinal: isFinal, into: &buffer)
    }

    static func plain(_ control: FrameWire.Control) -> [UInt8] {
        var writer = ByteWriter(reserving: 5)
        writer.append(FrameWire.controlID)
        writer.append(control.rawValue)
        return writer.bytes
    }

    private mutating func seal(
        _ plain: [UInt8], additionalData: [UInt8] = [], isFinal: Bool = false, into buffer: inout ByteBuffer
    ) throws(CryptoError) {
        let sealedLength = plain.count + SecretStream.overhead
        precondition(
            FrameWire.sealedLengths.contains(sealedLength), "no receiver takes a message of \(plain.count) bytes")
        var outcome = Result<Int, CryptoError>.success(0)
        buffer.writeInteger(UInt32(sealedLength))
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: sealedLength) { sealed in
            plain.withUnsafeBytes { plain in
                additionalData.withUnsafeBytes { additionalData in
                    outcome = Result { () throws(CryptoError) in
                        try sealer.seal(plain, additionalData: additionalData, final: isFinal, into: sealed)
                    }
                }
            }
            return (try? outcome.get()) ?? 0
        }
        _ = try outcome.get()
    }
}
