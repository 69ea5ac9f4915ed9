/// `lanfs put`: copy files into the volume.
struct PutOptions: Equatable, Sendable {
    enum Source: Equatable, Sendable {
        case standardInput
        case path(LocalPath)
    }

    var client = ClientOptions()
    var sources: [Source] = []
    var target = VolumePath.root
    var recursive = false
    /// Replace what exists.
    var force = false
    /// Make the volume when no server knows it (F5).
    var create = false
    /// Nil: as it is.
    var copies: CopyCount?
    var json = false

    static let recursiveFlag = Flag(
        "recursive", "r", help: "copy folders with all they contain",
        manual: "Copy folders with all they contain. Without it a folder among the sources is an error. Symbolic links "
            + "inside are copied as links.")
    static let forceFlag = Flag(
        "force", "f", help: "replace files that exist",
        manual: "Replace files that exist in the volume. Without it they are left alone and the command fails with "
            + "status 5. A folder is never replaced by a file: the two are merged or refused.")
    static let createFlag = Flag(
        "create", help: "make the volume if no server knows it",
        manual:
            "Make the volume when no server that answers knows it. Without this option only the machine that made the "
            + "key does so, because a server that holds the volume may just be switched off.")

    static let copiesOption = ValueOption<CopyCount>(
        "replicas", "N", help: "copies of each block (\(CopyCount.standard) in a new volume)",
        manual: "From now on keep each block on N servers, or on all while there are fewer. A new volume has "
            + "\(CopyCount.standard) copies of each block, which survives the loss of one server. In a volume that "
            + "exists the servers make the copies that are missing, and delete those that are too many when they are a "
            + "day old; `lanfs status` shows how far they are. Without this option nothing changes.")

    static let command = Command(
        name: "put", summary: "copy files into the volume",
        overview: """
            Copy each SOURCE, a file or with -r a folder, to TARGET in the volume, which is its root when only one \
            SOURCE is given. '-' is standard input and needs a TARGET that names the new file. An interrupted copy \
            goes on where it stopped when the command is run again.
            """,
        operands: [
            .init(metavar: "SOURCE", count: .oneOrMore, completion: .file),
            .init(metavar: "TARGET", count: .optional, completion: .nothing),
        ],
        options: [recursiveFlag.row, forceFlag.row, createFlag.row, copiesOption.row, CommonOptions.json.row] + ClientOptions.rows
            + CommonOptions.rows,
        examples: [
            .init(line: "lanfs put big.iso isos/", meaning: "one file, into the folder isos"),
            .init(line: "lanfs put -r Photos Music /", meaning: "two folders, into the root"),
            .init(line: "tar c src | lanfs put - src.tar", meaning: "what another program writes"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        client = try ClientOptions(parsed)
        recursive = parsed.isSet(Self.recursiveFlag)
        force = parsed.isSet(Self.forceFlag)
        create = parsed.isSet(Self.createFlag)
        copies = try parsed.value(Self.copiesOption)
        json = parsed.isSet(CommonOptions.json)
        let count = parsed.operands.count
        let sourceCount = max(1, count - 1)
        for index in 0..<sourceCount {
            if parsed.operands[index] == "-" {
                sources.append(.standardInput)
            } else {
                sources.append(.path(try parsed.operand(index, "SOURCE")))
            }
        }
        if count > 1 { target = try parsed.operand(count - 1, "TARGET") }
        try checkSources(parsed)
    }

    private func checkSources(_ parsed: ParsedArguments) throws(UsageError) {
        if parsed.operands.count > 1, parsed.operands.last == "-" {
            throw parsed.error("'-' as TARGET means standard output, which 'lanfs get' writes to")
        }
        guard sources.contains(.standardInput) else { return }
        guard sources.count == 1 else { throw parsed.error("'-' must be the only SOURCE") }
        if target.namesFolder {
            throw parsed.error("standard input has no name; say what to call it, as in 'lanfs put - NAME'")
        }
    }
}
