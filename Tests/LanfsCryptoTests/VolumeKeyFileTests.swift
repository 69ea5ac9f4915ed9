import TestSupport
import Testing

@testable import LanfsCrypto

@Suite("Volume key files")
struct VolumeKeyFileTests {
    // The checksum is from Python's hashlib.blake2b.
    static let text = """
        # lanfs volume key: whoever has this file can read and change the whole volume.
        # Keep a copy in a safe place: without it nobody can open the volume again.
        lanfs-volume-key 1
        volume 65557c3064e3938a55dfcac37b3a7fe3070b59eb8ea29b039ad0af4bcf835bd3
        key 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        check 46d1afa64cee74dc

        """

    private func decode(_ text: String) throws(KeyFileError) -> VolumeKey { try VolumeKeyFile.decode(Array(text.utf8)) }

    @Test("are the text of the format")
    func golden() throws {
        let encoded = VolumeKeyFile.encode(.fixed()).revealed()
        #expect(String(decoding: encoded, as: UTF8.self) == Self.text)
        #expect(try decode(Self.text).secret == secret(keyBytes))
    }

    @Test("come back for any key")
    func roundTrip() throws {
        for seed in 0..<100 as Range<UInt64> {
            var random = SplitMix64(seed: seed)
            let key = VolumeKey.fixed(random.bytes(32))
            let file = VolumeKeyFile.encode(key)
            let decoded = try file.withUnsafeBytes { (file) throws(KeyFileError) in try VolumeKeyFile.decode(file) }
            #expect(decoded.secret == key.secret, "seed \(seed)")
        }
    }

    /// The file without what may be freely changed: comments, empty lines, blanks at line ends.
    private func essence(_ file: [UInt8]) -> [[UInt8]] {
        file.split(separator: UInt8(ascii: "\n")).compactMap { line in
            if line.first == UInt8(ascii: "#") { return nil }
            let text = line.reversed().drop { [0x20, 0x09, 0x0d].contains($0) }.reversed()
            return text.isEmpty ? nil : Array(text)
        }
    }

    /// Damage is noticed, or it was none: it opens only if it says the same.
    private func checkDamaged(_ file: [UInt8], _ what: @autoclosure () -> String) {
        let original = essence(Array(Self.text.utf8))
        if let key = try? VolumeKeyFile.decode(file) {
            #expect(essence(file) == original, "\(what()) was not noticed")
            #expect(key.secret == secret(keyBytes))
        } else {
            #expect(essence(file) != original, "\(what()) should not matter")
        }
    }

    @Test("with any byte changed are refused")
    func changedBytes() {
        let file = Array(Self.text.utf8)
        let others = Array("0fagGA \t\r\n#-.".utf8) + [0, 0x7f, 0x80, 0xff]
        for position in file.indices {
            for replacement in (0..<8).map({ file[position] ^ (1 << $0) }) + others
            where replacement != file[position] {
                var damaged = file
                damaged[position] = replacement
                checkDamaged(damaged, "byte \(position) as \(replacement)")
            }
        }
    }

    @Test("with any byte missing, inserted or doubled are refused, and so is any beginning of one")
    func insertionsAndDeletions() {
        let file = Array(Self.text.utf8)
        for position in file.indices {
            var damaged = file
            damaged.remove(at: position)
            checkDamaged(damaged, "without byte \(position)")
            for inserted in Array("0f \n#".utf8) + [file[position], 0xff] {
                damaged = file
                damaged.insert(inserted, at: position)
                checkDamaged(damaged, "\(inserted) before byte \(position)")
            }
            checkDamaged(Array(file[..<position]), "the first \(position) bytes")
        }
    }

    @Test("with two digits exchanged are refused")
    func exchangedDigits() {
        let file = Array(Self.text.utf8)
        for position in file.indices.dropLast() where file[position] != file[position + 1] {
            var damaged = file
            damaged.swapAt(position, position + 1)
            checkDamaged(damaged, "bytes \(position) and \(position + 1)")
        }
    }

    @Test("are not bothered by comments, empty lines, blanks at line ends, or Windows")
    func tolerance() throws {
        let loose = Self.text.split(separator: "\n").joined(separator: " \r\n\n# note\n")
        #expect(try decode(loose).secret == secret(keyBytes))
        #expect(try decode("\n\n" + Self.text + "# end").secret == secret(keyBytes))
    }

    @Test("say what is wrong with them")
    func errors() {
        let body = Self.text.split(separator: "\n").dropFirst(2).map(String.init)
        func check(_ lines: [String], _ expected: KeyFileError) {
            #expect(throws: expected) { try decode(lines.joined(separator: "\n")) }
            #expect(!expected.description.isEmpty)
        }
        check([], .notAKeyFile)
        check(["# only a comment"], .notAKeyFile)
        check(["-----BEGIN OPENSSH PRIVATE KEY-----"], .notAKeyFile)
        check(["lanfs-volume-key 2"], .unsupportedVersion("2"))
        check(["lanfs-volume-key 1"], .missingLine("volume"))
        check(Array(body[..<2]), .missingLine("key"))
        check(Array(body[..<3]), .missingLine("check"))
        check(
            [body[0], body[2], body[1], body[3]],
            .malformedLine(number: 2, expected: "\"volume\" and 64 digits 0-9 a-f"))
        check(body + ["more"], .malformedLine(number: 5, expected: "the end of the file"))
        check([body[0], body[1], body[2].replacing("0001", with: "0002"), body[3]])
        #expect(throws: KeyFileError.tooLarge(bytes: 4097)) {
            try VolumeKeyFile.decode([UInt8](repeating: UInt8(ascii: "\n"), count: 4097))
        }
        func check(_ lines: [String]) { check(lines, .checksumMismatch) }
    }

    @Test("that were put together of two volumes are refused")
    func otherVolume() {
        // The checksum of volume id 00..00 and the key 00 01 ... 1f.
        let id = [UInt8](repeating: 0, count: 32)
        let check = (id + keyBytes).withUnsafeBytes { blake2b($0, personal: "lanfs-keyfile-v1", count: 8) }
        let text = """
            lanfs-volume-key 1
            volume \(Hex.encode(id))
            key \(Hex.encode(keyBytes))
            check \(Hex.encode(check))
            """
        #expect(throws: KeyFileError.otherVolume) { try decode(text) }
    }

    @Test("of any garbage are refused without a trap")
    func garbage() {
        for seed in 0..<300 as Range<UInt64> {
            var random = SplitMix64(seed: seed)
            let file = random.bytes(Int.random(in: 0...600, using: &random))
            #expect(throws: KeyFileError.self, "seed \(seed)") { try VolumeKeyFile.decode(file) }
        }
    }
}
