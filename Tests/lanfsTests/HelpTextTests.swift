import Testing

@testable import lanfs

@Suite("Help")
struct HelpTextTests {
    static let commands = Subcommand.commands + [MountHelper.command, Invocation.help]

    @Test("fits into 80 columns, and has no line that ends in a space", arguments: commands.map(\.invocation))
    func width(invocation: String) throws {
        let command = try #require(Self.commands.first { $0.invocation == invocation })
        for line in HelpText.text(command).split(separator: "\n", omittingEmptySubsequences: false) {
            #expect(line.count <= 80, "\(line)")
            #expect(line.last != " ", "\(line)")
        }
    }

    @Test("names every option and explains it on one line", arguments: commands.map(\.invocation))
    func everyOption(invocation: String) throws {
        let command = try #require(Self.commands.first { $0.invocation == invocation })
        let lines = HelpText.text(command).split(separator: "\n")
        for row in command.options {
            #expect(
                lines.contains { $0.hasPrefix("  \(HelpText.synopsis(row)) ") && $0.hasSuffix(" \(row.help)") },
                "\(row.long)")
        }
    }

    @Test("the overview fits, and names every command")
    func overview() {
        let lines = HelpText.overview.split(separator: "\n")
        for line in lines { #expect(line.count <= 80, "\(line)") }
        for command in Subcommand.commands { #expect(lines.contains { $0.hasPrefix("  \(command.name) ") }) }
        #expect(lines.count <= 24, "it fits on a terminal's screen")
    }

    @Test("reads as it is meant to")
    func snapshot() {
        #expect(
            HelpText.text(KeygenOptions.command) == """
                Usage: lanfs keygen [OPTION]... [NAME|FILE]

                Make the key of a new volume, called NAME or 'default', and print the volume's
                id. Whoever holds the key can read and change the volume, and nobody can without
                it: keep a copy. A key that exists is never overwritten.

                Options:
                  -u, --user NAME             derive the key from NAME and a password
                      --export                print an existing key as words to write down
                      --import                make the key from such words, read from stdin
                      --show-id               print the volume id of an existing key
                  -o, --output FILE           write the key to FILE, not the keys folder
                      --json                  write the result as JSON on standard output
                  -q, --quiet                 say nothing but errors; show no progress
                  -v, --verbose               say what is being done
                  -h, --help                  show this help and exit
                      --version               show the version and exit

                Examples:
                  lanfs keygen                make the key 'default'
                  lanfs keygen --export       print it to be written down
                  lanfs keygen --import work  type it in on another machine

                """)
    }

    @Test("every example of a command is a command line that is understood")
    func examples() throws {
        for command in Subcommand.commands {
            for example in command.examples {
                // Of a pipe the part that is lanfs, up to the next pipe.
                let part = example.line.split(separator: "|").first { $0.contains("lanfs") } ?? ""
                let words = part.split(separator: " ").map { Argument(String($0)) }
                #expect(refusal(of: words) == nil, "\(example.line)")
            }
        }
    }

    @Test("text is wrapped at spaces")
    func wrap() {
        #expect(HelpText.wrap("", to: 10) == "")
        #expect(HelpText.wrap("aaaa bbbb cc", to: 9) == "aaaa bbbb\ncc")
        #expect(HelpText.wrap("aaaa bbbb cc", to: 8) == "aaaa\nbbbb cc")
        #expect(HelpText.wrap("a longerthanthat b", to: 5) == "a\nlongerthanthat\nb")
    }
}
