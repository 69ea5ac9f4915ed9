/// Sorts the words after a subcommand into options and operands, with the habits of getopt_long: `--opt=value`,
/// `--opt value`, `-xyz`, `-oVALUE`, a unique beginning of a long name, options after operands, `--`.
struct Parser {
    enum Outcome: Sendable {
        case arguments(ParsedArguments)
        case help
        case version
    }

    private let command: Command
    private var words: ArraySlice<Argument>
    private var parsed: ParsedArguments

    /// `elsewhere` are the tables of other commands, so that an option used in the wrong place is told its right one.
    static func parse(
        _ words: ArraySlice<Argument>, for command: Command, elsewhere: [Command] = []
    ) throws(UsageError) -> Outcome {
        var parser = Parser(command: command, words: words, parsed: ParsedArguments(command: command))
        return try parser.run(elsewhere: elsewhere)
    }

    private mutating func run(elsewhere: [Command]) throws(UsageError) -> Outcome {
        while let word = words.popFirst() {
            if word.bytes == Array("--".utf8) {
                parsed.operands += words
                break
            } else if word.bytes.starts(with: "--".utf8) {
                if let outcome = try readLong(word, elsewhere: elsewhere) { return outcome }
            } else if word.bytes.first == UInt8(ascii: "-"), word.bytes.count > 1 {
                if let outcome = try readCluster(word) { return outcome }
            } else {
                parsed.operands.append(word)
            }
        }
        try checkOperandCount()
        return .arguments(parsed)
    }

    /// `--name`, `--name=value`, `--name value`.
    private mutating func readLong(_ word: Argument, elsewhere: [Command]) throws(UsageError) -> Outcome? {
        let body = word.bytes.dropFirst(2)
        let equals = body.firstIndex(of: UInt8(ascii: "="))
        let name = Argument(Array(body[..<(equals ?? body.endIndex)]))
        let row = try resolve(name, elsewhere: elsewhere)
        let attached = equals.map { Argument(Array(body[($0 + 1)...])) }
        if !row.takesValue, attached != nil { throw parsed.error("\(row.spelling) takes no value") }
        return try use(row, attached: attached, spelling: row.spelling)
    }

    /// The row a long name, or the unique beginning of one, stands for.
    private func resolve(_ name: Argument, elsewhere: [Command]) throws(UsageError) -> OptionRow {
        if let exact = command.options.first(where: { name.bytes.elementsEqual($0.long.utf8) }) { return exact }
        let matches = command.options.filter { !name.bytes.isEmpty && $0.long.utf8.starts(with: name.bytes) }
        if let only = matches.first, matches.count == 1 { return only }
        if matches.count > 1 {
            let choices = matches.map { "'\($0.spelling)'" }.joined(separator: ", ")
            throw parsed.error("'--\(name.shown)' is ambiguous; it could be \(choices)")
        }
        let owners = elsewhere.filter { other in
            other.name != command.name && other.options.contains { name.bytes.elementsEqual($0.long.utf8) }
        }
        if !owners.isEmpty {
            throw parsed.error("unknown option '--\(name.shown)'; \(Self.owners(owners, of: name))")
        }
        let hint = NearestWord.hint(name.shown, among: command.options.map(\.long), prefix: "--")
        throw parsed.error("unknown option '--\(name.shown)'\(hint)")
    }

    private static func owners(_ owners: [Command], of name: Argument) -> String {
        if owners.count > 3 { return "it goes after a command, as in '\(owners[0].invocation) --\(name.shown)'" }
        return "it belongs to " + owners.map { "'\($0.invocation)'" }.joined(separator: ", ")
    }

    /// `-x`, `-xyz`, `-oVALUE`, `-xo VALUE`.
    private mutating func readCluster(_ word: Argument) throws(UsageError) -> Outcome? {
        var letters = word.bytes.dropFirst()
        while let letter = letters.popFirst() {
            guard let row = command.options.first(where: { $0.short?.value == UInt32(letter) }) else {
                throw parsed.error(unknownLetter(letter, in: word))
            }
            var attached: Argument?
            if row.takesValue, !letters.isEmpty {
                attached = Argument(Array(letters))
                letters = []
            }
            let spelling = row.short.map { "-\($0)" } ?? row.spelling
            if let outcome = try use(row, attached: attached, spelling: spelling) { return outcome }
        }
        return nil
    }

    private func unknownLetter(_ letter: UInt8, in word: Argument) -> String {
        // A letter beyond ASCII is several bytes: show the whole word then.
        let isOneByte = letter < 0x80
        let option = isOneByte ? Argument([UInt8(ascii: "-"), letter]).quoted : word.quoted
        let within = isOneByte && word.bytes.count > 2 ? " in \(word.quoted)" : ""
        let typed = String(decoding: word.bytes.dropFirst(), as: UTF8.self)
        let hint = typed.utf8.count > 2 ? NearestWord.hint(typed, among: command.options.map(\.long), prefix: "--") : ""
        return "unknown option \(option)\(within)\(hint)"
    }

    /// Records one use of an option, taking its value from the next word where it has none attached.
    private mutating func use(
        _ row: OptionRow, attached: Argument?, spelling: String
    ) throws(UsageError) -> Outcome? {
        if row.long == CommonOptions.help.row.long { return .help }
        if row.long == CommonOptions.version.row.long { return .version }
        var value = attached
        if let metavar = row.metavar, value == nil {
            guard let next = words.popFirst() else { throw parsed.error("\(spelling) needs a value: \(metavar)") }
            value = next
        }
        parsed.occurrences.append(ParsedArguments.Occurrence(option: row.long, spelling: spelling, value: value))
        return nil
    }

    private func checkOperandCount() throws(UsageError) {
        let count = parsed.operands.count
        if count < command.fewestOperands {
            let needed = command.operands.filter { $0.count == .one || $0.count == .oneOrMore }
            let example = command.examples.first.map { ", as in '\($0.line)'" } ?? ""
            throw parsed.error("missing \(needed[count].metavar)\(example)")
        }
        guard let most = command.mostOperands, count > most else { return }
        let extra = parsed.operands[most].quoted
        guard most > 0 else { throw parsed.error("unexpected \(extra); '\(command.name)' takes options only") }
        let accepted = command.operands.map(\.metavar).joined(separator: " ")
        throw parsed.error("unexpected \(extra) after \(accepted)")
    }
}
