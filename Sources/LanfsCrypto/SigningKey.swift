import CSodium

/// An Ed25519 key pair. Copies share the one secret.
public struct SigningKey: Sendable {
    public static let seedSize = 32
    public static let publicKeySize = 32
    public static let signatureSize = 64

    public let publicKey: [UInt8]
    private let secretKey: SharedSecret

    /// `seed` has 32 bytes and determines the pair.
    public init(seed: borrowing SecretBytes) throws(CryptoError) {
        guard seed.count == SigningKey.seedSize else {
            throw .wrongLength(of: .signingSeed, count: seed.count, expected: SigningKey.seedSize...SigningKey.seedSize)
        }
        self.init(checkedSeed: seed)
    }

    init(checkedSeed seed: borrowing SecretBytes) {
        precondition(seed.count == SigningKey.seedSize)
        var publicKey = [UInt8](repeating: 0, count: SigningKey.publicKeySize)
        var secretKey = SecretBytes(count: Int(crypto_sign_SECRETKEYBYTES))
        seed.withUnsafeBytes { seed in
            _ = secretKey.withUnsafeMutableBytes { secretKey in
                crypto_sign_seed_keypair(&publicKey, secretKey.baseAddress!, seed.baseAddress!)
            }
        }
        self.publicKey = publicKey
        self.secretKey = SharedSecret(secretKey)
    }

    /// The 64-byte signature; the same message always gives the same one.
    public func sign(_ message: UnsafeRawBufferPointer) -> [UInt8] {
        var signature = [UInt8](repeating: 0, count: SigningKey.signatureSize)
        let result = secretKey.withUnsafeBytes { secretKey in
            crypto_sign_detached(
                &signature, nil, message.baseAddress, UInt64(message.count), secretKey.baseAddress!)
        }
        precondition(result == 0, "libsodium did not sign")
        return signature
    }

    public func sign(_ message: [UInt8]) -> [UInt8] { message.withUnsafeBytes { sign($0) } }

    /// False also for signatures and keys of the wrong length, and for the public keys for which anyone can sign.
    public static func verify(
        signature: UnsafeRawBufferPointer, message: UnsafeRawBufferPointer, publicKey: UnsafeRawBufferPointer
    ) -> Bool {
        guard signature.count == signatureSize, publicKey.count == publicKeySize,
            let signatureBytes = signature.baseAddress, let publicKeyBytes = publicKey.baseAddress
        else { return false }
        Sodium.initialize()
        return crypto_sign_verify_detached(
            signatureBytes, message.baseAddress, UInt64(message.count), publicKeyBytes) == 0
    }

    public static func verify(signature: [UInt8], message: [UInt8], publicKey: [UInt8]) -> Bool {
        signature.withUnsafeBytes { signature in
            message.withUnsafeBytes { message in
                publicKey.withUnsafeBytes { verify(signature: signature, message: message, publicKey: $0) }
            }
        }
    }
}
