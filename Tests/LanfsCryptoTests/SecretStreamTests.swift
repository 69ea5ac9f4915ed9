import TestSupport
import Testing

@testable import LanfsCrypto

@Suite("Encrypted streams")
struct SecretStreamTests {
    private let key = secret(keyBytes)

    @Test("carry messages of every size, in order, up to FINAL")
    func roundTrip() throws {
        var sealer = StreamSealer(key: key)
        var opener = try StreamOpener(key: key, header: sealer.header)
        var random = SplitMix64(seed: 1)
        for size in sizes {
            let message = random.bytes(size)
            let final = size == sizes.last
            let sealed = try sealer.seal(message, additionalData: [1, 2], final: final)
            #expect(sealed.count == size + SecretStream.overhead)
            let opened = try opener.open(sealed, additionalData: [1, 2])
            #expect(opened.message == message)
            #expect(opened.isFinal == final)
            #expect(opener.isFinished == final)
            #expect(sealer.isFinished == final)
        }
        try opener.endOfInput()
    }

    @Test("that stop before FINAL are reported as cut")
    func cut() throws {
        var sealer = StreamSealer(key: key)
        var opener = try StreamOpener(key: key, header: sealer.header)
        #expect(throws: CryptoError.streamCut) { try opener.endOfInput() }
        _ = try opener.open(try sealer.seal([1]))
        #expect(throws: CryptoError.streamCut) { try opener.endOfInput() }
        _ = try opener.open(try sealer.seal([], final: true))
        try opener.endOfInput()
    }

    @Test("take no data after FINAL, on either side")
    func afterFinal() throws {
        var sealer = StreamSealer(key: key)
        var opener = try StreamOpener(key: key, header: sealer.header)
        let last = try sealer.seal([1], final: true)
        #expect(throws: CryptoError.streamEnded) { try sealer.seal([2]) }
        _ = try opener.open(last)
        #expect(throws: CryptoError.streamEnded) { try opener.open(last) }
        #expect(throws: CryptoError.streamBroken) { try opener.open(last) }
        #expect(throws: CryptoError.streamBroken) { try opener.endOfInput() }
    }

    @Test("refuse replayed, reordered and missing messages, and open nothing after")
    func order() throws {
        for order in [[0, 0], [1], [0, 2]] {
            var sealer = StreamSealer(key: key)
            var opener = try StreamOpener(key: key, header: sealer.header)
            let messages = [try sealer.seal([0]), try sealer.seal([1]), try sealer.seal([2])]
            for index in order.dropLast() { _ = try opener.open(messages[index]) }
            #expect(throws: CryptoError.notAuthentic(.streamMessage)) { try opener.open(messages[order.last ?? 0]) }
            #expect(throws: CryptoError.streamBroken) { try opener.open(messages[1]) }
        }
    }

    @Test("notice every flipped bit, every cut, other associated data, keys and headers")
    func damage() throws {
        var sealer = StreamSealer(key: key)
        let sealed = try sealer.seal([1, 2, 3], additionalData: [9])
        func open(_ sealed: [UInt8], additionalData: [UInt8] = [9], key: SharedSecret, header: [UInt8]) throws {
            var opener = try StreamOpener(key: key, header: header)
            _ = try opener.open(sealed, additionalData: additionalData)
        }
        try open(sealed, key: key, header: sealer.header)
        let header = sealer.header
        let refused = CryptoError.notAuthentic(.streamMessage)
        for bit in 0..<8 * sealed.count {
            var damaged = sealed
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: refused) { try open(damaged, key: key, header: header) }
        }
        for bit in 0..<8 * header.count {
            var damaged = header
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: refused) { try open(sealed, key: key, header: damaged) }
        }
        for count in 0..<sealed.count {
            let expected: CryptoError =
                count < 17 ? .wrongLength(of: .streamMessage, count: count, expected: 17...Int.max) : refused
            #expect(throws: expected) { try open(Array(sealed[..<count]), key: key, header: header) }
        }
        #expect(throws: refused) { try open(sealed + [0], key: key, header: header) }
        #expect(throws: refused) { try open(sealed, additionalData: [8], key: key, header: header) }
        #expect(throws: refused) { try open(sealed, additionalData: [], key: key, header: header) }
        #expect(throws: refused) { try open(sealed, key: SharedSecret(random: 32), header: header) }
        for count in [0, 23, 25] {
            #expect(throws: CryptoError.wrongLength(of: .streamHeader, count: count, expected: 24...24)) {
                try open(sealed, key: key, header: [UInt8](repeating: 0, count: count))
            }
        }
    }

    // Sealed by Python's PyNaCl with TAG_PUSH: authentic, yet nothing lanfs ever writes.
    @Test("refuse tags that lanfs does not write")
    func foreignTag() throws {
        var opener = try StreamOpener(key: key, header: hex("238d880ecaba80a15ea6468c6df841dc25af5b0d5be19b56"))
        #expect(throws: CryptoError.unexpectedTag(.streamMessage, tag: 1)) {
            try opener.open(hex("f902d2f1a9327294a74b1d6f27b2b3a291f3"))
        }
        #expect(throws: CryptoError.streamBroken) { try opener.endOfInput() }
    }

    @Test("say when the caller's buffer is too small, and go on after")
    func smallBuffers() throws {
        var sealer = StreamSealer(key: key)
        var opener = try StreamOpener(key: key, header: sealer.header)
        let message: [UInt8] = [1, 2, 3]
        var room = [UInt8](repeating: 0, count: 19)
        #expect(throws: CryptoError.outputTooSmall(for: .streamMessage, count: 19, needed: 20)) {
            _ = try message.withUnsafeBytes { message in
                try room.withUnsafeMutableBytes { try sealer.seal(message, into: $0) }
            }
        }
        let sealed = try sealer.seal(message)
        room = [0, 0]
        #expect(throws: CryptoError.outputTooSmall(for: .streamMessage, count: 2, needed: 3)) {
            _ = try sealed.withUnsafeBytes { sealed in
                try room.withUnsafeMutableBytes { try opener.open(sealed, into: $0) }
            }
        }
        #expect(try opener.open(sealed).message == message)
    }
}
