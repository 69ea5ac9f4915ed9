/// What a handshake message carries, in the words of the Noise specification (revision 34).
enum HandshakeToken: Sendable, Equatable {
    case e, s, ee, es, se, ss, psk
}

/// One of Noise's interactive patterns: which tokens each message carries, the initiator's messages first.
public struct HandshakePattern: Sendable, Equatable {
    let name: String
    /// Whether the initiator knows the responder's static key beforehand (the pre-message `<- s`).
    let responderStaticIsKnown: Bool
    private(set) var messages: [[HandshakeToken]]

    /// First contact: both sides send their static keys, encrypted, and learn the other's.
    public static let xx = HandshakePattern(
        name: "XX", responderStaticIsKnown: false, messages: [[.e], [.e, .ee, .s, .es], [.s, .se]])

    /// The initiator knows the responder's key; one round trip. Its first message can be replayed: the responder must
    /// let it have no effect before the initiator's first transport message.
    public static let ik = HandshakePattern(
        name: "IK", responderStaticIsKnown: true, messages: [[.e, .es, .s, .ss], [.e, .ee, .se]])

    /// IK with the pairwise key mixed in at the end of the second message, when the responder knows who is asking.
    public static let ikPSK2 = ik.withPSK(at: [2])

    /// The modifiers `psk0`, `psk1` ...: 0 is before everything, n at the end of message n. One key for each place.
    func withPSK(at places: [Int]) -> HandshakePattern {
        var messages = messages
        for place in places {
            if place == 0 { messages[0].insert(.psk, at: 0) } else { messages[place - 1].append(.psk) }
        }
        return HandshakePattern(
            name: name + places.map { "psk\($0)" }.joined(separator: "+"),
            responderStaticIsKnown: responderStaticIsKnown, messages: messages)
    }

    public var protocolName: String { "Noise_\(name)_25519_ChaChaPoly_SHA256" }

    var preSharedKeyCount: Int { messages.joined().count { $0 == .psk } }

    /// How many bytes message `number` (from 0) has beyond its payload: keys, and authenticators of what is encrypted.
    func overhead(ofMessage number: Int) -> Int {
        let hasPSK = preSharedKeyCount > 0
        var hasKey = false
        var overhead = 0
        for (index, tokens) in messages[...number].enumerated() {
            overhead = 0
            for token in tokens {
                switch token {
                case .e:
                    overhead += StaticKeyPair.keySize
                    hasKey = hasKey || hasPSK
                case .s: overhead += StaticKeyPair.keySize + (hasKey ? CipherState.tagSize : 0)
                case .ee, .es, .se, .ss, .psk: hasKey = true
                }
            }
            if index == number, hasKey { overhead += CipherState.tagSize }
        }
        return overhead
    }
}
