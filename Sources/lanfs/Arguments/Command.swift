/// The table of one subcommand, from which everything that is said about its command line is made.
struct Command: Sendable {
    let name: String
    /// What is typed to start it.
    let invocation: String
    /// What it does, a few words without a full stop.
    let summary: String
    /// What it does, for `--help`: one or two sentences.
    let overview: String
    let operands: [Operand]
    /// In the order in which help lists them.
    let options: [OptionRow]
    let examples: [Example]

    init(
        name: String, invocation: String? = nil, summary: String, overview: String, operands: [Operand],
        options: [OptionRow], examples: [Example]
    ) {
        self.name = name
        self.invocation = invocation ?? "lanfs \(name)"
        self.summary = summary
        self.overview = overview
        self.operands = operands
        self.options = options
        self.examples = examples
    }

    struct Operand: Sendable {
        let metavar: String
        let count: Count
        let completion: Completion

        enum Count: Sendable {
            case one
            case optional
            case oneOrMore
            case zeroOrMore
        }

        /// The operand as the synopsis writes it.
        var synopsis: String {
            switch count {
            case .one: metavar
            case .optional: "[\(metavar)]"
            case .oneOrMore: "\(metavar)..."
            case .zeroOrMore: "[\(metavar)...]"
            }
        }
    }

    struct Example: Sendable {
        let line: String
        let meaning: String
    }

    var synopsis: String { ([invocation, "[OPTION]..."] + operands.map(\.synopsis)).joined(separator: " ") }

    var fewestOperands: Int { operands.count { $0.count == .one || $0.count == .oneOrMore } }

    /// Nil: any number.
    var mostOperands: Int? {
        operands.contains { $0.count == .oneOrMore || $0.count == .zeroOrMore } ? nil : operands.count
    }
}
