import TestSupport
import Testing

@testable import lanfs

@Suite("Whatever is typed")
struct FuzzTests {
    /// Pieces that reach deep into the parser, mixed with noise.
    private static let pieces: [[UInt8]] = {
        let commands = Subcommand.commands + [MountHelper.command, Invocation.help]
        let spellings = commands.flatMap(\.options).flatMap(ShellText.spellings)
        let values = [
            "=", "-", "--", "", ",", "\\", "/", ".", "..", ":", "[", "]", "%", "0", "-1", "1.5T", "10G", "30s", "1h30m",
            "65536", "::1",
            "ro", "uid", "umask=7", "key=", "99999999999999999999", "0.0000000000000000000001K", "\u{1B}", "é", "help",
            "none",
        ]
        return (Subcommand.allCases.map(\.rawValue) + spellings + values + MountWord.table.map(\.name)).map {
            Array($0.utf8)
        }
    }()

    @Test("is understood or refused in words for a terminal, and never traps", arguments: [1, 2, 3, 4] as [UInt64])
    func randomWords(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<5_000 {
            var words: [Argument] = [Int.random(in: 0..<8, using: &random) == 0 ? "mount.lanfs" : "lanfs"]
            if Bool.random(using: &random) {
                words.append(Argument(Subcommand.allCases.randomElement(using: &random)?.rawValue ?? ""))
            }
            for _ in 0..<Int.random(in: 0..<6, using: &random) {
                var bytes: [UInt8] = []
                for _ in 0..<Int.random(in: 1..<4, using: &random) {
                    if Int.random(in: 0..<6, using: &random) == 0 {
                        bytes.append(UInt8.random(in: 1...255, using: &random))
                    } else {
                        bytes += Self.pieces.randomElement(using: &random) ?? []
                    }
                }
                words.append(Argument(bytes))
            }
            guard let message = refusal(of: words) else { continue }
            let isPlain = !Printable.needsEscape(Array(message.utf8)) && !message.isEmpty
            if !isPlain {
                Issue.record("seed \(seed), round \(round): \(message.debugDescription) for \(words.map(\.shown))")
            }
        }
    }
}
