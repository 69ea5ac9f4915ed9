import TestSupport
import Testing

@testable import LanfsCrypto

/// What two parties would run, with a hook on the wire between them.
private struct Exchange {
    var pattern: HandshakePattern
    var initiatorKey = StaticKeyPair.generate()
    var responderKey = StaticKeyPair.generate()
    /// The responder's key as the initiator believes it to be.
    var pinnedKey: [UInt8]?
    var initiatorPSK = secret(keyBytes)
    var responderPSK = secret(keyBytes)
    var initiatorPrologue: [UInt8] = [1]
    var responderPrologue: [UInt8] = [1]

    init(_ pattern: HandshakePattern) { self.pattern = pattern }

    private var usesPSK: Bool { pattern.preSharedKeyCount > 0 }

    func initiator() throws -> HandshakeState {
        try HandshakeState(
            pattern: pattern, role: .initiator, prologue: initiatorPrologue, staticKey: initiatorKey,
            remoteStatic: pattern.responderStaticIsKnown ? pinnedKey ?? responderKey.publicKey : nil,
            preSharedKey: usesPSK ? initiatorPSK : nil)
    }

    func responder() throws -> HandshakeState {
        try HandshakeState(
            pattern: pattern, role: .responder, prologue: responderPrologue, staticKey: responderKey,
            preSharedKey: usesPSK ? responderPSK : nil)
    }

    /// Runs to the end; `wire` sees and may change message `number`. Returns the number of the message whose reading
    /// failed and why, or nil when both sides finished.
    func run(
        wire: (_ number: Int, _ message: [UInt8]) -> [UInt8] = { $1 }
    ) throws -> (failedAt: Int, error: CryptoError)? {
        var initiator = try initiator()
        var responder = try responder()
        for number in pattern.messages.indices {
            let payload: [UInt8] = [UInt8(number), 0xaa]
            let fromInitiator = number.isMultiple(of: 2)
            let written = try fromInitiator ? initiator.writeMessage(payload) : responder.writeMessage(payload)
            do throws(CryptoError) {
                let message = wire(number, written)
                _ = try fromInitiator ? responder.readMessage(message) : initiator.readMessage(message)
            } catch {
                return (number, error)
            }
        }
        guard try initiator.split().initiatorToResponder == responder.split().initiatorToResponder else {
            return (pattern.messages.count, .handshakeFailed)
        }
        return nil
    }
}

@Suite("Handshakes")
struct HandshakeTests {
    static let patterns: [HandshakePattern] = [.xx, .ik, .ikPSK2, .xx.withPSK(at: [0])]

    @Test("finish with the same keys, and each side knows the other's static key", arguments: patterns)
    func finish(pattern: HandshakePattern) throws {
        let exchange = Exchange(pattern)
        var initiator = try exchange.initiator()
        var responder = try exchange.responder()
        #expect(responder.remoteStatic == nil)
        #expect(initiator.handshakeHash == nil)
        while !initiator.isFinished {
            if initiator.isOurTurn {
                _ = try responder.readMessage(try initiator.writeMessage())
            } else {
                _ = try initiator.readMessage(try responder.writeMessage())
            }
        }
        #expect(initiator.remoteStatic == exchange.responderKey.publicKey)
        #expect(responder.remoteStatic == exchange.initiatorKey.publicKey)
        let ours = try initiator.split()
        let theirs = try responder.split()
        #expect(ours.initiatorToResponder == theirs.initiatorToResponder)
        #expect(ours.responderToInitiator == theirs.responderToInitiator)
        #expect(ours.initiatorToResponder != ours.responderToInitiator)
        #expect(ours.handshakeHash == theirs.handshakeHash)
        #expect(throws: CryptoError.handshakeAlreadySplit) { try initiator.split() }
        #expect(throws: CryptoError.handshakeOutOfTurn) { try initiator.writeMessage() }
        #expect(throws: CryptoError.handshakeOutOfTurn) { try responder.readMessage([]) }
    }

    @Test("do not survive a changed byte anywhere", arguments: patterns)
    func tampering(pattern: HandshakePattern) throws {
        let exchange = Exchange(pattern)
        #expect(try exchange.run() == nil)
        for number in pattern.messages.indices {
            let size = pattern.overhead(ofMessage: number) + 2
            // The first message of XX is not encrypted: what was changed in it shows in the second.
            let noticedAt = number == 0 && pattern == .xx ? 1 : number
            for position in 0..<size {
                let outcome = try exchange.run { current, message in
                    guard current == number else { return message }
                    #expect(message.count == size)
                    var changed = message
                    changed[position] ^= position.isMultiple(of: 2) ? 0x01 : 0x80
                    return changed
                }
                #expect(outcome?.failedAt == noticedAt, "message \(number), byte \(position)")
            }
        }
    }

