/// The words of a command line sorted into options and operands as the command's table says, values not yet read.
struct ParsedArguments: Sendable {
    let command: Command
    var occurrences: [Occurrence] = []
    var operands: [Argument] = []

    /// One use of an option.
    struct Occurrence: Sendable {
        let option: String
        /// As it was typed, a shortened long name written out: `-o` or `--options`.
        let spelling: String
        let value: Argument?
    }

    init(command: Command) { self.command = command }

    func isSet(_ flag: Flag) -> Bool { occurrences.contains { $0.option == flag.row.long } }

    /// Every value given for the option, in order.
    func values<Value>(_ option: ValueOption<Value>) throws(UsageError) -> [Value] {
        var values: [Value] = []
        for occurrence in occurrences where occurrence.option == option.row.long {
            guard let argument = occurrence.value else { continue }
            values.append(try read(argument, for: occurrence.spelling))
        }
        return values
    }

    /// The value given last, nil when the option was not used. Earlier ones must be well-formed all the same.
    func value<Value>(_ option: ValueOption<Value>) throws(UsageError) -> Value? { try values(option).last }

    /// Reads an operand; `metavar` says in the message which one is wrong.
    func operand<Value: ArgumentValue>(_ index: Int, _ metavar: String) throws(UsageError) -> Value {
        guard operands.indices.contains(index) else { throw error("missing \(metavar)") }
        return try read(operands[index], for: metavar)
    }

    func read<Value: ArgumentValue>(_ argument: Argument, for what: String) throws(UsageError) -> Value {
        do {
            return try Value(argument: argument)
        } catch {
            throw self.error("\(what): \(error.why)")
        }
    }

    /// Refuses two options that contradict each other, at most one of which may be used.
    func refuseTogether(_ options: [OptionRow]) throws(UsageError) {
        let used = options.filter { row in occurrences.contains { $0.option == row.long } }
        guard used.count > 1 else { return }
        throw error("\(used[0].spelling) and \(used[1].spelling) cannot be used together")
    }

    /// Refuses an option that means nothing without another.
    func require(_ needed: Flag, for options: [OptionRow]) throws(UsageError) {
        guard !isSet(needed) else { return }
        for row in options where occurrences.contains(where: { $0.option == row.long }) {
            throw error("\(row.spelling) has a meaning only together with \(needed.row.spelling)")
        }
    }

    func error(_ message: String) -> UsageError { UsageError(invocation: command.invocation, message: message) }
}
