import LanfsCrypto
import LanfsProtocol

/// What both sides send before there is a key, in order:
///
///     client  "lanfs" version pattern          7 bytes, the Noise prologue
///     client  u16 length, Noise message 1
///     server  status                           1 byte; a message follows only .proceed, a version only .otherVersion
///     server  u16 length, Noise message 2
///     client  u16 length, Noise message 3      XX only
///
/// then, each side as soon as it has the keys: 24 bytes of secretstream header and frames (`FrameDecoder`).
enum HandshakeWire {
    static let magic = Array("lanfs".utf8)
    /// Raised with whatever an older program would take for damage: with 2 blocks come with votes, and clients leave keepers.
    static let version: UInt8 = 2
    static let prologueSize = 7
    /// Our messages carry no payload; the longest is XX's second with 96 bytes. Anything longer is not ours.
    static let messageLimit = 512

    enum Pattern: UInt8 {
        case xx = 1
        case ikPSK2 = 2
    }

    /// Unauthenticated, so it may only lead to what anybody on the path can cause anyway: another attempt by XX, with
    /// the same pin required, or an error.
    enum Status: UInt8 {
        case proceed = 0
        /// The server has no pairwise key with this client, or cannot open its message: start again with XX.
        case startOver = 1
        case otherVersion = 2
    }

    static func prologue(_ pattern: Pattern) -> [UInt8] { magic + [version, pattern.rawValue] }

    static func framed(_ message: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(reserving: 2 + message.count)
        writer.append(UInt16(message.count))
        writer.append(raw: message)
        return writer.bytes
    }
}

/// What a finished handshake gives the transport.
struct Session: Sendable {
    /// Keys for one secretstream each.
    let sendKey: SharedSecret
    let receiveKey: SharedSecret
    let handshakeHash: [UInt8]
    /// The other side's static key, proven.
    let remoteKey: [UInt8]
    /// At first contact: the key to mix into every later handshake of these two.
    let newPairwiseKey: SharedSecret?

    /// The split keys are used for nothing but deriving: the stream keys and, at first contact, the pairwise key come
    /// out of a one-way function, so that none of them, leaked, tells another.
    init(_ keys: HandshakeKeys, isInitiator: Bool, remoteKey: [UInt8], isFirstContact: Bool) {
        let toServer = Session.derive("lanfs 1 client to server", keys.initiatorToResponder, keys.handshakeHash)
        let toClient = Session.derive("lanfs 1 server to client", keys.responderToInitiator, keys.handshakeHash)
        sendKey = isInitiator ? toServer : toClient
        receiveKey = isInitiator ? toClient : toServer
        handshakeHash = keys.handshakeHash
        self.remoteKey = remoteKey
        newPairwiseKey =
            isFirstContact
            ? Session.derive("lanfs 1 pairwise key", keys.initiatorToResponder, keys.handshakeHash) : nil
    }

    /// Keyed BLAKE2b of a label and the handshake's hash: 32 bytes.
    private static func derive(_ label: String, _ key: SharedSecret, _ hash: [UInt8]) -> SharedSecret {
        var bytes = MessageAuthentication.code(for: Array(label.utf8) + hash, key: key)
        defer { wipe(&bytes) }
        return SharedSecret(copying: bytes)
    }
}

/// What a handshake does with the bytes it got.
enum HandshakeStep {
    case needsMore
    /// Send these, then go on.
    case send([UInt8])
    /// Send these, then the connection is encrypted.
    case finished(send: [UInt8], Session)
    /// Send these and close; the error is for this side.
    case failed(send: [UInt8], HandshakeFailure)
}

enum HandshakeFailure: Error, Equatable {
    case notLanfs
    case otherVersion(UInt8)
    /// Nothing is wrong with the server: connect again and use XX.
    case startOver
    case wrongServerKey(expected: [UInt8], found: [UInt8])
    case crypto(CryptoError)
    case violation(String)
}