    @Test("do not survive a message cut off or made longer", arguments: patterns)
    func lengths(pattern: HandshakePattern) throws {
        let exchange = Exchange(pattern)
        for number in pattern.messages.indices {
            let size = pattern.overhead(ofMessage: number) + 2
            let noticedAt = number == 0 && pattern == .xx ? 1 : number
            for count in 0..<size {
                let outcome = try exchange.run { $0 == number ? Array($1.prefix(count)) : $1 }
                #expect((number...noticedAt).contains(outcome?.failedAt ?? -1), "message \(number), \(count) bytes")
            }
            let longer = try exchange.run { $0 == number ? $1 + [0] : $1 }
            #expect(longer?.failedAt == noticedAt)
            let huge = try exchange.run { $0 == number ? [UInt8](repeating: 0, count: 65_536) : $1 }
            #expect(huge?.failedAt == number)
        }
    }

    @Test("fail with another pairwise key, prologue or pinned key than the other side's")
    func disagreement() throws {
        let authentication = CryptoError.notAuthentic(.handshakeMessage)
        var exchange = Exchange(.ikPSK2)
        exchange.responderPSK = SharedSecret(random: 32)
        var outcome = try exchange.run()
        #expect(outcome?.failedAt == 1 && outcome?.error == authentication)

        for pattern in HandshakeTests.patterns {
            exchange = Exchange(pattern)
            exchange.responderPrologue = [2]
            outcome = try exchange.run()
            #expect(outcome?.error == authentication)
        }

        exchange = Exchange(.ik)
        exchange.pinnedKey = StaticKeyPair.generate().publicKey
        outcome = try exchange.run()
        #expect(outcome?.failedAt == 0 && outcome?.error == authentication)
    }

    @Test("let the responder look up the pairwise key once it knows who asks")
    func lateKey() throws {
        let exchange = Exchange(.ikPSK2)
        var initiator = try exchange.initiator()
        var responder = try HandshakeState(
            pattern: .ikPSK2, role: .responder, prologue: [1], staticKey: exchange.responderKey)
        _ = try responder.readMessage(try initiator.writeMessage([1]))
        #expect(responder.remoteStatic == exchange.initiatorKey.publicKey)
        #expect(throws: CryptoError.missingPreSharedKey) { try responder.writeMessage() }
        try responder.setPSK(exchange.responderPSK)
        #expect(try initiator.readMessage(try responder.writeMessage([2])) == [2])
        #expect(try initiator.split().responderToInitiator == responder.split().responderToInitiator)
    }

