import CSodium

/// One frame of a block: a secretstream of exactly one FINAL message, the frame's index as associated data.
///
///     header (24) || tag (1) || ciphertext (n) || authenticator (16)
///
/// A frame opens on its own, only under its block's key, only at its own index, and only whole. Sealing the same
/// plaintext twice gives different bytes (the header is random), so a frame says nothing but its length.
public enum FrameSeal {
    public static let keySize = 32
    static let headerSize = 24
    /// What sealing adds to a frame, in bytes.
    public static let overhead = headerSize + 17

    private typealias State = crypto_secretstream_xchacha20poly1305_state

    /// Writes `plaintext.count + overhead` bytes to the start of `sealed`, which must not overlap `plaintext`.
    public static func seal(
        _ plaintext: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, index: UInt32,
        into sealed: UnsafeMutableRawBufferPointer
    ) {
        precondition(key.count == keySize, "a frame key has \(keySize) bytes, not \(key.count)")
        precondition(sealed.count >= plaintext.count + overhead, "no room for a frame's seal")
        Sodium.initialize()
        guard let keyBytes = key.baseAddress, let output = sealed.baseAddress else { return }
        let result = withState { state in
            crypto_secretstream_xchacha20poly1305_init_push(state, output, keyBytes)
            return withUnsafeBytes(of: index.littleEndian) { index in
                crypto_secretstream_xchacha20poly1305_push(
                    state, output + headerSize, nil, plaintext.baseAddress, UInt64(plaintext.count),
                    index.baseAddress, UInt64(index.count), UInt8(crypto_secretstream_xchacha20poly1305_TAG_FINAL))
            }
        }
        precondition(result == 0, "libsodium did not seal a frame of \(plaintext.count) bytes")
    }

    /// Writes the plaintext, `sealed.count - overhead` bytes, to the start of `plaintext`; returns that count.
    /// Nothing is written before the authenticator was checked.
    public static func open(
        _ sealed: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, index: UInt32,
        into plaintext: UnsafeMutableRawBufferPointer
    ) throws(CryptoError) -> Int {
        guard key.count == keySize, let keyBytes = key.baseAddress else {
            throw .wrongLength(of: .symmetricKey, count: key.count, expected: keySize...keySize)
        }
        guard sealed.count >= overhead, let input = sealed.baseAddress else {
            throw .wrongLength(of: .frame, count: sealed.count, expected: overhead...Int.max)
        }
        let count = sealed.count - overhead
        guard plaintext.count >= count else {
            throw .outputTooSmall(for: .frame, count: plaintext.count, needed: count)
        }
        Sodium.initialize()
        var tag: UInt8 = 0
        let result = withState { state in
            crypto_secretstream_xchacha20poly1305_init_pull(state, input, keyBytes)
            return withUnsafeBytes(of: index.littleEndian) { index in
                crypto_secretstream_xchacha20poly1305_pull(
                    state, plaintext.baseAddress, nil, &tag, input + headerSize, UInt64(sealed.count - headerSize),
                    index.baseAddress, UInt64(index.count))
            }
        }
        guard result == 0 else { throw .notAuthentic(.frame) }
        guard tag == UInt8(crypto_secretstream_xchacha20poly1305_TAG_FINAL) else {
            throw .unexpectedTag(.frame, tag: tag)
        }
        return count
    }

    /// The state is key material: on the stack, gone when the frame is done.
    private static func withState(_ body: (UnsafeMutablePointer<State>) -> Int32) -> Int32 {
        var state = State()
        return withUnsafeMutablePointer(to: &state) { state in
            defer { sodium_memzero(state, MemoryLayout<State>.size) }
            return body(state)
        }
    }
}

extension FrameSeal {
    public static func seal(_ plaintext: [UInt8], key: [UInt8], index: UInt32) -> [UInt8] {
        plaintext.withUnsafeBytes { plaintext in key.withUnsafeBytes { seal(plaintext, key: $0, index: index) } }
    }

    public static func seal(_ plaintext: [UInt8], key: SharedSecret, index: UInt32) -> [UInt8] {
        plaintext.withUnsafeBytes { plaintext in key.withUnsafeBytes { seal(plaintext, key: $0, index: index) } }
    }

    public static func open(_ sealed: [UInt8], key: [UInt8], index: UInt32) throws(CryptoError) -> [UInt8] {
        try sealed.withBytes { (sealed) throws(CryptoError) in
            try key.withBytes { (key) throws(CryptoError) in try open(sealed, key: key, index: index) }
        }
    }

    public static func open(_ sealed: [UInt8], key: SharedSecret, index: UInt32) throws(CryptoError) -> [UInt8] {
        try sealed.withBytes { (sealed) throws(CryptoError) in
            try key.withUnsafeBytes { (key) throws(CryptoError) in try open(sealed, key: key, index: index) }
        }
    }

    private static func seal(
        _ plaintext: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, index: UInt32
    ) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: plaintext.count + overhead) { buffer, initialized in
            seal(plaintext, key: key, index: index, into: UnsafeMutableRawBufferPointer(buffer))
            initialized = plaintext.count + overhead
        }
    }

    private static func open(
        _ sealed: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, index: UInt32
    ) throws(CryptoError) -> [UInt8] {
        var outcome: Result<Int, CryptoError> = .success(0)
        let plaintext = [UInt8](unsafeUninitializedCapacity: max(0, sealed.count - overhead)) { buffer, initialized in
            outcome = Result { () throws(CryptoError) in
                try open(sealed, key: key, index: index, into: UnsafeMutableRawBufferPointer(buffer))
            }
            initialized = (try? outcome.get()) ?? 0
        }
        _ = try outcome.get()
        return plaintext
    }
}
