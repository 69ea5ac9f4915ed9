/// A 32-byte identifier; the tag keeps blocks, volumes and servers apart at compile time.
///
/// Kept as four big-endian words, so that comparing words compares the bytes and no identifier costs an allocation.
public struct ID<Tag>: Hashable, Comparable, Sendable {
    public static var size: Int { 32 }

    public let word0, word1, word2, word3: UInt64

    @inlinable
    public init(word0: UInt64, word1: UInt64, word2: UInt64, word3: UInt64) {
        self.word0 = word0
        self.word1 = word1
        self.word2 = word2
        self.word3 = word3
    }

    /// `nil` unless there are exactly 32 bytes.
    @inlinable
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.size else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: bytes) }
        self.init(
            word0: UInt64(bigEndian: words.0), word1: UInt64(bigEndian: words.1),
            word2: UInt64(bigEndian: words.2), word3: UInt64(bigEndian: words.3))
    }

    /// `nil` unless `hex` is 64 hexadecimal digits.
    public init?(hex: some StringProtocol) {
        let digits = Array(hex.utf8)
        guard digits.count == 2 * Self.size else { return nil }
        var bytes: [UInt8] = []
        for pair in stride(from: 0, to: digits.count, by: 2) {
            guard let high = hexDigit(digits[pair]), let low = hexDigit(digits[pair + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        self.init(bytes)
    }

    @inlinable public static var zero: Self { Self(word0: 0, word1: 0, word2: 0, word3: 0) }

    @inlinable
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        let words = (word0.bigEndian, word1.bigEndian, word2.bigEndian, word3.bigEndian)
        return Swift.withUnsafeBytes(of: words, body)
    }

    @inlinable public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

    public var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool {
        (left.word0, left.word1, left.word2, left.word3) < (right.word0, right.word1, right.word2, right.word3)
    }

    /// Block ids are hashes and the others are public keys: one word of them is as good as all four.
    @inlinable
    public func hash(into hasher: inout Hasher) {
        hasher.combine(word0)
    }
}

extension ID: CustomStringConvertible {
    public var description: String { hex }
}

private func hexDigit(_ character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
    default: nil
    }
}

public enum BlockTag {}
public enum VolumeTag {}
public enum ServerTag {}
public enum BlockKeyTag {}

/// SHA-256 of a block's sealed bytes: the name proves the bytes (B1).
public typealias BlockID = ID<BlockTag>
/// The public half of the volume's Ed25519 signing key.
public typealias VolumeID = ID<VolumeTag>
/// A server's static X25519 public key.
public typealias ServerID = ID<ServerTag>
/// The random secret that opens one block's frames. A plain value because the tree holds one per extent, millions of
/// them; it never leaves the client except sealed.
public typealias BlockKey = ID<BlockKeyTag>
