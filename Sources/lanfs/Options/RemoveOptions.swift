/// `lanfs rm`: delete from the volume.
struct RemoveOptions: Equatable, Sendable {
    var client = ClientOptions()
    var paths: [VolumePath] = []
    var recursive = false
    /// What does not exist is no error.
    var force = false
    /// Dropped instead of deleting files.
    var snapshot: SnapshotName?

    static let recursiveFlag = Flag(
        "recursive", "r", help: "delete folders with all they contain",
        manual: "Delete folders with all they contain. Without it only files and links are deleted.")
    static let forceFlag = Flag(
        "force", "f", help: "what does not exist is no error",
        manual: "What does not exist is no error. Nothing is ever asked, with or without this option.")

    static let snapshotOption = ValueOption<SnapshotName>(
        "snapshot", "NAME", help: "drop this snapshot instead of deleting files",
        manual: "Drop the snapshot NAME, which a recovery left behind (lanfs-status(1) lists them), instead of deleting files. "
            + "No PATH is given then. What only the snapshot needs is found and deleted by the daily audits that follow.")

    static let command = Command(
        name: "rm", summary: "delete files of the volume",
        overview: """
            Delete each PATH of the volume, with -r folders and all they contain. There is no undo. The space is free \
            again when the server's quarantine is over, a day unless it was told otherwise.
            """,
        operands: [.init(metavar: "PATH", count: .zeroOrMore, completion: .nothing)],
        options: [recursiveFlag.row, forceFlag.row, snapshotOption.row] + ClientOptions.rows + CommonOptions.rows,
        examples: [
            .init(line: "lanfs rm isos/big.iso", meaning: "one file"),
            .init(line: "lanfs rm -r old", meaning: "a folder and all it contains"),
            .init(line: "lanfs rm --snapshot 120-1a2b3c4d", meaning: "what a recovery left behind"),
            .init(line: "lanfs rm -- -strange", meaning: "a name that starts with a dash"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        client = try ClientOptions(parsed)
        recursive = parsed.isSet(Self.recursiveFlag)
        force = parsed.isSet(Self.forceFlag)
        snapshot = try parsed.value(Self.snapshotOption)
        if snapshot != nil, let operand = parsed.operands.first {
            throw parsed.error("--snapshot drops a whole snapshot; leave out \(operand.quoted)")
        }
        if snapshot == nil, parsed.operands.isEmpty { throw parsed.error("missing PATH, as in '\(Self.command.examples[0].line)'") }
        for index in parsed.operands.indices {
            let path: VolumePath = try parsed.operand(index, "PATH")
            guard !path.components.isEmpty else {
                throw parsed.error("\(parsed.operands[index].quoted) is the volume's root, which cannot be deleted")
            }
            paths.append(path)
        }
    }
}
