/// Options that every subcommand has, and what they say together.
struct CommonOptions: Equatable, Sendable {
    /// How much is said on stderr.
    enum Verbosity: Equatable, Sendable {
        /// Errors only, and no progress.
        case quiet
        case normal
        /// One level for each `-v`.
        case verbose(Int)
    }

    var verbosity: Verbosity = .normal

    static let quiet = Flag("quiet", "q", help: "say nothing but errors; show no progress")
    static let verbose = Flag(
        "verbose", "v", repeatable: true, help: "say what is being done",
        manual: "Say on standard error what is being done. "
            + "The later of `-q` and `-v` counts.")
    static let help = Flag("help", "h", help: "show this help and exit")
    /// In `ls`, `-h` means what it means in ls(1).
    static let longHelp = Flag("help", help: "show this help and exit")
    static let version = Flag("version", help: "show the version and exit")
    static let rows = [quiet.row, verbose.row, help.row, version.row]

    static let json = Flag(
        "json", help: "write the result as JSON on standard output",
        manual: "Write the result as JSON on standard output, for scripts; the fields are listed under "
            + "JSON OUTPUT. Names that are not valid UTF-8 are written with replacement characters, "
            + "and a second field, named like the first with `_base64` behind it, holds their exact bytes.")

    init() {}

    init(_ parsed: ParsedArguments) {
        for occurrence in parsed.occurrences {
            switch (occurrence.option, verbosity) {
            case (Self.quiet.row.long, _): verbosity = .quiet
            case (Self.verbose.row.long, .verbose(let level)): verbosity = .verbose(level + 1)
            case (Self.verbose.row.long, _): verbosity = .verbose(1)
            default: continue
            }
        }
    }
}
