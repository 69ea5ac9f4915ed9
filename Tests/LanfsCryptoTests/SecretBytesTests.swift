import Testing

@testable import LanfsCrypto

@Suite("Secrets")
struct SecretBytesTests {
    @Test("start as zeros, of any size", arguments: [0, 1, 31, 32, 33, 4096, 4097])
    func startAsZeros(count: Int) {
        let bytes = SecretBytes(count: count)
        #expect(bytes.count == count)
        #expect(bytes.revealed() == [UInt8](repeating: 0, count: count))
    }

    @Test("hold a copy of what they were made from")
    func holdACopy() {
        var source = keyBytes
        let bytes = SecretBytes(copying: source)
        wipe(&source)
        #expect(bytes.revealed() == keyBytes)
        #expect(source == [UInt8](repeating: 0, count: 32))
        #expect(bytes.copy().revealed() == keyBytes)
    }

    @Test("are equal exactly when every byte is")
    func equality() {
        for index in 0..<32 {
            var other = keyBytes
            other[index] ^= 0x80
            #expect(!equal(keyBytes, other))
            #expect(secret(keyBytes) != secret(other))
        }
        #expect(equal(keyBytes, keyBytes))
        #expect(!equal(keyBytes, Array(keyBytes.dropLast())))
        #expect(equal([], []))
        #expect(secret(keyBytes) == secret(keyBytes))
    }

    private func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        SecretBytes(copying: a).isEqual(to: SecretBytes(copying: b))
    }

    @Test("can be written in place, and filled from a part of another")
    func writing() {
        var bytes = SecretBytes(count: 4)
        bytes.withUnsafeMutableBytes { $0[2] = 7 }
        #expect(bytes.revealed() == [0, 0, 7, 0])
        bytes.fill(from: SecretBytes(copying: keyBytes), at: 28)
        #expect(bytes.revealed() == [28, 29, 30, 31])
        bytes.wipe()
        #expect(bytes.revealed() == [0, 0, 0, 0])
    }

    @Test("made at random differ, and are not zeros")
    func random() {
        let first = SecretBytes(random: 32)
        let second = SecretBytes(random: 32)
        #expect(first.revealed() != second.revealed())
        #expect(first.revealed() != [UInt8](repeating: 0, count: 32))
        #expect(randomBytes(32) != randomBytes(32))
        #expect(randomBytes(0).isEmpty)
    }

    @Test("compare lengths first, contents in constant time")
    func constantTime() {
        #expect(constantTimeEqual([], []))
        #expect(constantTimeEqual([1, 2], [1, 2]))
        #expect(!constantTimeEqual([1, 2], [1, 3]))
        #expect(!constantTimeEqual([1, 2], [1, 2, 3]))
    }
}
