import CSodium

/// Noise's SymmetricState: the chaining key, the transcript hash, and the cipher keyed by them.
struct SymmetricState: ~Copyable, Sendable {
    private static let hashSize = 32

    /// `h` in the specification: everything both sides have seen so far.
    private(set) var handshakeHash: [UInt8]
    private var chainingKey = SecretBytes(count: hashSize)
    private var cipher = CipherState()
    /// Where HKDF puts its outputs before they go to their places; zero in between.
    private var derived = SecretBytes(count: 3 * hkdfOutputSize)

    init(protocolName: String) {
        let name = Array(protocolName.utf8)
        handshakeHash =
            name.count <= SymmetricState.hashSize
            ? name + [UInt8](repeating: 0, count: SymmetricState.hashSize - name.count) : sha256(name)
        let initial = handshakeHash
        chainingKey.withUnsafeMutableBytes { $0.copyBytes(from: initial) }
    }

    var hasKey: Bool { cipher.hasKey }

    mutating func mixKey(_ input: UnsafeRawBufferPointer) {
        hkdf(chainingKey: chainingKey, input: input, outputs: 2, into: &derived)
        chainingKey.fill(from: derived)
        cipher.initializeKey(from: derived, at: hkdfOutputSize)
        derived.wipe()
    }

    mutating func mixHash(_ data: [UInt8]) {
        var hasher = SHA256Hasher()
        hasher.update(handshakeHash)
        hasher.update(data)
        handshakeHash = hasher.finalize()
    }

    mutating func mixKeyAndHash(_ input: UnsafeRawBufferPointer) {
        hkdf(chainingKey: chainingKey, input: input, outputs: 3, into: &derived)
        chainingKey.fill(from: derived)
        var hashInput = derived.withUnsafeBytes { Array($0[hkdfOutputSize..<2 * hkdfOutputSize]) }
        mixHash(hashInput)
        wipe(&hashInput)
        cipher.initializeKey(from: derived, at: 2 * hkdfOutputSize)
        derived.wipe()
    }

    mutating func encryptAndHash(_ plaintext: [UInt8], appendingTo output: inout [UInt8]) throws(CryptoError) {
        let start = output.count
        try cipher.encryptWithAd(handshakeHash, plaintext, appendingTo: &output)
        mixHash(Array(output[start...]))
    }

    mutating func decryptAndHash(_ ciphertext: ArraySlice<UInt8>) throws(CryptoError) -> [UInt8] {
        let plaintext = try cipher.decryptWithAd(handshakeHash, ciphertext)
        mixHash(Array(ciphertext))
        return plaintext
    }

    /// The two transport keys; the state is empty afterwards.
    mutating func split() -> (first: SharedSecret, second: SharedSecret) {
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        hkdf(chainingKey: chainingKey, input: nothing, outputs: 2, into: &derived)
        var first = SecretBytes(count: hkdfOutputSize)
        var second = SecretBytes(count: hkdfOutputSize)
        first.fill(from: derived)
        second.fill(from: derived, at: hkdfOutputSize)
        wipeKeys()
        return (SharedSecret(first), SharedSecret(second))
    }

    mutating func wipeKeys() {
        derived.wipe()
        chainingKey.wipe()
        cipher.wipeKey()
    }
}
