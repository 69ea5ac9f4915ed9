/// Why a cryptographic operation did not happen. Nothing of the output buffers may be used after one of these.
public enum CryptoError: Error, Equatable, Sendable {
    /// The input is shorter or longer than anything its sender could have made: cut off, or not what it claims to be.
    case wrongLength(of: CryptoSubject, count: Int, expected: ClosedRange<Int>)
    /// The caller's buffer cannot take the result.
    case outputTooSmall(for: CryptoSubject, count: Int, needed: Int)
    /// The authenticator does not match: changed or damaged on the way, or made with another key, index or context.
    case notAuthentic(CryptoSubject)
    /// Authentic, but not marked as the end (a frame), or marked with a tag that lanfs never writes (a stream).
    case unexpectedTag(CryptoSubject, tag: UInt8)
    /// Data after the stream's FINAL message.
    case streamEnded
    /// The stream stopped without its FINAL message: the connection was cut, by a failure or by somebody.
    case streamCut
    /// An earlier message of this stream failed to open, so nothing after it can be trusted.
    case streamBroken

    /// The other side's public key has a small order: the shared secret would be known to everyone.
    case weakPublicKey
    /// 2^64 - 1 messages under one Noise key.
    case nonceExhausted
    case handshakeOutOfTurn
    case handshakeNotFinished
    case handshakeAlreadySplit
    /// An earlier message of this handshake failed: its state is gone, start a new one.
    case handshakeFailed
    case missingRemoteStaticKey
    /// A remote static key was given to a pattern that sends it: the pin would silently not be checked.
    case unexpectedRemoteStaticKey
    case missingPreSharedKey
    case unexpectedPreSharedKey

    case emptyUserName
    case emptyPassword
    /// Argon2id could not get its working memory.
    case outOfMemory(bytes: Int)
}

/// What an error is about.
public enum CryptoSubject: String, Sendable {
    case frame
    case streamHeader = "stream header"
    case streamMessage = "stream message"
    case handshakeMessage = "handshake message"
    case handshakePayload = "handshake payload"
    case publicKey = "public key"
    case privateKey = "private key"
    case preSharedKey = "pre-shared key"
    case signingSeed = "signing key seed"
    case volumeKey = "volume key"
    case symmetricKey = "symmetric key"
}

extension CryptoError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .wrongLength(let subject, let count, let expected):
            let bounds =
                expected.lowerBound == expected.upperBound
                ? "\(expected.lowerBound)" : "\(expected.lowerBound) to \(expected.upperBound)"
            return "a \(subject.rawValue) has \(count) bytes where \(bounds) are possible: it was cut off or is none"
        case .outputTooSmall(let subject, let count, let needed):
            return "the buffer for a \(subject.rawValue) has \(count) bytes and needs \(needed)"
        case .notAuthentic(let subject):
            return "a \(subject.rawValue) does not open: it was changed, or made with another key or for another place"
        case .unexpectedTag(let subject, let tag):
            return "a \(subject.rawValue) opens but carries tag \(tag), which lanfs does not write there"
        case .streamEnded: return "data after the end of an encrypted stream"
        case .streamCut: return "an encrypted stream stopped before its end: the connection was cut"
        case .streamBroken: return "an earlier message of this encrypted stream did not open: connect again"
        case .weakPublicKey: return "the other side's public key is one of the few that keep no secret: refused"
        case .nonceExhausted: return "a handshake key was used for too many messages"
        case .handshakeOutOfTurn: return "a handshake message out of turn"
        case .handshakeNotFinished: return "the handshake has not finished"
        case .handshakeAlreadySplit: return "the handshake's keys were already taken"
        case .handshakeFailed: return "this handshake failed before: start a new one"
        case .missingRemoteStaticKey: return "this handshake needs the other side's static key beforehand"
        case .unexpectedRemoteStaticKey: return "this handshake learns the other side's static key and takes none"
        case .missingPreSharedKey: return "this handshake needs the pairwise key before its next message"
        case .unexpectedPreSharedKey: return "this handshake has no place for a pairwise key"
        case .emptyUserName: return "the user name is empty"
        case .emptyPassword: return "the password is empty"
        case .outOfMemory(let bytes):
            return "turning the password into a key needs \(bytes >> 20) MiB of free memory, which this machine refused"
        }
    }
}
