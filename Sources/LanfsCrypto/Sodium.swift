import CSodium

/// libsodium's one-time start. Everything in this room that calls libsodium calls `initialize()` first, so users of the
/// room never have to; after the first call it costs one load and one compare.
public enum Sodium {
    private static let ready: Void = {
        // The only cause is a kernel without any source of randomness: no key made after that could be trusted.
        guard sodium_init() >= 0 else { fatalError("libsodium cannot start: this machine gives no random bytes") }
    }()

    public static func initialize() { _ = ready }
}

/// `count` bytes nobody can predict, from the kernel's generator.
public func randomBytes(_ count: Int) -> [UInt8] {
    Sodium.initialize()
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        if let base = buffer.baseAddress { randombytes_buf(base, count) }
        initialized = count
    }
}

/// Overwrites the array's bytes with zeros in a way the optimizer does not remove. It wipes this array only: copies
/// that were made of it before, also by copy-on-write, keep theirs. Secrets that live longer belong in `SecretBytes`.
public func wipe(_ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { wipe($0) }
}

public func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    sodium_memzero(base, bytes.count)
}

/// Compares without telling by its duration where the first difference is. Lengths are not secret.
public func constantTimeEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    guard let first = a.baseAddress, let second = b.baseAddress else { return true }
    return sodium_memcmp(first, second, a.count) == 0
}

public func constantTimeEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.withBytes { a in b.withBytes { b in constantTimeEqual(a, b) } }
}

extension Array where Element == UInt8 {
    /// `withUnsafeBytes` whose closure's error type survives: the standard library's erases it.
    @inlinable
    func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try withUnsafeBufferPointer { (buffer) throws(E) -> R in try body(UnsafeRawBufferPointer(buffer)) }
    }
}
