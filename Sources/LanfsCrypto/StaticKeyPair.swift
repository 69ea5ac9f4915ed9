import CSodium

/// An X25519 key pair: the long-lived identity of a server or a client in the Noise handshakes. Copies share the one
/// private key.
public struct StaticKeyPair: Sendable {
    public static let keySize = 32

    public let privateKey: SharedSecret
    public let publicKey: [UInt8]

    public static func generate() -> StaticKeyPair {
        StaticKeyPair(checkedPrivateKey: SharedSecret(random: keySize))
    }

    /// `privateKey` has 32 bytes, any: X25519 itself sets the bits that must be set.
    public init(privateKey: SharedSecret) throws(CryptoError) {
        let size = StaticKeyPair.keySize
        guard privateKey.count == size else {
            throw .wrongLength(of: .privateKey, count: privateKey.count, expected: size...size)
        }
        self.init(checkedPrivateKey: privateKey)
    }

    private init(checkedPrivateKey privateKey: SharedSecret) {
        var publicKey = [UInt8](repeating: 0, count: StaticKeyPair.keySize)
        let result = privateKey.withUnsafeBytes { crypto_scalarmult_base(&publicKey, $0.baseAddress!) }
        precondition(result == 0, "libsodium did not compute a public key")
        self.privateKey = privateKey
        self.publicKey = publicKey
    }

    /// Gives the X25519 shared secret with `publicKey` to `body` and wipes it after. Public keys of small order, whose
    /// shared secret is zero whatever the private key, are refused.
    func withSharedSecret<R>(
        with publicKey: [UInt8], _ body: (UnsafeRawBufferPointer) -> R
    ) throws(CryptoError) -> R {
        let size = StaticKeyPair.keySize
        guard publicKey.count == size else {
            throw .wrongLength(of: .publicKey, count: publicKey.count, expected: size...size)
        }
        var shared: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        let result: R? = withUnsafeMutableBytes(of: &shared) { shared in
            defer { wipe(shared) }
            let status = privateKey.withUnsafeBytes { privateKey in
                crypto_scalarmult(shared.baseAddress!, privateKey.baseAddress!, publicKey)
            }
            guard status == 0, sodium_is_zero(shared.baseAddress!, shared.count) == 0 else { return nil }
            return body(UnsafeRawBufferPointer(shared))
        }
        guard let result else { throw .weakPublicKey }
        return result
    }
}
