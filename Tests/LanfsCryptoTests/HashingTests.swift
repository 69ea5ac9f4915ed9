import TestSupport
import Testing

@testable import LanfsCrypto

@Suite("Hashing")
struct HashingTests {
    @Test("SHA-256 gives the standard's digests")
    func sha256Vectors() {
        #expect(
            sha256([]) == hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
        #expect(
            sha256(Array("abc".utf8)) == hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
        #expect(
            sha256([UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000))
                == hex("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"))
    }

    @Test("SHA-256 writes into the caller's buffer and touches only 32 bytes of it")
    func intoBuffer() {
        var buffer = [UInt8](repeating: 0xaa, count: 34)
        keyBytes.withUnsafeBytes { bytes in buffer.withUnsafeMutableBytes { sha256(bytes, into: $0) } }
        #expect(Array(buffer[..<32]) == sha256(keyBytes))
        #expect(Array(buffer[32...]) == [0xaa, 0xaa])
    }

    @Test("pieces hash like the whole, and a copy of a hasher goes its own way", arguments: sizes)
    func incremental(size: Int) {
        var random = SplitMix64(seed: UInt64(size))
        let message = random.bytes(size)
        var hasher = SHA256Hasher()
        var rest = message[...]
        while !rest.isEmpty {
            let count = Int.random(in: 1...min(rest.count, 1000), using: &random)
            hasher.update(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        let copy = hasher
        hasher.update([1])
        #expect(copy.finalize() == sha256(message))
        #expect(hasher.finalize() == sha256(message + [1]))
    }

    // Expected values from Python's hashlib.blake2b.
    @Test("message authentication is keyed BLAKE2b")
    func authenticationVectors() {
        let key = secret(keyBytes)
        let message = Array("beacon".utf8)
        #expect(
            MessageAuthentication.code(for: message, key: key, length: .short)
                == hex("ef9f921a2ecfbd265626d39d9c999c91"))
        #expect(
            MessageAuthentication.code(for: message, key: key)
                == hex("caa9be731d390c0a6405fc8b51ed09ca50325a668e85ec6dbd9798f3b041dbea"))
    }

    @Test("message authentication notices every flipped bit, other keys and other lengths",
        arguments: [MessageAuthentication.Length.short, .full])
    func authenticationDamage(length: MessageAuthentication.Length) {
        let key = secret(keyBytes)
        let message: [UInt8] = [1, 2, 3]
        let code = MessageAuthentication.code(for: message, key: key, length: length)
        #expect(MessageAuthentication.verify(code, for: message, key: key, length: length))
        for bit in 0..<8 * code.count {
            var damaged = code
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(!MessageAuthentication.verify(damaged, for: message, key: key, length: length))
        }
        for bit in 0..<8 * message.count {
            var damaged = message
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(!MessageAuthentication.verify(code, for: damaged, key: key, length: length))
        }
        #expect(!MessageAuthentication.verify(code, for: message, key: SharedSecret(random: 32), length: length))
        #expect(!MessageAuthentication.verify(code.dropLast(), for: message, key: key, length: length))
        #expect(!MessageAuthentication.verify([], for: message, key: key, length: length))
        let other: MessageAuthentication.Length = length == .full ? .short : .full
        #expect(!MessageAuthentication.verify(code, for: message, key: key, length: other))
    }

    @Test("hexadecimal text goes both ways and is refused when it is none")
    func hexadecimal() {
        #expect(Hex.encode([0, 1, 0x9a, 0xff]) == "00019aff")
        #expect(Hex.encode([]) == "")
        #expect(Hex.decode("00019AfF") == [0, 1, 0x9a, 0xff])
        #expect(Hex.decode("") == [])
        for bad in ["0", "0g", "zz", " 00", "00 ", "é0", "-1"] { #expect(Hex.decode(bad) == nil, "\(bad)") }
    }

    // Expected value from Python's hashlib.blake2b.
    @Test("fingerprints are four groups of four, and differ with the key")
    func fingerprints() {
        #expect(fingerprint(of: keyBytes) == "jnkj-g33q-rj14-8ag8")
        var other = keyBytes
        other[31] ^= 1
        #expect(fingerprint(of: other) != fingerprint(of: keyBytes))
        #expect(fingerprint(of: other).count == 19)
    }
}
