/// One word of the command line, byte for byte: names of files need not be UTF-8.
struct Argument: Hashable, Sendable, ExpressibleByStringLiteral {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }
    init(_ text: String) { self.bytes = Array(text.utf8) }
    init(stringLiteral text: String) { self.init(text) }

    /// The word as text, or nil when it is not UTF-8.
    var text: String? { String(validating: bytes, as: UTF8.self) }

    /// The word as it may be shown in a message: control characters and stray bytes are escaped.
    var shown: String { Printable.text(bytes) }

    /// The word in quotes, for messages.
    var quoted: String { "'\(shown)'" }

    /// The words the process was started with, its own name first.
    static func ofProcess() -> [Argument] {
        var words: [Argument] = []
        let vector = CommandLine.unsafeArgv
        for index in 0..<Int(CommandLine.argc) {
            guard let word = vector[index] else { break }
            words.append(
                Argument(
                    [UInt8](UnsafeBufferPointer(start: word, count: stringLength(word)).map(UInt8.init(bitPattern:)))))
        }
        return words
    }

    private static func stringLength(_ word: UnsafePointer<CChar>) -> Int {
        var length = 0
        while word[length] != 0 { length += 1 }
        return length
    }
}
