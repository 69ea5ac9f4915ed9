import TestSupport
import Testing

@testable import LanfsCrypto

@Suite("Volume key phrases")
struct VolumeKeyPhraseTests {
    // From the paper, section "Examples": IPv4 addresses as two proquints each.
    @Test("are made of Wilkerson's proquints")
    func proquints() {
        let examples: [(UInt32, String)] = [
            (0x7f00_0001, "lusab-babad"), (0x3f54_dcc1, "gutih-tugad"), (0x3f76_0723, "gutuk-bisog"),
            (0x8c62_c18d, "mudof-sakat"), (0x40ff_06c8, "haguz-biram"), (0x801e_342d, "mabiv-gibot"),
            (0x9343_7702, "natag-lisaf"), (0xd43a_fd44, "tibup-zujah"), (0xd823_44d7, "tobog-higil"),
            (0xd844_e815, "todah-vobij"), (0xc651_8188, "sinid-makam"), (0x0c6e_6ecc, "budov-kuras"),
        ]
        for (value, words) in examples {
            #expect(Proquint.encode(UInt16(value >> 16)) + "-" + Proquint.encode(UInt16(value & 0xffff)) == words)
        }
        for value in UInt16.min...UInt16.max { #expect(Proquint.decode(Proquint.encode(value)) == value) }
        for bad in ["", "luse", "lusabb", "lusac", "uslab", "lüsab", "12345", "lu ab", "lusa\u{300}"] {
            #expect(Proquint.decode(bad) == nil, "\(bad)")
        }
    }

    // Words and checksum computed in Python.
    static let text = """
        babad-bamag-bibaj
        bimal-boban-bomar
        bubat-bumaz-dabid
        damig-dibij-dimil
        dobin-domir-dubit
        dumiz-lolih-guluh
        """

    @Test("are the text of the format")
    func golden() throws {
        #expect(VolumeKey.fixed().phrase == Self.text)
        #expect(try VolumeKey(phrase: Self.text).secret == secret(keyBytes))
    }

    @Test("come back for a thousand keys")
    func roundTrip() throws {
        for seed in 0..<1000 as Range<UInt64> {
            var random = SplitMix64(seed: seed)
            let bytes = random.bytes(32)
            #expect(try VolumeKey(phrase: VolumeKey.fixed(bytes).phrase).secret == secret(bytes), "seed \(seed)")
        }
    }

    @Test(
        "are read however they were typed",
        arguments: [
            text.uppercased(), text.replacing("\n", with: " "), text.replacing("-", with: "  "),
            " \t" + text.replacing("\n", with: "\r\n") + "\n\n", text.replacing("-", with: "\u{2013}"),
            text.replacing("-", with: ", "), text.replacing("\n", with: "-"), text.replacing("-", with: "\u{a0}"),
        ])
    func tolerance(typed: String) throws {
        #expect(try VolumeKey(phrase: typed).secret == secret(keyBytes))
    }

    @Test("with any letter changed are refused, and an impossible word is named")
    func changedLetters() {
        let words = Self.text.split { !$0.isLetter }.map(String.init)
        for (index, word) in words.enumerated() {
            for position in 0..<5 {
                for letter in UInt8(ascii: "a")...UInt8(ascii: "z") where Array(word.utf8)[position] != letter {
                    var letters = Array(word.utf8)
                    letters[position] = letter
                    let changed = String(decoding: letters, as: UTF8.self)
                    var phrase = words
                    phrase[index] = changed
                    let expected: PhraseError =
                        Proquint.decode(changed) == nil
                        ? .notAWord(position: index + 1, word: changed) : .checksumMismatch
                    #expect(throws: expected) { try VolumeKey(phrase: phrase.joined(separator: " ")) }
                }
            }
        }
    }

    @Test("with words exchanged, missing, added or run together are refused")
    func wrongWords() {
        let words = Self.text.split { !$0.isLetter }.map(String.init)
        func check(_ words: [String], _ expected: PhraseError) {
            #expect(throws: expected) { try VolumeKey(phrase: words.joined(separator: " ")) }
            #expect(!expected.description.isEmpty)
        }
        for first in words.indices {
            for second in words.indices where first < second {
                var changed = words
                changed.swapAt(first, second)
                check(changed, .checksumMismatch)
            }
            var shorter = words
            shorter.remove(at: first)
            check(shorter, .wrongWordCount(found: 17))
            var longer = words
            longer.insert(words[first], at: first)
            check(longer, .wrongWordCount(found: 19))
        }
        check([], .wrongWordCount(found: 0))
        check(["hunter2"] + words, .notAWord(position: 1, word: "hunter2"))
        check([words[0] + words[1]] + words[2...], .notAWord(position: 1, word: words[0] + words[1]))
        check([String(repeating: "x", count: 100)], .notAWord(position: 1, word: String(repeating: "x", count: 16)))
        check([String(repeating: "lusab ", count: 1000)], .tooLong)
    }
}
