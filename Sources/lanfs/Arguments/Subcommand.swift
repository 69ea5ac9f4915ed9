/// The subcommands, in the order in which help lists them.
enum Subcommand: String, CaseIterable, Sendable {
    case serve
    case discover
    case mount
    case put
    case get
    case ls
    case rm
    case status
    case drain
    case keygen

    var command: Command {
        switch self {
        case .serve: ServeOptions.command
        case .discover: DiscoverOptions.command
        case .mount: MountOptions.command
        case .put: PutOptions.command
        case .get: GetOptions.command
        case .ls: ListOptions.command
        case .rm: RemoveOptions.command
        case .status: StatusOptions.command
        case .drain: DrainOptions.command
        case .keygen: KeygenOptions.command
        }
    }

    static var commands: [Command] { allCases.map(\.command) }

    /// What people type who know the thing under another name.
    private static let otherNames: [String: Subcommand] = [
        "server": .serve, "daemon": .serve, "scan": .discover, "find": .discover, "servers": .discover,
        "upload": .put, "push": .put, "cp": .put, "copy": .put, "download": .get, "pull": .get, "fetch": .get,
        "list": .ls, "dir": .ls, "remove": .rm, "evict": .drain, "decommission": .drain, "retire": .drain, "state": .status, "info": .status, "health": .status, "delete": .rm, "del": .rm, "key": .keygen, "init": .keygen,
    ]

    /// The subcommand with this name, or an error that names the likely one.
    static func named(_ word: Argument) throws(UsageError) -> Subcommand {
        if let exact = allCases.first(where: { word.bytes.elementsEqual($0.rawValue.utf8) }) { return exact }
        var hint = NearestWord.hint(word.shown, among: allCases.map(\.rawValue) + ["help"])
        if let other = otherNames[word.shown] { hint = "; did you mean '\(other.rawValue)'?" }
        if word == "umount" || word == "unmount" { hint = "; a volume is unmounted by 'fusermount3 -u MOUNTPOINT'" }
        throw UsageError(invocation: "lanfs", message: "unknown command \(word.quoted)\(hint)")
    }
}
