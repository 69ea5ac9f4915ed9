import CSodium

/// Bytes that must not leak: outside the ordinary heap, locked out of swap and core dumps where the system allows it,
/// between guard pages, wiped when the value ends. Not copyable, so there is one of each.
///
/// Each takes at least four pages and a few system calls: right for keys that live as long as a volume, a server or a
/// connection, wrong for the thousands of block keys (those are themselves sealed inside the tree's nodes).
///
/// `@unchecked Sendable` because of the pointer: nobody else has it (the initializers make it, the type is not
/// copyable, no method hands it out beyond its closure), and writing needs `mutating`, so Swift's exclusivity rules let
/// no reader run beside a writer.
public struct SecretBytes: ~Copyable, @unchecked Sendable {
    @usableFromInline let base: UnsafeMutableRawPointer
    public let count: Int

    /// `count` zero bytes. The count is the program's own, never one read from outside.
    public init(count: Int) {
        precondition(count >= 0, "a secret cannot have \(count) bytes")
        Sodium.initialize()
        guard let memory = sodium_malloc(count) else { fatalError("no memory for a secret of \(count) bytes") }
        sodium_memzero(memory, count)
        base = memory
        self.count = count
    }

    public init(random count: Int) {
        self.init(count: count)
        randombytes_buf(base, count)
    }

    /// A copy; wiping the original is the caller's.
    public init(copying bytes: UnsafeRawBufferPointer) {
        self.init(count: bytes.count)
        if let source = bytes.baseAddress { base.copyMemory(from: source, byteCount: bytes.count) }
    }

    public init(copying bytes: [UInt8]) {
        self.init(count: bytes.count)
        bytes.withUnsafeBytes { [base] bytes in
            if let source = bytes.baseAddress { base.copyMemory(from: source, byteCount: bytes.count) }
        }
    }

    deinit {
        sodium_memzero(base, count)
        sodium_free(base)
    }

    public func copy() -> SecretBytes { withUnsafeBytes { SecretBytes(copying: $0) } }

    @inlinable
    public func withUnsafeBytes<R: ~Copyable, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }

    @inlinable
    public mutating func withUnsafeMutableBytes<R: ~Copyable, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeMutableRawBufferPointer(start: base, count: count))
    }

    /// Overwrites all of this secret with as many bytes of `other`, from `offset` on.
    mutating func fill(from other: borrowing SecretBytes, at offset: Int = 0) {
        precondition(offset >= 0 && other.count - offset >= count, "the other secret is too short")
        base.copyMemory(from: other.base + offset, byteCount: count)
    }

    mutating func wipe() { sodium_memzero(base, count) }

    /// Constant-time comparison.
    public func isEqual(to other: borrowing SecretBytes) -> Bool {
        other.withUnsafeBytes { isEqual(to: $0) }
    }

    public func isEqual(to other: UnsafeRawBufferPointer) -> Bool {
        withUnsafeBytes { constantTimeEqual($0, other) }
    }
}

/// One secret that several owners hold, wiped when the last lets go. Sendable without further proof: its only property
/// is a constant of a Sendable type, so after `init` the bytes are only ever read.
public final class SharedSecret: Sendable {
    public let bytes: SecretBytes

    public init(_ bytes: consuming SecretBytes) { self.bytes = bytes }

    public convenience init(random count: Int) { self.init(SecretBytes(random: count)) }

    public convenience init(copying bytes: UnsafeRawBufferPointer) { self.init(SecretBytes(copying: bytes)) }

    public convenience init(copying bytes: [UInt8]) { self.init(SecretBytes(copying: bytes)) }

    public var count: Int { bytes.count }

    @inlinable
    public func withUnsafeBytes<R: ~Copyable, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try bytes.withUnsafeBytes(body)
    }
}

extension SharedSecret: Equatable {
    public static func == (a: SharedSecret, b: SharedSecret) -> Bool { a.bytes.isEqual(to: b.bytes) }
}
