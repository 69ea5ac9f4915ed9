import LanfsCrypto
import LanfsProtocol
import NIOCore

/// The client's side of the handshake: bytes in, bytes out.
final class InitiatorHandshake: Handshake {
    private let pattern: HandshakeWire.Pattern
    private var state: HandshakeState
    private let requiredKey: [UInt8]?

    /// IK when `pin` has what it takes, else XX. `required`: the only server key that will do, pinned or not yet.
    init(pin: Pin?, clientKey: StaticKeyPair, required: ServerID?) throws(CryptoError) {
        if let pin {
            pattern = .ikPSK2
            requiredKey = pin.server.bytes
            state = try HandshakeState(
                pattern: .ikPSK2, role: .initiator, prologue: HandshakeWire.prologue(.ikPSK2),
                staticKey: pin.clientKey, remoteStatic: pin.server.bytes, preSharedKey: pin.pairwiseKey)
        } else {
            pattern = .xx
            requiredKey = required?.bytes
            state = try HandshakeState(
                pattern: .xx, role: .initiator, prologue: HandshakeWire.prologue(.xx), staticKey: clientKey)
        }
    }

    func start() -> HandshakeStep {
        do throws(CryptoError) {
            return .send(HandshakeWire.prologue(pattern) + HandshakeWire.framed(try state.writeMessage()))
        } catch {
            return .failed(send: [], .crypto(error))
        }
    }

    func receive(_ input: inout ByteBuffer) -> HandshakeStep {
        guard let status = input.getInteger(at: input.readerIndex, as: UInt8.self) else { return .needsMore }
        switch HandshakeWire.Status(rawValue: status) {
        case nil: return .failed(send: [], .notLanfs)
        case .startOver:
            return .failed(send: [], pattern == .xx ? .violation("it wants to start over at the start") : .startOver)
        case .otherVersion:
            guard let version = input.getInteger(at: input.readerIndex + 1, as: UInt8.self) else { return .needsMore }
            return .failed(send: [], .otherVersion(version))
        case .proceed: break
        }
        guard let length = input.getInteger(at: input.readerIndex + 1, as: UInt16.self) else { return .needsMore }
        guard Int(length) <= HandshakeWire.messageLimit else { return .failed(send: [], .notLanfs) }
        guard let message = input.getBytes(at: input.readerIndex + 3, length: Int(length)) else { return .needsMore }
        input.moveReaderIndex(forwardBy: 3 + Int(length))
        do throws(CryptoError) {
            return try receive(message)
        } catch {
            // A pairwise key that differs (either side put back from a backup) shows up here in IK: agree on a new one.
            return .failed(send: [], pattern == .ikPSK2 ? .startOver : .crypto(error))
        }
    }

    private func receive(_ message: [UInt8]) throws(CryptoError) -> HandshakeStep {
        _ = try state.readMessage(message)
        guard let remoteKey = state.remoteStatic else { return .failed(send: [], .violation("it has no key")) }
        if let requiredKey, requiredKey != remoteKey {
            // Before our own key is sent: an impostor does not learn who asked.
            return .failed(send: [], .wrongServerKey(expected: requiredKey, found: remoteKey))
        }
        let reply = pattern == .xx ? HandshakeWire.framed(try state.writeMessage()) : []
        let session = Session(
            try state.split(), isInitiator: true, remoteKey: remoteKey, isFirstContact: pattern == .xx)
        return .finished(send: reply, session)
    }
}
