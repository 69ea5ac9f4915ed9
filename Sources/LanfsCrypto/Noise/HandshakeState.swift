/// What a finished handshake leaves: one key for each direction, and the hash that names this very handshake.
public struct HandshakeKeys: Sendable {
    /// 32 bytes each, for one `StreamSealer` and its `StreamOpener`.
    public let initiatorToResponder: SharedSecret
    public let responderToInitiator: SharedSecret
    /// 32 bytes both sides agree on: for channel binding, and to sign as a proof of another key.
    public let handshakeHash: [UInt8]
}

/// Noise's HandshakeState for X25519, ChaCha20-Poly1305 and SHA-256: a pure state machine that turns payloads into
/// messages and messages into payloads. Named as in the specification (revision 34).
///
/// A message that fails ends the handshake: every later call throws `handshakeFailed`. Calls that cannot be carried out
/// (out of turn, a payload too long, a pairwise key not yet given) throw before they change anything.
public struct HandshakeState: ~Copyable, Sendable {
    public enum Role: Sendable {
        case initiator, responder
    }

    /// The specification's limit for any message, in bytes.
    public static let messageSizeLimit = 65_535

    private enum Phase {
        case running, finished, split, failed
    }

    private let pattern: HandshakePattern
    private let role: Role
    private var symmetric: SymmetricState
    private var phase = Phase.running
    private var messageNumber = 0
    private let staticKey: StaticKeyPair
    private var ephemeralKey: StaticKeyPair?
    private var remoteStaticKey: [UInt8]?
    private var remoteEphemeralKey: [UInt8]?
    /// In the order of their places in the pattern.
    private var preSharedKeys: [SharedSecret?]
    private var preSharedKeysUsed = 0

    /// `prologue` is what both sides must agree on beforehand, the protocol's version first of all. `remoteStatic` is
    /// given exactly where the pattern demands it (IK's initiator). `preSharedKey` may also come later, by `setPSK`.
    public init(
        pattern: HandshakePattern, role: Role, prologue: [UInt8], staticKey: StaticKeyPair,
        remoteStatic: [UInt8]? = nil, preSharedKey: SharedSecret? = nil
    ) throws(CryptoError) {
        try self.init(
            pattern: pattern, role: role, prologue: prologue, staticKey: staticKey, remoteStatic: remoteStatic,
            preSharedKeys: preSharedKey.map { [$0] } ?? [], ephemeralForTests: nil)
    }

    /// A fixed ephemeral key destroys all secrecy: only the published test vectors need one.
    init(
        pattern: HandshakePattern, role: Role, prologue: [UInt8], staticKey: StaticKeyPair, remoteStatic: [UInt8]?,
        preSharedKeys: [SharedSecret], ephemeralForTests: StaticKeyPair?
    ) throws(CryptoError) {
        let keySize = StaticKeyPair.keySize
        if let remoteStatic, remoteStatic.count != keySize {
            throw .wrongLength(of: .publicKey, count: remoteStatic.count, expected: keySize...keySize)
        }
        let needsRemoteStatic = pattern.responderStaticIsKnown && role == .initiator
        if needsRemoteStatic, remoteStatic == nil { throw .missingRemoteStaticKey }
        if !needsRemoteStatic, remoteStatic != nil { throw .unexpectedRemoteStaticKey }
        guard preSharedKeys.count <= pattern.preSharedKeyCount else { throw .unexpectedPreSharedKey }
        for key in preSharedKeys { try HandshakeState.checkPreSharedKey(key) }

        self.pattern = pattern
        self.role = role
        self.staticKey = staticKey
        remoteStaticKey = remoteStatic
        ephemeralKey = ephemeralForTests
        let missing = pattern.preSharedKeyCount - preSharedKeys.count
        self.preSharedKeys = preSharedKeys + [SharedSecret?](repeating: nil, count: missing)
        symmetric = SymmetricState(protocolName: pattern.protocolName)
        symmetric.mixHash(prologue)
        if pattern.responderStaticIsKnown { symmetric.mixHash(remoteStatic ?? staticKey.publicKey) }
    }

    /// Gives the pairwise key, at the latest before the message that uses it. A responder looks it up by `remoteStatic`
    /// once it knows that.
    public mutating func setPSK(_ key: SharedSecret) throws(CryptoError) {
        guard !preSharedKeys.isEmpty else { throw .unexpectedPreSharedKey }
        try HandshakeState.checkPreSharedKey(key)
        preSharedKeys[0] = key
    }

    private static func checkPreSharedKey(_ key: SharedSecret) throws(CryptoError) {
        let size = CipherState.keySize
        guard key.count == size else { throw .wrongLength(of: .preSharedKey, count: key.count, expected: size...size) }
    }

    /// The other side's static key, once it has shown that it is there. After IK's first message the responder knows it
    /// only by a message that may be a replay.
    public var remoteStatic: [UInt8]? { phase == .failed ? nil : remoteStaticKey }

    /// All messages were exchanged: `split` gives the keys.
    public var isFinished: Bool { phase == .finished || phase == .split }

    /// Whether the next message is ours to write.
    public var isOurTurn: Bool {
        phase == .running && messageNumber.isMultiple(of: 2) == (role == .initiator)
    }

    /// 32 bytes; nil until the handshake has finished.
    public var handshakeHash: [UInt8]? { isFinished ? symmetric.handshakeHash : nil }

    /// How many bytes the next message, ours or theirs, has beyond its payload. 0 when there is no next message.
    public var nextMessageOverhead: Int { phase == .running ? pattern.overhead(ofMessage: messageNumber) : 0 }

