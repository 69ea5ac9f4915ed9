/// `lanfs ls`: list the volume.
struct ListOptions: Equatable, Sendable {
    var client = ClientOptions()
    var paths: [VolumePath] = [.root]
    var long = false
    var recursive = false
    /// Names that start with a dot as well.
    var all = false
    var humanReadable = false
    /// One name a line even on a terminal.
    var onePerLine = false
    var json = false
    var snapshot: SnapshotName?

    static let longFlag = Flag("long", "l", help: "show type, mode, links, owner, size and time")
    static let recursiveFlag = Flag("recursive", "R", help: "list folders with all they contain")
    static let allFlag = Flag(
        "all", "a", help: "show names that start with a dot",
        manual: "Show names that start with a dot, `.` and `..` excepted. They are always in `--json`.")
    static let humanFlag = Flag(
        "human-readable", "h", help: "with -l: sizes as 1.5M instead of bytes",
        manual: "With `-l`, show sizes as `1.5M` instead of bytes. As in ls(1), `-h` is not help here; `--help` is.")
    static let onePerLineFlag = Flag(
        "one-per-line", "1", help: "one name a line, also on a terminal",
        manual: "Write one name a line, as is always done when standard output is not a terminal.")

    static let command = Command(
        name: "ls", summary: "list files of the volume",
        overview: "List each PATH of the volume, its root when none is given. Nothing has to be mounted.",
        operands: [.init(metavar: "PATH", count: .zeroOrMore, completion: .nothing)],
        options: [
            longFlag.row, recursiveFlag.row, allFlag.row, humanFlag.row, onePerLineFlag.row,
            ClientOptions.snapshotOption.row, CommonOptions.json.row,
        ] + ClientOptions.rows
            + [
                CommonOptions.quiet.row, CommonOptions.verbose.row, CommonOptions.longHelp.row,
                CommonOptions.version.row,
            ],
        examples: [
            .init(line: "lanfs ls", meaning: "the volume's root"),
            .init(line: "lanfs ls -lh isos", meaning: "a folder, with sizes for people"),
            .init(line: "lanfs ls -R --json / | jq .path", meaning: "everything, for a program"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        client = try ClientOptions(parsed)
        long = parsed.isSet(Self.longFlag)
        recursive = parsed.isSet(Self.recursiveFlag)
        all = parsed.isSet(Self.allFlag)
        humanReadable = parsed.isSet(Self.humanFlag)
        onePerLine = parsed.isSet(Self.onePerLineFlag)
        json = parsed.isSet(CommonOptions.json)
        snapshot = try parsed.value(ClientOptions.snapshotOption)
        guard !parsed.operands.isEmpty else { return }
        paths = []
        for index in parsed.operands.indices { paths.append(try parsed.operand(index, "PATH")) }
    }
}
