import Testing

@testable import LanfsCrypto

/// One vector of `noiseVectors`.
struct NoiseVector: Sendable, CustomTestStringConvertible {
    struct Message: Sendable {
        var payload: [UInt8]
        var ciphertext: [UInt8]
    }

    var source: String
    var protocolName: String
    var fields: [String: [UInt8]] = [:]
    var preSharedKeys: [[UInt8]] = []
    var messages: [Message] = []

    var testDescription: String { "\(protocolName) of \(source)" }

    static let all: [NoiseVector] = {
        var vectors: [NoiseVector] = []
        for line in noiseVectors.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            switch words[0] {
            case "vector": vectors.append(NoiseVector(source: words[1], protocolName: words[2]))
            case "psk": vectors[vectors.count - 1].preSharedKeys.append(hex(words[1]))
            case "message":
                let payload = words[1] == "-" ? [] : hex(words[1])
                vectors[vectors.count - 1].messages.append(Message(payload: payload, ciphertext: hex(words[2])))
            default: vectors[vectors.count - 1].fields[words[0]] = words.count > 1 ? hex(words[1]) : []
            }
        }
        return vectors
    }()

    var pattern: HandshakePattern? {
        let patterns: [HandshakePattern] = [
            .xx, .ik, .ikPSK2, .ik.withPSK(at: [1]), .ik.withPSK(at: [0, 2]), .xx.withPSK(at: [3]),
            .xx.withPSK(at: [0, 3]), .xx.withPSK(at: [0, 1, 2, 3]),
        ]
        return patterns.first { $0.protocolName == protocolName }
    }

    func state(_ role: HandshakeState.Role, pattern: HandshakePattern) throws -> HandshakeState {
        let prefix = role == .initiator ? "init" : "resp"
        return try HandshakeState(
            pattern: pattern, role: role, prologue: fields["init_prologue"] ?? [],
            staticKey: StaticKeyPair(privateKey: secret(#require(fields["\(prefix)_static"]))),
            remoteStatic: role == .initiator ? fields["init_remote_static"] : nil,
            preSharedKeys: preSharedKeys.map(secret),
            ephemeralForTests: StaticKeyPair(privateKey: secret(#require(fields["\(prefix)_ephemeral"]))))
    }
}

@Suite("Noise, against the published vectors")
struct NoiseVectorTests {
    @Test("there is a vector of every pattern in use")
    func coverage() {
        #expect(NoiseVector.all.count == 10)
        for pattern in [HandshakePattern.xx, .ik, .ikPSK2] {
            #expect(NoiseVector.all.contains { $0.protocolName == pattern.protocolName })
        }
    }

    @Test("every message, hash and transport message is as published", arguments: NoiseVector.all)
    func vector(vector: NoiseVector) throws {
        let pattern = try #require(vector.pattern)
        var initiator = try vector.state(.initiator, pattern: pattern)
        var responder = try vector.state(.responder, pattern: pattern)
        let handshake = vector.messages.prefix(pattern.messages.count)
        for (number, message) in handshake.enumerated() {
            let fromInitiator = number.isMultiple(of: 2)
            #expect(initiator.isOurTurn == fromInitiator)
            #expect(responder.isOurTurn == !fromInitiator)
            #expect(initiator.nextMessageOverhead == message.ciphertext.count - message.payload.count)
            let written = try fromInitiator
                ? initiator.writeMessage(message.payload) : responder.writeMessage(message.payload)
            #expect(written == message.ciphertext)
            let read = try fromInitiator
                ? responder.readMessage(message.ciphertext) : initiator.readMessage(message.ciphertext)
            #expect(read == message.payload)
        }
        #expect(initiator.isFinished && responder.isFinished)
        if let hash = vector.fields["handshake_hash"] { #expect(initiator.handshakeHash == hash) }
        #expect(initiator.handshakeHash == responder.handshakeHash)

        let ours = try initiator.split()
        let theirs = try responder.split()
        #expect(ours.initiatorToResponder == theirs.initiatorToResponder)
        #expect(ours.responderToInitiator == theirs.responderToInitiator)
        #expect(ours.handshakeHash == initiator.handshakeHash)

        var upward = CipherState()
        var downward = CipherState()
        upward.initializeKey(from: ours.initiatorToResponder.bytes)
        downward.initializeKey(from: ours.responderToInitiator.bytes)
        for (number, message) in vector.messages.enumerated().dropFirst(pattern.messages.count) {
            var written: [UInt8] = []
            if number.isMultiple(of: 2) {
                try upward.encryptWithAd([], message.payload, appendingTo: &written)
            } else {
                try downward.encryptWithAd([], message.payload, appendingTo: &written)
            }
            #expect(written == message.ciphertext)
        }
    }

    @Test("the cipher's counter is little-endian, survives a failure, and its last value is never used")
    func cipherCounter() throws {
        var sender = CipherState()
        var receiver = CipherState()
        sender.initializeKey(from: SecretBytes(copying: keyBytes))
        receiver.initializeKey(from: SecretBytes(copying: keyBytes))
        var message: [UInt8] = []
        sender.setNonce(.max - 1)
        receiver.setNonce(.max - 1)
        try sender.encryptWithAd([1], [2], appendingTo: &message)
        #expect(throws: CryptoError.notAuthentic(.handshakeMessage)) { try receiver.decryptWithAd([0], message[...]) }
        #expect(try receiver.decryptWithAd([1], message[...]) == [2])
        #expect(throws: CryptoError.nonceExhausted) { try sender.encryptWithAd([], [], appendingTo: &message) }
        #expect(throws: CryptoError.nonceExhausted) { try receiver.decryptWithAd([], message[...]) }
        let short = [UInt8](repeating: 0, count: 15)
        #expect(throws: CryptoError.wrongLength(of: .handshakeMessage, count: 15, expected: 16...Int.max)) {
            try receiver.decryptWithAd([], short[...])
        }
    }
}
