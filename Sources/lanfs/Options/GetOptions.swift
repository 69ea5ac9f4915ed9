/// `lanfs get`: copy files out of the volume.
struct GetOptions: Equatable, Sendable {
    enum Target: Equatable, Sendable {
        case standardOutput
        case path(LocalPath)
    }

    var client = ClientOptions()
    var sources: [VolumePath] = []
    var target = currentFolder
    var recursive = false
    /// Replace what exists.
    var force = false
    var json = false
    var snapshot: SnapshotName?

    private static let currentFolder = Target.path(LocalPath(Array("./".utf8)))

    static let recursiveFlag = Flag(
        "recursive", "r", help: "copy folders with all they contain",
        manual: "Copy folders with all they contain. Without it a folder among the sources is an error.")
    static let forceFlag = Flag(
        "force", "f", help: "replace files that exist",
        manual: "Replace files that exist on this machine. Without it they are left alone and the command fails with "
            + "status 5.")

    static let command = Command(
        name: "get", summary: "copy files out of the volume",
        overview: """
            Copy each SOURCE in the volume, a file or with -r a folder, to TARGET, which is the current folder when \
            only one SOURCE is given. '-' as TARGET is standard output. A file appears under its name only when it is \
            complete; an interrupted copy goes on where it stopped when the command is run again.
            """,
        operands: [
            .init(metavar: "SOURCE", count: .oneOrMore, completion: .nothing),
            .init(metavar: "TARGET", count: .optional, completion: .file),
        ],
        options: [recursiveFlag.row, forceFlag.row, ClientOptions.snapshotOption.row, CommonOptions.json.row]
            + ClientOptions.rows + CommonOptions.rows,
        examples: [
            .init(line: "lanfs get isos/big.iso", meaning: "one file, into the current folder"),
            .init(line: "lanfs get -r Photos /mnt/backup/", meaning: "a folder, into another one"),
            .init(line: "lanfs get src.tar - | tar x", meaning: "into another program"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        client = try ClientOptions(parsed)
        recursive = parsed.isSet(Self.recursiveFlag)
        force = parsed.isSet(Self.forceFlag)
        json = parsed.isSet(CommonOptions.json)
        snapshot = try parsed.value(ClientOptions.snapshotOption)
        let count = parsed.operands.count
        let sourceCount = max(1, count - 1)
        for index in 0..<sourceCount {
            if parsed.operands[index] == "-" {
                throw parsed.error(
                    "'-' as SOURCE means standard input, which 'lanfs put' reads; write ./- for the name")
            }
            sources.append(try parsed.operand(index, "SOURCE"))
        }
        guard count > 1 else { return }
        guard parsed.operands.last == "-" else {
            target = .path(try parsed.operand(count - 1, "TARGET"))
            return
        }
        target = .standardOutput
        if sources.count > 1 { throw parsed.error("only one SOURCE can be written to standard output") }
        if recursive { throw parsed.error("a folder cannot be written to standard output; leave out --recursive") }
        if json { throw parsed.error("standard output carries the file; leave out --json") }
    }
}
