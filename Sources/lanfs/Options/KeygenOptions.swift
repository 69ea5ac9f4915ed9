/// `lanfs keygen`: make a volume's key, or show what one is made of.
struct KeygenOptions: Equatable, Sendable {
    enum Action: Equatable, Sendable {
        /// Make a random key.
        case generate
        /// Derive the key from this name and a password asked twice.
        case derive(user: String)
        /// Read the phrase that `--export` printed, from standard input.
        case importPhrase
        /// Print the key as a phrase that a person can write down.
        case exportPhrase
        case showID
    }

    var common = CommonOptions()
    var action = Action.generate
    /// The key that is made or shown.
    var key = KeyReference.defaultKey
    var json = false

    static let exportFlag = Flag(
        "export", help: "print an existing key as words to write down",
        manual:
            "Print an existing key as a phrase of words that can be written down and read back with `--import`. "
            + "Whoever reads the phrase can read the volume.")
    static let importFlag = Flag(
        "import", help: "make the key from such words, read from stdin",
        manual:
            "Make the key from the phrase that `--export` printed, read from standard input: typed on a terminal, or "
            + "piped. A mistyped word is found, and the likely one named.")
    static let userOption = ValueOption<UserName>(
        "user", "u", "NAME", help: "derive the key from NAME and a password",
        manual:
            "Derive the key from NAME and a password, asked twice on the terminal, instead of making a random one. The "
            + "same two words give the same key on any machine, so a weak password can be guessed by whoever stores "
            + "the volume: take several words.")
    static let showIDFlag = Flag(
        "show-id", help: "print the volume id of an existing key",
        manual: "Print the volume id of an existing key, the public name under which servers know the volume; see "
            + "`lanfs serve --allow`.")
    static let outputOption = ValueOption<TextPath>(
        "output", "o", "FILE", help: "write the key to FILE, not the keys folder",
        manual: "Write the new key to FILE instead of the keys folder. FILE must not exist.")

    static let command = Command(
        name: "keygen", summary: "make a volume's key",
        overview: """
            Make the key of a new volume, called NAME or 'default', and print the volume's id. Whoever holds the key \
            can read and change the volume, and nobody can without it: keep a copy. A key that exists is never \
            overwritten.
            """,
        operands: [.init(metavar: "NAME|FILE", count: .optional, completion: .key)],
        options: [
            userOption.row, exportFlag.row, importFlag.row, showIDFlag.row, outputOption.row, CommonOptions.json.row,
        ] + CommonOptions.rows,
        examples: [
            .init(line: "lanfs keygen", meaning: "make the key 'default'"),
            .init(line: "lanfs keygen --export", meaning: "print it to be written down"),
            .init(line: "lanfs keygen --import work", meaning: "type it in on another machine"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        common = CommonOptions(parsed)
        json = parsed.isSet(CommonOptions.json)
        try parsed.refuseTogether(
            [Self.userOption.row, Self.exportFlag.row, Self.importFlag.row, Self.showIDFlag.row])
        if let user = try parsed.value(Self.userOption) { action = .derive(user: user.name) }
        if parsed.isSet(Self.importFlag) { action = .importPhrase }
        if parsed.isSet(Self.exportFlag) { action = .exportPhrase }
        if parsed.isSet(Self.showIDFlag) { action = .showID }
        if !parsed.operands.isEmpty { key = try parsed.operand(0, "NAME|FILE") }
        guard let output = try parsed.value(Self.outputOption) else { return }
        try parsed.refuseTogether([Self.outputOption.row, Self.exportFlag.row])
        try parsed.refuseTogether([Self.outputOption.row, Self.showIDFlag.row])
        guard parsed.operands.isEmpty else {
            throw parsed.error(
                "--output and \(parsed.operands[0].quoted) both say where the key goes; give one of them")
        }
        key = .file(output.path)
    }
}
