import Testing

@testable import LanfsCrypto

extension VolumeKey {
    static func fixed(_ bytes: [UInt8] = keyBytes) -> VolumeKey {
        VolumeKey(checkedSecret: SecretBytes(copying: bytes))
    }
}

@Suite("Volume keys")
struct VolumeKeyTests {
    // Expected values from Python: hashlib.blake2b with salt and person, PyNaCl for the public key.
    @Test("give the subkeys of the format")
    func subkeys() {
        let key = VolumeKey.fixed()
        #expect(key.volumeID == hex("65557c3064e3938a55dfcac37b3a7fe3070b59eb8ea29b039ad0af4bcf835bd3"))
        #expect(key.treeKey == secret("a991bef6a9ab75c3f3cd5458d268bf1ec2decd20404fd87f12a8e5bd1fe8ead9"))
        #expect(key.beaconKey == secret("b2818870c1f551ddb4d606968d491032ed54571f7037b8c1e940724e5ff45b98"))
        #expect(
            SigningKey.verify(signature: key.signingKey.sign([1]), message: [1], publicKey: key.volumeID))
    }

    @Test("are random, and of one length only")
    func generation() {
        #expect(VolumeKey.generate().volumeID != VolumeKey.generate().volumeID)
        for count in [0, 31, 33] {
            #expect(throws: CryptoError.wrongLength(of: .volumeKey, count: count, expected: 32...32)) {
                try VolumeKey(SecretBytes(count: count))
            }
        }
    }

    // libsodium's test/default/pwhash_argon2id, the vector with one pass.
    @Test("passwords go through Argon2id as libsodium's own vector has it")
    func argon2idVector() throws {
        let key = try VolumeKey.argon2id(
            password: SecretBytes(
                copying: hex("b540beb016a5366524d4605156493f9874514a5aa58818cd0c6dfffaa9e90205f17b")),
            salt: hex("44071f6d181561670bda728d43fb79b4"),
            cost: VolumeKey.PasswordCost(passes: 1, memoryBytes: 1_631_659), count: 231)
        #expect(
            Array(key.revealed().prefix(32))
                == hex("7fb72409b0987f8190c3729710e98c3f80c5a8727d425fdcde7f3644d467fe97"))
    }

    // Expected values from Python: hashlib.blake2b for the salt, argon2-cffi (the reference code) for the key.
    @Test("user and password together decide the volume")
    func derivation() throws {
        let low = VolumeKey.PasswordCost(passes: 1, memoryBytes: 8192)
        func derive(_ user: String, _ password: String) throws -> String {
            let password = SecretBytes(copying: Array(password.utf8))
            return Hex.encode(try VolumeKey.derive(user: user, password: password, cost: low).volumeID)
        }
        let password = "correct horse battery staple"
        #expect(
            try derive("alice", password) == "12ebf2f12927317d96e76f1e432ec3226e758fa04d05756ed5dcb44a49a9afb5")
        #expect(try derive("bob", password) == "000c7afb39ed40d0ae53510397960c3610669f874db7cebb84eec18d52a25e2a")
        #expect(try derive("alice", password + " ") != derive("alice", password))
        #expect(try derive("Alice", password) != derive("alice", password))
        #expect(throws: CryptoError.emptyUserName) { try derive("", password) }
        #expect(throws: CryptoError.emptyPassword) { try derive("alice", "") }
    }

    @Test("the real cost of a password is the format's")
    func derivationCost() throws {
        let password = SecretBytes(copying: Array("correct horse battery staple".utf8))
        let key = try VolumeKey.derive(user: "alice", password: password)
        #expect(key.secret == secret("4cae223557ebe0cd302968c2853004fe41b598629b8f3c3597d59a7020b83009"))
        #expect(key.volumeID == hex("743401556f5a230723e1cd0f699de5db859169fa42c4857c64a1fb7655ba1871"))
    }

    @Test("memory that cannot be had is an error, not a crash")
    func noMemory() {
        let cost = VolumeKey.PasswordCost(passes: 1, memoryBytes: 1 << 42)
        #expect(throws: CryptoError.self) {
            _ = try VolumeKey.argon2id(
                password: SecretBytes(copying: [1]), salt: [UInt8](repeating: 0, count: 16), cost: cost, count: 32)
        }
    }
}
