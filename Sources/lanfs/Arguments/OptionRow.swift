/// One row of a command's table: everything that parsing, `--help`, the manual and the completions say about an option.
struct OptionRow: Sendable {
    /// The name after `--`.
    let long: String
    /// The letter after `-`, if it has one.
    let short: Unicode.Scalar?
    /// What its value is called in help; nil for a flag.
    let metavar: String?
    /// Whether each use adds a value (or one more level). Otherwise the last use wins.
    let repeatable: Bool
    /// What it does, one sentence, for `--help`.
    let help: String
    /// What it does in the manual, where there is more to say; paragraphs are separated by empty lines and `code`
    /// stands between backticks.
    let manual: String
    /// What the shells offer as its value.
    let completion: Completion

    var takesValue: Bool { metavar != nil }

    /// The option as it is written in messages.
    var spelling: String { "--\(long)" }
}

/// An option without a value.
struct Flag: Sendable {
    let row: OptionRow

    init(
        _ long: String, _ short: Unicode.Scalar? = nil, repeatable: Bool = false, help: String, manual: String? = nil
    ) {
        row = OptionRow(
            long: long, short: short, metavar: nil, repeatable: repeatable, help: help, manual: manual ?? help,
            completion: .nothing)
    }
}

/// An option whose value is read as a `Value`.
struct ValueOption<Value: ArgumentValue>: Sendable {
    let row: OptionRow

    init(
        _ long: String, _ short: Unicode.Scalar?, _ metavar: String, repeatable: Bool = false, help: String,
        manual: String? = nil
    ) {
        row = OptionRow(
            long: long, short: short, metavar: metavar, repeatable: repeatable, help: help, manual: manual ?? help,
            completion: Value.completion)
    }

    init(_ long: String, _ metavar: String, help: String, manual: String? = nil) {
        self.init(long, nil, metavar, help: help, manual: manual)
    }
}
