import CSodium

/// Noise's CipherState: ChaCha20-Poly1305 with a counter, or nothing while there is no key yet.
struct CipherState: ~Copyable, Sendable {
    static let keySize = 32
    static let tagSize = 16

    private var key = SecretBytes(count: keySize)
    private(set) var hasKey = false
    private var nonce: UInt64 = 0

    /// Takes 32 bytes of `secret` from `offset` on as the key; the counter starts anew.
    mutating func initializeKey(from secret: borrowing SecretBytes, at offset: Int = 0) {
        key.fill(from: secret, at: offset)
        hasKey = true
        nonce = 0
    }

    mutating func setNonce(_ nonce: UInt64) { self.nonce = nonce }

    mutating func wipeKey() {
        key.wipe()
        hasKey = false
    }

    /// Appends the ciphertext to `output`: the plaintext itself while there is no key.
    mutating func encryptWithAd(
        _ ad: [UInt8], _ plaintext: [UInt8], appendingTo output: inout [UInt8]
    ) throws(CryptoError) {
        guard hasKey else {
            output += plaintext
            return
        }
        let nonce = try nextNonce()
        var ciphertext = [UInt8](repeating: 0, count: plaintext.count + CipherState.tagSize)
        let result = key.withUnsafeBytes { key in
            crypto_aead_chacha20poly1305_ietf_encrypt(
                &ciphertext, nil, plaintext, UInt64(plaintext.count), ad, UInt64(ad.count), nil, nonce,
                key.baseAddress!)
        }
        precondition(result == 0, "libsodium did not encrypt")
        output += ciphertext
    }

    mutating func decryptWithAd(_ ad: [UInt8], _ ciphertext: ArraySlice<UInt8>) throws(CryptoError) -> [UInt8] {
        guard hasKey else { return Array(ciphertext) }
        guard ciphertext.count >= CipherState.tagSize else {
            throw .wrongLength(of: .handshakeMessage, count: ciphertext.count, expected: CipherState.tagSize...Int.max)
        }
        // A failure must not use up the nonce (specification 5.1).
        let counter = nonce
        let nonce = try nextNonce()
        var plaintext = [UInt8](repeating: 0, count: ciphertext.count - CipherState.tagSize)
        let result = key.withUnsafeBytes { key in
            ciphertext.withUnsafeBufferPointer { ciphertext in
                crypto_aead_chacha20poly1305_ietf_decrypt(
                    &plaintext, nil, nil, ciphertext.baseAddress!, UInt64(ciphertext.count), ad, UInt64(ad.count),
                    nonce, key.baseAddress!)
            }
        }
        guard result == 0 else {
            self.nonce = counter
            throw .notAuthentic(.handshakeMessage)
        }
        return plaintext
    }

    /// Four zero bytes and the counter, little-endian. The last value is reserved by the specification.
    private mutating func nextNonce() throws(CryptoError) -> [UInt8] {
        guard nonce < UInt64.max else { throw .nonceExhausted }
        var bytes: [UInt8] = [0, 0, 0, 0]
        withUnsafeBytes(of: nonce.littleEndian) { bytes += $0 }
        nonce += 1
        return bytes
    }
}
