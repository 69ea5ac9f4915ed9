/// Why a phrase is no volume key. Positions count words from 1.
public enum PhraseError: Error, Equatable, Sendable {
    case tooLong
    case notAWord(position: Int, word: String)
    case wrongWordCount(found: Int)
    case checksumMismatch
}

extension PhraseError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .tooLong: "this is far too long for a volume key phrase of \(VolumeKey.phraseWordCount) words"
        case .notAWord(let position, let word):
            "word \(position) of the phrase, \"\(word)\", is not one: words have five letters like \"lusab\", "
                + "consonants b d f g h j k l m n p r s t v z and vowels a i o u in turn"
        case .wrongWordCount(let found):
            "the phrase has \(found) words, a volume key phrase has \(VolumeKey.phraseWordCount)"
        case .checksumMismatch:
            "every word of the phrase is possible, but together they are no key: one is wrong or two are swapped"
        }
    }
}

extension VolumeKey {
    static let phraseWordCount = 18
    private static let phraseWordsPerLine = 3
    private static let phraseCheckSize = 4
    private static let phraseLengthLimit = 4096

    /// The key as 18 pronounceable words in six lines of three, to be written down by hand. As secret as the key; a
    /// String cannot be wiped, so show it and let go of it.
    public var phrase: String {
        let check = VolumeKey.phraseChecksum(of: secret.bytes)
        return secret.withUnsafeBytes { key in
            var text = ""
            for word in 0..<VolumeKey.phraseWordCount {
                if word > 0 { text += word.isMultiple(of: VolumeKey.phraseWordsPerLine) ? "\n" : "-" }
                let high = 2 * word < key.count ? key[2 * word] : check[2 * word - key.count]
                let low = 2 * word < key.count ? key[2 * word + 1] : check[2 * word + 1 - key.count]
                text += Proquint.encode(UInt16(high) << 8 | UInt16(low))
            }
            return text
        }
    }

    /// Reads a phrase back. Case, the kind and number of blanks, line ends, dashes, commas and dots do not matter.
    public convenience init(phrase: String) throws(PhraseError) {
        guard phrase.utf8.count <= VolumeKey.phraseLengthLimit else { throw .tooLong }
        let words = phrase.split { $0.isWhitespace || "-‐‑‒–—−_,.;".contains($0) }
        var bytes = SecretBytes(count: VolumeKey.size + VolumeKey.phraseCheckSize)
        for (index, word) in words.enumerated() {
            guard let value = Proquint.decode(word) else {
                throw .notAWord(position: index + 1, word: String(word.prefix(16)))
            }
            guard index < VolumeKey.phraseWordCount else { continue }
            bytes.withUnsafeMutableBytes { bytes in
                bytes[2 * index] = UInt8(value >> 8)
                bytes[2 * index + 1] = UInt8(value & 0xff)
            }
        }
        guard words.count == VolumeKey.phraseWordCount else { throw .wrongWordCount(found: words.count) }

        let secret = bytes.withUnsafeBytes {
            SecretBytes(copying: UnsafeRawBufferPointer(rebasing: $0[..<VolumeKey.size]))
        }
        let check = VolumeKey.phraseChecksum(of: secret)
        let matches = bytes.withUnsafeBytes { bytes in
            check.withUnsafeBytes { constantTimeEqual($0, UnsafeRawBufferPointer(rebasing: bytes[VolumeKey.size...])) }
        }
        guard matches else { throw .checksumMismatch }
        self.init(checkedSecret: secret)
    }

    private static func phraseChecksum(of key: borrowing SecretBytes) -> [UInt8] {
        key.withUnsafeBytes { blake2b($0, personal: "lanfs-phrase-sum", count: phraseCheckSize) }
    }
}

/// Pronounceable five-letter words for 16 bits each (Wilkerson, "A Proposal for Proquints", 2009): consonants carry
/// four bits, vowels two, most significant first.
enum Proquint {
    private static let consonants = Array("bdfghjklmnprstvz".utf8)
    private static let vowels = Array("aiou".utf8)

    static func encode(_ value: UInt16) -> String {
        let letters = [
            consonants[Int(value >> 12)], vowels[Int(value >> 10 & 3)], consonants[Int(value >> 6 & 15)],
            vowels[Int(value >> 4 & 3)], consonants[Int(value & 15)],
        ]
        return String(decoding: letters, as: UTF8.self)
    }

    /// Nil unless `word` is a proquint, in either case.
    static func decode(_ word: some StringProtocol) -> UInt16? {
        guard word.utf8.count == 5 else { return nil }
        var value: UInt16 = 0
        for (index, letter) in word.utf8.enumerated() {
            let lowercase = (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(letter) ? letter | 0x20 : letter
            let isVowel = !index.isMultiple(of: 2)
            guard let code = (isVowel ? vowels : consonants).firstIndex(of: lowercase) else { return nil }
            value = value << (isVowel ? 2 : 4) | UInt16(code)
        }
        return value
    }
}
