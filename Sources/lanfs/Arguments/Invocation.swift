/// What a command line asks for.
enum Invocation: Sendable {
    /// No word at all: how to begin, on stderr.
    case overview
    case help(Help)
    case version
    case serve(ServeOptions)
    case discover(DiscoverOptions)
    case mount(MountOptions)
    case mountHelper(MountHelper)
    case put(PutOptions)
    case get(GetOptions)
    case list(ListOptions)
    case remove(RemoveOptions)
    case status(StatusOptions)
    case drain(DrainOptions)
    case keygen(KeygenOptions)

    enum Help: Sendable {
        case overview
        case command(Command)
    }

    /// The tables of the words that stand where a subcommand would.
    static let top = Command(
        name: "", invocation: "lanfs", summary: "", overview: "", operands: [],
        options: [CommonOptions.help.row, CommonOptions.version.row], examples: [])
    static let help = Command(
        name: "help", summary: "explain a command", overview: "Explain COMMAND, or list the commands.",
        operands: [.init(metavar: "COMMAND", count: .optional, completion: .command)],
        options: [CommonOptions.help.row, CommonOptions.version.row], examples: [])

    /// Whether the program was started by mount(8), under the name of its helper.
    static func isMountHelper(_ words: [Argument]) -> Bool {
        let name = words.first?.bytes.split(separator: UInt8(ascii: "/")).last ?? []
        return MountHelper.programNames.contains { name.elementsEqual($0.utf8) }
    }

    /// Reads the words the process was started with, the first of which is its own name.
    static func parse(_ words: [Argument]) throws(UsageError) -> Invocation {
        if isMountHelper(words) { return try parseMountHelper(words.dropFirst()) }
        guard let first = words.dropFirst().first else { return .overview }
        let rest = words.dropFirst(2)
        if first.bytes.first == UInt8(ascii: "-"), first.bytes.count > 1 { return try parseTop(first) }
        if first == "help" { return try parseHelp(rest) }
        return try parse(rest, of: try Subcommand.named(first))
    }

    private static func parse(_ words: ArraySlice<Argument>, of subcommand: Subcommand) throws(UsageError) -> Invocation
    {
        let command = subcommand.command
        switch try Parser.parse(words, for: command, elsewhere: Subcommand.commands) {
        case .help: return .help(.command(command))
        case .version: return .version
        case .arguments(let parsed):
            switch subcommand {
            case .serve: return .serve(try ServeOptions(parsed))
            case .discover: return .discover(try DiscoverOptions(parsed))
            case .mount: return .mount(try MountOptions(parsed))
            case .put: return .put(try PutOptions(parsed))
            case .get: return .get(try GetOptions(parsed))
            case .ls: return .list(try ListOptions(parsed))
            case .rm: return .remove(try RemoveOptions(parsed))
            case .status: return .status(try StatusOptions(parsed))
            case .drain: return .drain(try DrainOptions(parsed))
            case .keygen: return .keygen(try KeygenOptions(parsed))
            }
        }
    }

    private static func parseTop(_ word: Argument) throws(UsageError) -> Invocation {
        switch try Parser.parse([word], for: top, elsewhere: Subcommand.commands) {
        case .help: return .help(.overview)
        case .version: return .version
        case .arguments: throw UsageError(invocation: "lanfs", message: "missing COMMAND")
        }
    }

    private static func parseHelp(_ words: ArraySlice<Argument>) throws(UsageError) -> Invocation {
        switch try Parser.parse(words, for: help) {
        case .help: return .help(.overview)
        case .version: return .version
        case .arguments(let parsed):
            guard let name = parsed.operands.first else { return .help(.overview) }
            if name == "help" { return .help(.command(help)) }
            return .help(.command(try Subcommand.named(name).command))
        }
    }

    private static func parseMountHelper(_ words: ArraySlice<Argument>) throws(UsageError) -> Invocation {
        switch try Parser.parse(words, for: MountHelper.command) {
        case .help: return .help(.command(MountHelper.command))
        case .version: return .version
        case .arguments(let parsed): return .mountHelper(try MountHelper(parsed))
        }
    }
}

extension Invocation {
    /// What messages start with.
    var name: String {
        switch self {
        case .overview, .help, .version: "lanfs"
        case .serve: "lanfs serve"
        case .discover: "lanfs discover"
        case .mount: "lanfs mount"
        case .mountHelper: MountHelper.command.invocation
        case .put: "lanfs put"
        case .get: "lanfs get"
        case .list: "lanfs ls"
        case .remove: "lanfs rm"
        case .status: "lanfs status"
        case .drain: "lanfs drain"
        case .keygen: "lanfs keygen"
        }
    }
}
