import Glibc

/// The bytes of test files: a function of seed and position that does not compress, so that any page that comes back
/// wrong, old or from elsewhere is noticed. Making and checking them costs little more than memcpy and memcmp.
struct Pattern: Sendable {
    static let pageSize = 4096

    private let seed: UInt64
    /// Random bytes that every piece of the file has; the first word of each page says which page it is.
    private let base: [UInt8]

    init(seed: Int) {
        self.seed = UInt64(seed)
        var generator = SplitMix64(state: self.seed)
        base = (0..<(1 << 20) / 8).flatMap { _ in withUnsafeBytes(of: generator.next(), Array.init) }
    }

    /// Fills whole pages with what belongs at `offset`.
    func fill(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int) {
        base.withUnsafeBytes { base in
            for start in stride(from: 0, to: buffer.count, by: Self.pageSize) {
                let page = (offset + start) / Self.pageSize
                let source = UnsafeRawBufferPointer(rebasing: base[place(of: page)..<place(of: page) + Self.pageSize])
                UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + Self.pageSize]).copyMemory(from: source)
                buffer.storeBytes(of: stamp(of: page), toByteOffset: start, as: UInt64.self)
            }
        }
    }

    /// Compares every byte of whole pages.
    func matches(_ buffer: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        base.withUnsafeBytes { base in
            stride(from: 0, to: buffer.count, by: Self.pageSize).allSatisfy { start in
                let page = (offset + start) / Self.pageSize
                return buffer.loadUnaligned(fromByteOffset: start, as: UInt64.self) == stamp(of: page)
                    && memcmp(buffer.baseAddress! + start + 8, base.baseAddress! + place(of: page) + 8, Self.pageSize - 8) == 0
            }
        }
    }

    /// Looks at the first word of every page: all that a timed loop can afford.
    func looksRight(_ buffer: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        stride(from: 0, to: buffer.count, by: Self.pageSize).allSatisfy { start in
            buffer.loadUnaligned(fromByteOffset: start, as: UInt64.self) == stamp(of: (offset + start) / Self.pageSize)
        }
    }

    private func place(of page: Int) -> Int { page * Self.pageSize % base.count }

    private func stamp(of page: Int) -> UInt64 {
        var generator = SplitMix64(state: seed ^ UInt64(page) &* 0xD134_2543_DE82_EF95)
        return generator.next()
    }
}

struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
