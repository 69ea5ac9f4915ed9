import Testing

@testable import lanfs

@Suite("The parser has the habits of getopt_long")
struct ParserTests {
    static let text = ValueOption<UserName>("text", "t", "TEXT", repeatable: true, help: "")
    static let quick = Flag("quick", "q", help: "")
    static let quiet = Flag("quiet", help: "")
    static let extra = Flag("extra", "x", repeatable: true, help: "")
    static let table = Command(
        name: "try", summary: "", overview: "",
        operands: [.init(metavar: "WORD", count: .zeroOrMore, completion: .nothing)],
        options: [text.row, quick.row, quiet.row, extra.row, CommonOptions.help.row, CommonOptions.version.row],
        examples: [])

    private func uses(_ words: Argument...) throws -> [String] {
        try parse(Self.table, words).occurrences.map { $0.option + ($0.value.map { "=\($0.shown)" } ?? "") }
    }

    private func message(_ words: Argument...) -> String? {
        do {
            _ = try Parser.parse(words[...], for: Self.table)
            return nil
        } catch {
            return error.message
        }
    }

    @Test("a value may be attached, follow an equals sign or be the next word")
    func values() throws {
        #expect(try uses("--text=a") == ["text=a"])
        #expect(try uses("--text", "a") == ["text=a"])
        #expect(try uses("-ta") == ["text=a"])
        #expect(try uses("-t", "a") == ["text=a"])
        #expect(try uses("-qt", "a") == ["quick", "text=a"])
        #expect(try uses("-qta=b") == ["quick", "text=a=b"])
        #expect(try uses("--text=") == ["text="])
        #expect(try uses("--text", "") == ["text="])
        #expect(try uses("--text=a=b") == ["text=a=b"])
    }

    @Test("a value may look like an option or be the end marker")
    func valuesLikeOptions() throws {
        #expect(try uses("--text", "--quick") == ["text=--quick"])
        #expect(try uses("-t", "--") == ["text=--"])
        #expect(try uses("-t-q") == ["text=-q"])
    }

    @Test("letters cluster, and a long name may be shortened while it is unique")
    func clustersAndPrefixes() throws {
        #expect(try uses("-qxx") == ["quick", "extra", "extra"])
        #expect(try uses("--quic") == ["quick"])
        #expect(try uses("--te=a", "--ex") == ["text=a", "extra"])
        #expect(message("--qui") == "'--qui' is ambiguous; it could be '--quick', '--quiet'")
        #expect(message("--q") == "'--q' is ambiguous; it could be '--quick', '--quiet'")
    }

    @Test("a name that is the beginning of another stands for itself")
    func exactBeatsPrefix() throws {
        let table = Command(
            name: "try", summary: "", overview: "", operands: [],
            options: [Flag("server-name", help: "").row, Flag("server", help: "").row], examples: [])
        #expect(try parse(table, ["--server"]).occurrences.map(\.option) == ["server"])
    }

    @Test("options may follow operands, nothing behind -- is one, and a dash alone is an operand")
    func operands() throws {
        let parsed = try parse(Self.table, ["a", "-q", "b", "-", "--", "-x", "--", "--nonsense"])
        #expect(parsed.operands == ["a", "b", "-", "-x", "--", "--nonsense"])
        #expect(parsed.occurrences.map(\.option) == ["quick"])
        #expect(try parse(Self.table, ["--"]).operands == [])
        #expect(try parse(Self.table, ["", "-q"]).operands == [""])
    }

    @Test("words need not be UTF-8")
    func bytes() throws {
        let word = Argument([0x66, 0xFF, 0x2F])
        #expect(try parse(Self.table, [word, "-t", word]).operands == [word])
        #expect(try parse(Self.table, [word, "-t", word]).occurrences.first?.value == word)
        #expect(message(Argument([0x2D, 0xFF])) == "unknown option '-\\xff'")
        #expect(message(Argument(Array("--te".utf8) + [0xFF])) == "unknown option '--te\\xff'")
        #expect(message("-ü") == "unknown option '-ü'")
    }

    @Test("a slip is named with the likely word")
    func slips() {
        #expect(message("--quikc") == "unknown option '--quikc'; did you mean '--quick'?")
        #expect(message("--texts=a") == "unknown option '--texts'; did you mean '--text'?")
        #expect(message("--zzzz") == "unknown option '--zzzz'")
        #expect(message("-z") == "unknown option '-z'")
        #expect(message("-qz") == "unknown option '-z' in '-qz'")
        #expect(message("-extra") == "unknown option '-e' in '-extra'; did you mean '--extra'?")
        #expect(message("--quick=yes") == "--quick takes no value")
        #expect(message("--text") == "--text needs a value: TEXT")
        #expect(message("-qt") == "-t needs a value: TEXT")
        #expect(message("--=a") == "unknown option '--'")
        #expect(message("--Quick") == "unknown option '--Quick'; did you mean '--quick'?")
    }

