import TestSupport
import Testing

@testable import LanfsCrypto

@Suite("Sealed frames")
struct FrameSealTests {
    private let key = keyBytes

    @Test("open to what was sealed, at every size", arguments: sizes)
    func roundTrip(size: Int) throws {
        var random = SplitMix64(seed: UInt64(size))
        let plaintext = random.bytes(size)
        let sealed = FrameSeal.seal(plaintext, key: key, index: 5)
        #expect(sealed.count == size + FrameSeal.overhead)
        #expect(FrameSeal.overhead == 41)
        #expect(try FrameSeal.open(sealed, key: key, index: 5) == plaintext)
        #expect(try FrameSeal.open(sealed, key: secret(key), index: 5) == plaintext)
        #expect(FrameSeal.seal(plaintext, key: secret(key), index: 5) != sealed, "the header must be random")
        if size > 16 { #expect(!sealed.contains(plaintext)) }
    }

    // Sealed by Python's PyNaCl: header || secretstream message, index 0x01020304 little-endian as associated data.
    @Test("have the layout of the format")
    func goldenFrame() throws {
        let sealed = hex(
            "966c7164dd48ecd61a0d21acd230b433643f7f3bee44208c9f84f2bade3dcac78f49738710bfbb631d94d18d1a1961aaa701a45a"
                + "6f21c76c9d8bbb7b91a717c333a575")
        #expect(
            try FrameSeal.open(sealed, key: key, index: 0x0102_0304) == Array("one frame of a lanfs block".utf8))
    }

    // Sealed by PyNaCl with TAG_MESSAGE: the first message of a longer stream, that is a frame cut off.
    @Test("that are not marked FINAL are refused")
    func notFinal() {
        let sealed = hex(
            "38c81b9a83584e8cc22652e3d73dc1bfb7bf940253545d39b963cc34ae975f6b27890803a08c17ef5ccbb614cafbffab6d91a843"
                + "9311e837381f610a91f10c8e41c669")
        #expect(throws: CryptoError.unexpectedTag(.frame, tag: 0)) {
            try FrameSeal.open(sealed, key: keyBytes, index: 7)
        }
    }

    @Test("with any bit flipped do not open", arguments: [0, 1, 64])
    func flippedBits(size: Int) {
        let sealed = FrameSeal.seal([UInt8](repeating: 7, count: size), key: key, index: 0)
        for bit in 0..<8 * sealed.count {
            var damaged = sealed
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: CryptoError.notAuthentic(.frame), "bit \(bit)") {
                try FrameSeal.open(damaged, key: key, index: 0)
            }
        }
    }

    @Test("cut off or made longer do not open")
    func wrongLengths() {
        let sealed = FrameSeal.seal([UInt8](repeating: 7, count: 20), key: key, index: 0)
        for count in 0..<sealed.count {
            let expected: CryptoError =
                count < FrameSeal.overhead
                ? .wrongLength(of: .frame, count: count, expected: 41...Int.max) : .notAuthentic(.frame)
            #expect(throws: expected) { try FrameSeal.open(Array(sealed[..<count]), key: key, index: 0) }
        }
        #expect(throws: CryptoError.notAuthentic(.frame)) { try FrameSeal.open(sealed + [0], key: key, index: 0) }
    }

    @Test("open only at their own index and with their own key")
    func bindings() {
        let sealed = FrameSeal.seal([1, 2, 3], key: key, index: 1)
        for index: UInt32 in [0, 2, 0x0100_0000, .max] {
            #expect(throws: CryptoError.notAuthentic(.frame)) { try FrameSeal.open(sealed, key: key, index: index) }
        }
        for index in 0..<32 {
            var other = key
            other[index] ^= 1
            #expect(throws: CryptoError.notAuthentic(.frame)) { try FrameSeal.open(sealed, key: other, index: 1) }
        }
        #expect(throws: CryptoError.wrongLength(of: .symmetricKey, count: 31, expected: 32...32)) {
            try FrameSeal.open(sealed, key: Array(key.dropLast()), index: 1)
        }
    }

    @Test("use the caller's buffers and write nothing beside or before the proof")
    func callersBuffers() throws {
        let plaintext: [UInt8] = [1, 2, 3]
        var sealed = [UInt8](repeating: 0xaa, count: 50)
        plaintext.withUnsafeBytes { plaintext in
            key.withUnsafeBytes { key in
                sealed.withUnsafeMutableBytes { FrameSeal.seal(plaintext, key: key, index: 9, into: $0) }
            }
        }
        #expect(Array(sealed[44...]) == [UInt8](repeating: 0xaa, count: 6))
        var opened = [UInt8](repeating: 0xbb, count: 5)
        func open(_ sealed: [UInt8], roomFor room: Int) throws -> Int {
            try sealed.withUnsafeBytes { sealed in
                try key.withUnsafeBytes { key in
                    try opened.withUnsafeMutableBytes {
                        let output = UnsafeMutableRawBufferPointer(rebasing: $0[..<room])
                        return try FrameSeal.open(sealed, key: key, index: 9, into: output)
                    }
                }
            }
        }
        sealed = Array(sealed[..<44])
        #expect(throws: CryptoError.outputTooSmall(for: .frame, count: 2, needed: 3)) {
            try open(sealed, roomFor: 2)
        }
        var damaged = sealed
        damaged[30] ^= 1
        #expect(throws: CryptoError.notAuthentic(.frame)) { try open(damaged, roomFor: 5) }
        #expect(opened == [UInt8](repeating: 0xbb, count: 5))
        #expect(try open(sealed, roomFor: 5) == 3)
        #expect(opened == [1, 2, 3, 0xbb, 0xbb])
    }
}
