import CSodium

/// The two ends of one direction of a connection: libsodium's secretstream (XChaCha20-Poly1305). Messages open only in
/// order, none missing, none twice; the FINAL one is the proof that nothing was cut off.
public enum SecretStream {
    public static let keySize = 32
    public static let headerSize = 24
    /// What sealing adds to a message, in bytes.
    public static let overhead = 17

    typealias State = crypto_secretstream_xchacha20poly1305_state
    static let messageTag = UInt8(crypto_secretstream_xchacha20poly1305_TAG_MESSAGE)
    static let finalTag = UInt8(crypto_secretstream_xchacha20poly1305_TAG_FINAL)

    /// The state holds the key, so it lives where keys live. It consists of bytes: any address is aligned for it.
    static func newState() -> SecretBytes { SecretBytes(count: MemoryLayout<State>.size) }

    static func requireKeySize(_ key: borrowing SecretBytes) {
        precondition(key.count == keySize, "a stream key has \(keySize) bytes, not \(key.count)")
    }
}

extension SecretBytes {
    mutating func withStreamState<R>(_ body: (UnsafeMutablePointer<SecretStream.State>) -> R) -> R {
        body(base.assumingMemoryBound(to: SecretStream.State.self))
    }
}

/// The sending end.
public struct StreamSealer: ~Copyable, Sendable {
    private var state: SecretBytes
    /// 24 bytes, not secret, to be sent before the first message.
    public let header: [UInt8]
    /// Whether the FINAL message was sealed: nothing may follow.
    public private(set) var isFinished = false

    /// `key` has 32 bytes and seals one stream only.
    public init(key: borrowing SecretBytes) {
        SecretStream.requireKeySize(key)
        var header = [UInt8](repeating: 0, count: SecretStream.headerSize)
        var state = SecretStream.newState()
        key.withUnsafeBytes { key in
            _ = state.withStreamState { state in
                crypto_secretstream_xchacha20poly1305_init_push(state, &header, key.baseAddress!)
            }
        }
        self.state = state
        self.header = header
    }

    public init(key: SharedSecret) { self.init(key: key.bytes) }

    /// Writes `message.count + SecretStream.overhead` bytes to the start of `sealed` (no overlap); returns that count.
    public mutating func seal(
        _ message: UnsafeRawBufferPointer,
        additionalData: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        final: Bool = false, into sealed: UnsafeMutableRawBufferPointer
    ) throws(CryptoError) -> Int {
        guard !isFinished else { throw .streamEnded }
        let count = message.count + SecretStream.overhead
        guard sealed.count >= count else {
            throw .outputTooSmall(for: .streamMessage, count: sealed.count, needed: count)
        }
        let result = state.withStreamState { state in
            crypto_secretstream_xchacha20poly1305_push(
                state, sealed.baseAddress, nil, message.baseAddress, UInt64(message.count),
                additionalData.baseAddress, UInt64(additionalData.count),
                final ? SecretStream.finalTag : SecretStream.messageTag)
        }
        precondition(result == 0, "libsodium did not seal a message of \(message.count) bytes")
        isFinished = final
        return count
    }

    public mutating func seal(
        _ message: [UInt8], additionalData: [UInt8] = [], final: Bool = false
    ) throws(CryptoError) -> [UInt8] {
        var sealed = [UInt8](repeating: 0, count: message.count + SecretStream.overhead)
        var outcome: Result<Int, CryptoError> = .success(0)
        sealed.withUnsafeMutableBytes { sealed in
            message.withUnsafeBytes { message in
                additionalData.withUnsafeBytes { additionalData in
                    outcome = Result { () throws(CryptoError) in
                        try seal(message, additionalData: additionalData, final: final, into: sealed)
                    }
                }
            }
        }
        _ = try outcome.get()
        return sealed
    }
}

/// The receiving end. After one message that does not open it opens nothing more.
public struct StreamOpener: ~Copyable, Sendable {
    private var state = SecretStream.newState()
    private var isBroken = false
    /// Whether the FINAL message was opened.
    public private(set) var isFinished = false

    /// `key` has 32 bytes; `header` is what the other side sent first.
    public init(key: borrowing SecretBytes, header: [UInt8]) throws(CryptoError) {
        SecretStream.requireKeySize(key)
        guard header.count == SecretStream.headerSize else {
            let expected = SecretStream.headerSize...SecretStream.headerSize
            throw .wrongLength(of: .streamHeader, count: header.count, expected: expected)
        }
        key.withUnsafeBytes { key in
            _ = state.withStreamState { state in
                crypto_secretstream_xchacha20poly1305_init_pull(state, header, key.baseAddress!)
            }
        }
    }

    public init(key: SharedSecret, header: [UInt8]) throws(CryptoError) {
        try self.init(key: key.bytes, header: header)
    }

    /// Writes the message, `sealed.count - SecretStream.overhead` bytes, to the start of `message`.
    public mutating func open(
        _ sealed: UnsafeRawBufferPointer,
        additionalData: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        into message: UnsafeMutableRawBufferPointer
    ) throws(CryptoError) -> (count: Int, isFinal: Bool) {
        guard !isBroken else { throw .streamBroken }
        guard !isFinished else {
            isBroken = true
            throw .streamEnded
        }
        guard sealed.count >= SecretStream.overhead else {
            isBroken = true
            throw .wrongLength(of: .streamMessage, count: sealed.count, expected: SecretStream.overhead...Int.max)
        }
        let count = sealed.count - SecretStream.overhead
        guard message.count >= count else {
            throw .outputTooSmall(for: .streamMessage, count: message.count, needed: count)
        }
        var tag: UInt8 = 0
        let result = state.withStreamState { state in
            crypto_secretstream_xchacha20poly1305_pull(
                state, message.baseAddress, nil, &tag, sealed.baseAddress, UInt64(sealed.count),
                additionalData.baseAddress, UInt64(additionalData.count))
        }
        guard result == 0 else {
            isBroken = true
            throw .notAuthentic(.streamMessage)
        }
        guard tag == SecretStream.messageTag || tag == SecretStream.finalTag else {
            isBroken = true
            throw .unexpectedTag(.streamMessage, tag: tag)
        }
        isFinished = tag == SecretStream.finalTag
        return (count, isFinished)
    }

    public mutating func open(
        _ sealed: [UInt8], additionalData: [UInt8] = []
    ) throws(CryptoError) -> (message: [UInt8], isFinal: Bool) {
        var message = [UInt8](repeating: 0, count: max(0, sealed.count - SecretStream.overhead))
        var outcome: Result<(count: Int, isFinal: Bool), CryptoError> = .success((0, false))
        message.withUnsafeMutableBytes { message in
            sealed.withUnsafeBytes { sealed in
                additionalData.withUnsafeBytes { additionalData in
                    outcome = Result { () throws(CryptoError) in
                        try open(sealed, additionalData: additionalData, into: message)
                    }
                }
            }
        }
        return (message, try outcome.get().isFinal)
    }

    /// Call at the end of the connection: an end without FINAL is a cut, and what was being transferred is incomplete.
    public func endOfInput() throws(CryptoError) {
        if isBroken { throw .streamBroken }
        if !isFinished { throw .streamCut }
    }
}