    @Test("help and version are found where they stand, and win over what follows")
    func helpWins() throws {
        func outcome(_ words: Argument...) throws -> String {
            switch try Parser.parse(words[...], for: Self.table) {
            case .help: "help"
            case .version: "version"
            case .arguments: "arguments"
            }
        }
        #expect(try outcome("-qh", "--nonsense") == "help")
        #expect(try outcome("--vers", "--nonsense") == "version")
        #expect(try outcome("-t", "--help") == "arguments")
        #expect(try outcome("--", "--help") == "arguments")
        #expect(message("--nonsense", "--help") == "unknown option '--nonsense'")
    }
}

@Suite("The words before and around a subcommand")
struct InvocationTests {
    @Test("no word shows the overview, help and version are understood in every place")
    func top() throws {
        guard case .overview = try Invocation.parse(["lanfs"]) else { throw Failure("no overview") }
        guard case .overview = try Invocation.parse([]) else { throw Failure("no overview without even a name") }
        for words: [Argument] in [["help"], ["--help"], ["-h"], ["--he"], ["help", "--help"]] {
            guard case .help(.overview) = try Invocation.parse(["lanfs"] + words) else { throw Failure("\(words)") }
        }
        for words: [Argument] in [["--version"], ["--v"], ["put", "--version"], ["help", "--version"]] {
            guard case .version = try Invocation.parse(["lanfs"] + words) else { throw Failure("\(words)") }
        }
        for name in Subcommand.allCases.map(\.rawValue) {
            for words: [Argument] in [["help", Argument(name)], [Argument(name), "--help"]] {
                guard case .help(.command(let command)) = try Invocation.parse(["lanfs"] + words) else {
                    throw Failure("\(words)")
                }
                #expect(command.name == name)
            }
        }
    }

    @Test("an unknown command is answered with the likely one")
    func unknownCommand() {
        #expect(refusal("putt") == "unknown command 'putt'; did you mean 'put'?")
        #expect(refusal("muont", "x") == "unknown command 'muont'; did you mean 'mount'?")
        #expect(refusal("list") == "unknown command 'list'; did you mean 'ls'?")
        #expect(refusal("help", "gte") == "unknown command 'gte'; did you mean 'get'?")
        #expect(
            refusal("umount", "x") == "unknown command 'umount'; a volume is unmounted by 'fusermount3 -u MOUNTPOINT'")
        #expect(refusal("frobnicate") == "unknown command 'frobnicate'")
        #expect(refusal("") == "unknown command ''")
        #expect(refusal("-") == "unknown command '-'")
        #expect(refusal(Argument([0xFF])) == "unknown command '\\xff'")
        #expect(refusal("\u{1B}[2J") == "unknown command '\\x1b[2J'")
    }

    @Test("an option in the wrong place is told its right one")
    func misplacedOption() {
        #expect(refusal("--quarantine", "1h") == "unknown option '--quarantine'; it belongs to 'lanfs serve'")
        #expect(
            refusal("--quiet", "put")
                == "unknown option '--quiet'; it goes after a command, as in 'lanfs serve --quiet'")
        #expect(refusal("put", "--allow=x") == "unknown option '--allow'; it belongs to 'lanfs serve'")
        #expect(refusal("ls", "--create") == "unknown option '--create'; it belongs to 'lanfs mount', 'lanfs put'")
        #expect(refusal("--") == "missing COMMAND")
    }

    @Test("operands that are missing or too many are named")
    func operandCount() {
        #expect(refusal("put") == "missing SOURCE, as in 'lanfs put big.iso isos/'")
        #expect(refusal("mount", "-f") == "missing MOUNTPOINT, as in 'lanfs mount ~/remote'")
        #expect(refusal("mount", "a", "b") == "unexpected 'b' after MOUNTPOINT")
        #expect(refusal("keygen", "a", "b") == "unexpected 'b' after NAME|FILE")
        #expect(refusal("serve", "a") == "unexpected 'a'; 'serve' takes options only")
        #expect(refusal("rm") == "missing PATH, as in 'lanfs rm isos/big.iso'")
        #expect(refusal("help", "put", "get") == "unexpected 'get' after COMMAND")
    }

    @Test("a usage error ends with where to read more")
    func text() throws {
        #expect(throws: UsageError(invocation: "lanfs put", message: "missing SOURCE, as in 'lanfs put big.iso isos/'"))
        {
            try invoke("put")
        }
        let error = UsageError(invocation: "lanfs put", message: "missing SOURCE")
        #expect(error.text == "lanfs put: missing SOURCE\nTry 'lanfs put --help' for more information.\n")
    }
}
