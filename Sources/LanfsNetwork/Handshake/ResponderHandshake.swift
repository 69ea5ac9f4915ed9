import LanfsCrypto
import LanfsProtocol
import NIOCore

/// The server's side of the handshake: bytes in, bytes out. Remembers nothing and changes nothing: a replayed first
/// message of IK costs an answer that only the owner of the ephemeral key can use.
final class ResponderHandshake: Handshake {
    private let serverKey: StaticKeyPair
    private let pairings: any Pairings
    private var pattern: HandshakeWire.Pattern?
    private var state: HandshakeState?
    /// XX: message 2 is on its way and message 3 comes next.
    private var awaitsLastMessage = false

    init(serverKey: StaticKeyPair, pairings: any Pairings) {
        self.serverKey = serverKey
        self.pairings = pairings
    }

    func start() -> HandshakeStep { .needsMore }

    func receive(_ input: inout ByteBuffer) -> HandshakeStep {
        if pattern == nil {
            if let failure = readPrologue(&input) { return failure }
            if pattern == nil { return .needsMore }
        }
        guard let length = input.getInteger(at: input.readerIndex, as: UInt16.self) else { return .needsMore }
        guard Int(length) <= HandshakeWire.messageLimit else {
            return .failed(send: [], .violation("a handshake message of \(length) bytes"))
        }
        guard let message = input.getBytes(at: input.readerIndex + 2, length: Int(length)) else { return .needsMore }
        input.moveReaderIndex(forwardBy: 2 + Int(length))
        do throws(CryptoError) {
            return awaitsLastMessage ? try finishXX(message) : try answer(message)
        } catch {
            // In IK this is what a client that pinned another key of ours looks like: XX lets it see which key we have.
            let startsOver = pattern == .ikPSK2
            return .failed(send: startsOver ? [HandshakeWire.Status.startOver.rawValue] : [], .crypto(error))
        }
    }

    /// Refuses at the first byte that differs, so that a stranger's protocol is not left waiting.
    private func readPrologue(_ input: inout ByteBuffer) -> HandshakeStep? {
        let seen = input.readableBytesView.prefix(HandshakeWire.prologueSize)
        guard seen.prefix(HandshakeWire.magic.count).elementsEqual(HandshakeWire.magic.prefix(seen.count)) else {
            return .failed(send: [], .notLanfs)
        }
        guard seen.count == HandshakeWire.prologueSize else { return nil }
        let bytes = Array(seen)
        guard bytes[5] == HandshakeWire.version else {
            let refusal = [HandshakeWire.Status.otherVersion.rawValue, HandshakeWire.version]
            return .failed(send: refusal, .otherVersion(bytes[5]))
        }
        guard let pattern = HandshakeWire.Pattern(rawValue: bytes[6]) else {
            return .failed(send: [], .violation("handshake pattern \(bytes[6])"))
        }
        input.moveReaderIndex(forwardBy: HandshakeWire.prologueSize)
        self.pattern = pattern
        return nil
    }

    private func answer(_ message: [UInt8]) throws(CryptoError) -> HandshakeStep {
        let pattern = pattern ?? .xx
        var state = try HandshakeState(
            pattern: pattern == .xx ? .xx : .ikPSK2, role: .responder, prologue: HandshakeWire.prologue(pattern),
            staticKey: serverKey)
        _ = try state.readMessage(message)
        let proceed = [HandshakeWire.Status.proceed.rawValue]
        if pattern == .xx {
            let reply = proceed + HandshakeWire.framed(try state.writeMessage())
            self.state = consume state
            awaitsLastMessage = true
            return .send(reply)
        }
        guard let remoteKey = state.remoteStatic, let client = ClientID(remoteKey),
            let pairwiseKey = pairings.pairwiseKey(with: client)
        else { return .failed(send: [HandshakeWire.Status.startOver.rawValue], .startOver) }
        try state.setPSK(pairwiseKey)
        let reply = proceed + HandshakeWire.framed(try state.writeMessage())
        let session = Session(try state.split(), isInitiator: false, remoteKey: remoteKey, isFirstContact: false)
        return .finished(send: reply, session)
    }

    private func finishXX(_ message: [UInt8]) throws(CryptoError) -> HandshakeStep {
        guard var state = state.take() else { return .failed(send: [], .violation("a handshake message too many")) }
        _ = try state.readMessage(message)
        guard let remoteKey = state.remoteStatic else { return .failed(send: [], .violation("it has no key")) }
        let session = Session(try state.split(), isInitiator: false, remoteKey: remoteKey, isFirstContact: true)
        return .finished(send: [], session)
    }
}
