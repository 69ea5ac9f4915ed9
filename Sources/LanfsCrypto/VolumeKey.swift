import CSodium

/// The key of a volume: whoever holds it can read and write the volume. 32 secret bytes, of which all else follows:
///
///     crypto_kdf, context "lanfsvol":  1 signing seed   2 tree key   3 beacon key
public final class VolumeKey: Sendable {
    public static let size = 32

    let secret: SharedSecret
    /// Signs root records; its public half is the volume's id.
    public let signingKey: SigningKey
    /// Seals the client-only part of root records, and the first block of everything they lead to.
    public let treeKey: SharedSecret
    /// Authenticates the clients' beacons among themselves; servers lack it (F3).
    public let beaconKey: SharedSecret

    /// The public name of the volume: 32 bytes.
    public var volumeID: [UInt8] { signingKey.publicKey }

    public convenience init(_ secret: consuming SecretBytes) throws(CryptoError) {
        let size = VolumeKey.size
        guard secret.count == size else {
            throw .wrongLength(of: .volumeKey, count: secret.count, expected: size...size)
        }
        self.init(checkedSecret: secret)
    }

    init(checkedSecret secret: consuming SecretBytes) {
        precondition(secret.count == VolumeKey.size)
        signingKey = SigningKey(checkedSeed: deriveSubkey(1, context: "lanfsvol", of: secret))
        treeKey = SharedSecret(deriveSubkey(2, context: "lanfsvol", of: secret))
        beaconKey = SharedSecret(deriveSubkey(3, context: "lanfsvol", of: secret))
        self.secret = SharedSecret(secret)
    }

    public static func generate() -> VolumeKey { VolumeKey(checkedSecret: SecretBytes(random: size)) }
}

extension VolumeKey {
    /// The price of one guess at a password: Argon2id version 1.3, one lane. The numbers are part of the format: other
    /// numbers are other keys, that is other volumes. (libsodium's "moderate" of 2019, written out so that no later
    /// libsodium can change them.)
    struct PasswordCost: Sendable {
        var passes: UInt64
        var memoryBytes: Int

        static let volumeKey = PasswordCost(passes: 3, memoryBytes: 256 << 20)
    }

    /// The volume of this user name and password, the same from any machine: about a second, 256 MiB of memory, and no
    /// interruption, so call it off any thread that must answer. Both are taken byte for byte: "Alice" is not "alice".
    public static func derive(user: String, password: borrowing SecretBytes) throws(CryptoError) -> VolumeKey {
        try derive(user: user, password: password, cost: .volumeKey)
    }

    static func derive(
        user: String, password: borrowing SecretBytes, cost: PasswordCost
    ) throws(CryptoError) -> VolumeKey {
        guard !user.isEmpty else { throw .emptyUserName }
        let salt = Array(user.utf8).withUnsafeBytes {
            blake2b($0, personal: "lanfs-user-salt1", count: Int(crypto_pwhash_argon2id_SALTBYTES))
        }
        return VolumeKey(checkedSecret: try argon2id(password: password, salt: salt, cost: cost, count: size))
    }

    static func argon2id(
        password: borrowing SecretBytes, salt: [UInt8], cost: PasswordCost, count: Int
    ) throws(CryptoError) -> SecretBytes {
        guard password.count > 0 else { throw .emptyPassword }
        precondition(salt.count == Int(crypto_pwhash_argon2id_SALTBYTES))
        var key = SecretBytes(count: count)
        let result = key.withUnsafeMutableBytes { key in
            password.withUnsafeBytes { password in
                crypto_pwhash_argon2id(
                    key.baseAddress!, UInt64(key.count), password.baseAddress!, UInt64(password.count), salt,
                    cost.passes, cost.memoryBytes, crypto_pwhash_argon2id_ALG_ARGON2ID13)
            }
        }
        // With sizes in range, which they are here, memory is the only thing it can lack.
        guard result == 0 else { throw .outOfMemory(bytes: cost.memoryBytes) }
        return key
    }
}
