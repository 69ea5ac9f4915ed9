import Testing

@testable import LanfsCrypto

@Suite("Signatures and key agreement")
struct SigningKeyTests {
    // RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
    static let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                + "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                + "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
                + "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ]

    @Test("Ed25519 gives the standard's keys and signatures", arguments: vectors)
    func vector(seed: String, publicKey: String, message: String, signature: String) throws {
        let key = try SigningKey(seed: SecretBytes(copying: hex(seed)))
        #expect(key.publicKey == hex(publicKey))
        #expect(key.sign(hex(message)) == hex(signature))
        #expect(SigningKey.verify(signature: hex(signature), message: hex(message), publicKey: hex(publicKey)))
    }

    @Test("a signature with any bit flipped, of another message or another key, is refused")
    func damage() throws {
        let key = try SigningKey(seed: SecretBytes(copying: keyBytes))
        let message: [UInt8] = [1, 2, 3]
        let signature = key.sign(message)
        #expect(SigningKey.verify(signature: signature, message: message, publicKey: key.publicKey))
        for bit in 0..<8 * signature.count {
            var damaged = signature
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(!SigningKey.verify(signature: damaged, message: message, publicKey: key.publicKey))
        }
        for bit in 0..<8 * key.publicKey.count {
            var damaged = key.publicKey
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(!SigningKey.verify(signature: signature, message: message, publicKey: damaged))
        }
        #expect(!SigningKey.verify(signature: signature, message: [1, 2], publicKey: key.publicKey))
        #expect(!SigningKey.verify(signature: signature.dropLast(), message: message, publicKey: key.publicKey))
        #expect(!SigningKey.verify(signature: signature + [0], message: message, publicKey: key.publicKey))
        #expect(!SigningKey.verify(signature: [], message: message, publicKey: []))
    }

    @Test("public keys for which anyone can sign are refused")
    func smallOrderKey() {
        // The neutral element: R = identity, S = 0 would verify any message under it.
        let neutral = [1] + [UInt8](repeating: 0, count: 31)
        let signature = neutral + [UInt8](repeating: 0, count: 32)
        #expect(!SigningKey.verify(signature: signature, message: [1], publicKey: neutral))
    }

    @Test("seeds and private keys of the wrong length are refused", arguments: [0, 31, 33, 64])
    func wrongLengths(count: Int) {
        #expect(throws: CryptoError.wrongLength(of: .signingSeed, count: count, expected: 32...32)) {
            try SigningKey(seed: SecretBytes(count: count))
        }
        #expect(throws: CryptoError.wrongLength(of: .privateKey, count: count, expected: 32...32)) {
            try StaticKeyPair(privateKey: SharedSecret(random: count))
        }
    }

    // RFC 7748, section 6.1.
    @Test("X25519 gives the standard's keys and shared secret")
    func keyAgreement() throws {
        let alice = try StaticKeyPair(
            privateKey: secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
        let bob = try StaticKeyPair(
            privateKey: secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
        #expect(alice.publicKey == hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"))
        #expect(bob.publicKey == hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"))
        let ours = try alice.withSharedSecret(with: bob.publicKey) { Array($0) }
        let theirs = try bob.withSharedSecret(with: alice.publicKey) { Array($0) }
        #expect(ours == hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"))
        #expect(ours == theirs)
    }

    @Test("X25519 refuses public keys of small order and of the wrong length")
    func weakKeys() {
        let pair = StaticKeyPair.generate()
        let weak = [
            [UInt8](repeating: 0, count: 32), [1] + [UInt8](repeating: 0, count: 31),
            hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
            hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ]
        for key in weak {
            #expect(throws: CryptoError.weakPublicKey) { try pair.withSharedSecret(with: key) { _ in } }
        }
        for count in [0, 31, 33] {
            #expect(throws: CryptoError.wrongLength(of: .publicKey, count: count, expected: 32...32)) {
                try pair.withSharedSecret(with: [UInt8](repeating: 9, count: count)) { _ in }
            }
        }
    }

    @Test("generated pairs differ and a pair comes back from its private key")
    func generation() throws {
        let pair = StaticKeyPair.generate()
        #expect(pair.publicKey != StaticKeyPair.generate().publicKey)
        #expect(try StaticKeyPair(privateKey: pair.privateKey).publicKey == pair.publicKey)
    }
}