    @Test("fail when the static key shown is not the one that is known")
    func impostor() throws {
        // A responder that has the right pairwise key but not the pinned static key.
        let exchange = Exchange(.ikPSK2)
        var initiator = try exchange.initiator()
        var impostor = try HandshakeState(
            pattern: .ikPSK2, role: .responder, prologue: [1], staticKey: .generate(),
            preSharedKey: exchange.responderPSK)
        #expect(throws: CryptoError.notAuthentic(.handshakeMessage)) {
            try impostor.readMessage(try initiator.writeMessage())
        }
    }

    @Test("a replayed message opens nothing: not in its own handshake, and no answer of another one fits")
    func replay() throws {
        let exchange = Exchange(.ikPSK2)
        var initiator = try exchange.initiator()
        var responder = try exchange.responder()
        let first = try initiator.writeMessage([7])
        _ = try responder.readMessage(first)
        #expect(throws: CryptoError.handshakeOutOfTurn) { try responder.readMessage(first) }

        // IK's first message alone can be replayed to the same server (that is why it must have no effect)...
        var other = try exchange.responder()
        #expect(try other.readMessage(first) == [7])
        let answer = try responder.writeMessage()
        let otherAnswer = try other.writeMessage()
        _ = try initiator.readMessage(answer)
        let keys = try initiator.split()
        #expect(try responder.split().initiatorToResponder == keys.initiatorToResponder)
        // ... but the keys that follow are others.
        #expect(try other.split().initiatorToResponder != keys.initiatorToResponder)

        var secondInitiator = try exchange.initiator()
        _ = try secondInitiator.writeMessage([7])
        #expect(throws: CryptoError.notAuthentic(.handshakeMessage)) { try secondInitiator.readMessage(otherAnswer) }
    }

    @Test("a public key without secrecy is refused, and ends the handshake")
    func weakEphemeral() throws {
        let exchange = Exchange(.xx)
        var responder = try exchange.responder()
        _ = try responder.readMessage([UInt8](repeating: 0, count: 32))
        #expect(throws: CryptoError.weakPublicKey) { try responder.writeMessage() }
        #expect(throws: CryptoError.handshakeFailed) { try responder.writeMessage() }
        #expect(throws: CryptoError.handshakeFailed) { try responder.readMessage([]) }
        #expect(throws: CryptoError.handshakeFailed) { try responder.split() }
        #expect(responder.remoteStatic == nil)
    }

    @Test("messages have 65,535 bytes at most, and a payload too long changes nothing", arguments: patterns)
    func limits(pattern: HandshakePattern) throws {
        let exchange = Exchange(pattern)
        var initiator = try exchange.initiator()
        var responder = try exchange.responder()
        let limit = 65_535 - initiator.nextMessageOverhead
        let payload = [UInt8](repeating: 5, count: limit)
        #expect(throws: CryptoError.wrongLength(of: .handshakePayload, count: limit + 1, expected: 0...limit)) {
            try initiator.writeMessage(payload + [5])
        }
        let message = try initiator.writeMessage(payload)
        #expect(message.count == 65_535)
        #expect(try responder.readMessage(message) == payload)
    }

    @Test("parties take turns, and keys come only at the end")
    func turns() throws {
        let exchange = Exchange(.xx)
        var initiator = try exchange.initiator()
        var responder = try exchange.responder()
        #expect(throws: CryptoError.handshakeOutOfTurn) { try responder.writeMessage() }
        #expect(throws: CryptoError.handshakeOutOfTurn) { try initiator.readMessage([]) }
        #expect(throws: CryptoError.handshakeNotFinished) { try initiator.split() }
        _ = try responder.readMessage(try initiator.writeMessage())
        #expect(throws: CryptoError.handshakeOutOfTurn) { try initiator.writeMessage() }
    }

    @Test("keys that are missing, too many or of the wrong length are refused at the start")
    func parameters() throws {
        let pair = StaticKeyPair.generate()
        func make(
            _ pattern: HandshakePattern, _ role: HandshakeState.Role, remoteStatic: [UInt8]? = nil,
            psk: SharedSecret? = nil
        ) throws {
            _ = try HandshakeState(
                pattern: pattern, role: role, prologue: [], staticKey: pair, remoteStatic: remoteStatic,
                preSharedKey: psk)
        }
        #expect(throws: CryptoError.missingRemoteStaticKey) { try make(.ik, .initiator) }
        #expect(throws: CryptoError.unexpectedRemoteStaticKey) {
            try make(.ik, .responder, remoteStatic: pair.publicKey)
        }
        #expect(throws: CryptoError.unexpectedRemoteStaticKey) {
            try make(.xx, .initiator, remoteStatic: pair.publicKey)
        }
        #expect(throws: CryptoError.wrongLength(of: .publicKey, count: 31, expected: 32...32)) {
            try make(.ik, .initiator, remoteStatic: [UInt8](repeating: 9, count: 31))
        }
        #expect(throws: CryptoError.unexpectedPreSharedKey) { try make(.xx, .initiator, psk: secret(keyBytes)) }
        #expect(throws: CryptoError.wrongLength(of: .preSharedKey, count: 16, expected: 32...32)) {
            try make(.ikPSK2, .responder, psk: SharedSecret(random: 16))
        }
        var plain = try HandshakeState(pattern: .xx, role: .responder, prologue: [], staticKey: pair)
        #expect(throws: CryptoError.unexpectedPreSharedKey) { try plain.setPSK(secret(keyBytes)) }
    }

    @Test("garbage of any length is refused without a trap", arguments: patterns)
    func garbage(pattern: HandshakePattern) throws {
        let exchange = Exchange(pattern)
        var random = SplitMix64(seed: 42)
        for size in 0..<200 {
            var responder = try exchange.responder()
            let message = random.bytes(size)
            // XX's first message is any 32 bytes and a plain payload; nothing else may open.
            if let payload = try? responder.readMessage(message) {
                #expect(pattern == .xx && payload == Array(message.dropFirst(32)))
            } else {
                #expect(pattern != .xx || size < 32)
            }
        }
    }
}
