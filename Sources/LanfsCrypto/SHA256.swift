internal import Crypto

/// SHA-256 comes from swift-crypto and not from libsodium because it uses the CPU's SHA instructions: four times as
/// fast.
public let sha256Size = 32

public func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: sha256Size) { buffer, initialized in
        sha256(bytes, into: UnsafeMutableRawBufferPointer(buffer))
        initialized = sha256Size
    }
}

public func sha256(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { sha256($0) } }

/// Writes the 32 bytes of the digest to the start of `digest`.
public func sha256(_ bytes: UnsafeRawBufferPointer, into digest: UnsafeMutableRawBufferPointer) {
    var hasher = SHA256Hasher()
    hasher.update(bytes)
    hasher.finalize(into: digest)
}

/// SHA-256 of data that comes in pieces. A copy continues on its own from where it was taken.
public struct SHA256Hasher: Sendable {
    private var state = SHA256()

    public init() {}

    public mutating func update(_ bytes: UnsafeRawBufferPointer) { state.update(bufferPointer: bytes) }

    public mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { state.update(bufferPointer: $0) } }

    /// The digest of everything so far.
    public func finalize() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: sha256Size) { buffer, initialized in
            finalize(into: UnsafeMutableRawBufferPointer(buffer))
            initialized = sha256Size
        }
    }

    public func finalize(into digest: UnsafeMutableRawBufferPointer) {
        precondition(digest.count >= sha256Size, "a SHA-256 digest needs 32 bytes, the buffer has \(digest.count)")
        state.finalize().withUnsafeBytes { digest.copyMemory(from: $0) }
    }
}