    /// The next message. Payloads in a pattern's first message are protected less than later ones (specification 7.7).
    public mutating func writeMessage(_ payload: [UInt8] = []) throws(CryptoError) -> [UInt8] {
        try checkTurn(ours: true)
        let payloadLimit = HandshakeState.messageSizeLimit - nextMessageOverhead
        guard payload.count <= payloadLimit else {
            throw .wrongLength(of: .handshakePayload, count: payload.count, expected: 0...payloadLimit)
        }
        do throws(CryptoError) {
            var message: [UInt8] = []
            message.reserveCapacity(nextMessageOverhead + payload.count)
            for token in pattern.messages[messageNumber] { try write(token, to: &message) }
            try symmetric.encryptAndHash(payload, appendingTo: &message)
            finishMessage()
            return message
        } catch {
            fail()
            throw error
        }
    }

    /// The payload of the other side's next message.
    public mutating func readMessage(_ message: [UInt8]) throws(CryptoError) -> [UInt8] {
        try checkTurn(ours: false)
        do throws(CryptoError) {
            let sizes = nextMessageOverhead...HandshakeState.messageSizeLimit
            guard sizes.contains(message.count) else {
                throw CryptoError.wrongLength(of: .handshakeMessage, count: message.count, expected: sizes)
            }
            var rest = message[...]
            for token in pattern.messages[messageNumber] { try read(token, from: &rest) }
            let payload = try symmetric.decryptAndHash(rest)
            finishMessage()
            return payload
        } catch {
            fail()
            throw error
        }
    }

    /// The keys, once; they are nowhere else afterwards.
    public mutating func split() throws(CryptoError) -> HandshakeKeys {
        switch phase {
        case .running: throw .handshakeNotFinished
        case .failed: throw .handshakeFailed
        case .split: throw .handshakeAlreadySplit
        case .finished: phase = .split
        }
        let keys = symmetric.split()
        return HandshakeKeys(
            initiatorToResponder: keys.first, responderToInitiator: keys.second, handshakeHash: symmetric.handshakeHash)
    }
}

extension HandshakeState {
    private func checkTurn(ours: Bool) throws(CryptoError) {
        guard phase != .failed else { throw .handshakeFailed }
        guard phase == .running, isOurTurn == ours else { throw .handshakeOutOfTurn }
        let keysNeeded = preSharedKeysUsed + pattern.messages[messageNumber].count { $0 == .psk }
        guard preSharedKeys[..<keysNeeded].allSatisfy({ $0 != nil }) else { throw .missingPreSharedKey }
    }

    private mutating func write(_ token: HandshakeToken, to message: inout [UInt8]) throws(CryptoError) {
        switch token {
        case .e:
            let pair = ephemeralKey ?? .generate()
            ephemeralKey = pair
            message += pair.publicKey
            mixEphemeral(pair.publicKey)
        case .s:
            try symmetric.encryptAndHash(staticKey.publicKey, appendingTo: &message)
        case .ee, .es, .se, .ss, .psk: try mix(token)
        }
    }

    private mutating func read(_ token: HandshakeToken, from message: inout ArraySlice<UInt8>) throws(CryptoError) {
        switch token {
        case .e:
            let key = Array(message.prefix(StaticKeyPair.keySize))
            message = message.dropFirst(StaticKeyPair.keySize)
            remoteEphemeralKey = key
            mixEphemeral(key)
        case .s:
            let size = StaticKeyPair.keySize + (symmetric.hasKey ? CipherState.tagSize : 0)
            remoteStaticKey = try symmetric.decryptAndHash(message.prefix(size))
            message = message.dropFirst(size)
        case .ee, .es, .se, .ss, .psk: try mix(token)
        }
    }

    /// With pre-shared keys the ephemeral key randomises the cipher's key, too (specification 9.2).
    private mutating func mixEphemeral(_ publicKey: [UInt8]) {
        symmetric.mixHash(publicKey)
        if !preSharedKeys.isEmpty { publicKey.withUnsafeBytes { symmetric.mixKey($0) } }
    }

    /// The tokens that put no bytes into the message. The first letter names the initiator's key, the second the
    /// responder's.
    private mutating func mix(_ token: HandshakeToken) throws(CryptoError) {
        let initiates = role == .initiator
        switch token {
        case .ee: try mixSharedSecret(ephemeralKey, remoteEphemeralKey)
        case .es where initiates, .se where !initiates: try mixSharedSecret(ephemeralKey, remoteStaticKey)
        case .es, .se: try mixSharedSecret(staticKey, remoteEphemeralKey)
        case .ss: try mixSharedSecret(staticKey, remoteStaticKey)
        case .psk:
            guard let key = preSharedKeys[preSharedKeysUsed] else { throw .missingPreSharedKey }
            key.withUnsafeBytes { symmetric.mixKeyAndHash($0) }
            preSharedKeysUsed += 1
        case .e, .s: preconditionFailure("e and s carry bytes")
        }
    }

    private mutating func mixSharedSecret(_ ours: StaticKeyPair?, _ theirs: [UInt8]?) throws(CryptoError) {
        guard let ours, let theirs else { preconditionFailure("the pattern uses a key before it is there") }
        try ours.withSharedSecret(with: theirs) { symmetric.mixKey($0) }
    }

    private mutating func finishMessage() {
        messageNumber += 1
        guard messageNumber == pattern.messages.count else { return }
        phase = .finished
        ephemeralKey = nil
    }

    private mutating func fail() {
        phase = .failed
        symmetric.wipeKeys()
        ephemeralKey = nil
    }
}
