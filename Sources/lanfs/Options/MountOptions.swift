/// `lanfs mount`: the volume as a folder.
struct MountOptions: Equatable, Sendable {
    /// Who besides the user that mounts may use the mount.
    enum Access: Equatable, Sendable {
        case owner
        case ownerAndRoot
        case everyone
    }

    /// A server in the same process, for the machine that is alone.
    struct EmbeddedServer: Equatable, Sendable {
        var dataDirectory: LocalPath?
        var capacity: ByteSize?
    }

    var client = ClientOptions()
    var mountPoint = LocalPath([])
    var embeddedServer: EmbeddedServer?
    var foreground = false
    var create = false
    /// Nil: as it is.
    var copies: CopyCount?
    /// Also from too few of the servers that keep the newest state (M3).
    var recoverForce = false
    var readOnly = false
    var snapshot: SnapshotName?
    var cacheMemory = standardCacheMemory
    var access = Access.owner
    /// What the first column of df shows behind `lanfs:`; nil: the start of the volume's id.
    var fileSystemName: String?
    /// Also on a folder that has something in it.
    var nonEmpty = false
    /// A helper process unmounts when this one dies.
    var autoUnmount = false
    /// Words for the kernel, in the order given; of contradicting ones the later counts.
    var kernelWords: [String] = []

    static let standardCacheMemory = ByteSize.mebibytes(256)
    static let smallestCacheMemory = ByteSize.mebibytes(16)

    static let serveFlag = Flag(
        "serve", help: "also serve the volume from this machine's disk",
        manual:
            "Also start a server in the same process, so that a machine that is alone has a volume. Without a key one "
            + "is made. The server is an ordinary one: other machines find it, and it can later run on its own with "
            + "`lanfs serve` on the same data.")
    static let dataDirectoryOption = ValueOption<LocalFolder>(
        "data-dir", "d", "DIR", help: "with --serve: where to keep the blocks",
        manual: "With `--serve`: where that server keeps its identity and its blocks; see lanfs-serve(1).")
    static let capacityOption = ValueOption<ByteSize>(
        "capacity", "c", "SIZE", help: "with --serve: give at most so much",
        manual: "With `--serve`: store at most so much; see lanfs-serve(1).")
    static let foregroundFlag = Flag(
        "foreground", "f", help: "stay in the foreground",
        manual: "Stay in the foreground and log to standard error. Otherwise the command returns when the mount "
            + "answers, and goes on in the background, where it logs to syslog(3).")
    static let wordsOption = ValueOption<MountWordList>(
        "options", "o", "OPT[,OPT]...", repeatable: true, help: "mount options, as in fstab",
        manual:
            "Mount options separated by commas, as in fstab(5); see MOUNT OPTIONS. An option of lanfs given both here "
            + "and by its own name counts as given by its own name.")
    static let cacheMemoryOption = ValueOption<ByteSize>(
        "cache-memory", "SIZE", help: "memory for the cache (default: \(standardCacheMemory))",
        manual: "Use at most so much memory for cached blocks. The default is \(standardCacheMemory), the least "
            + "\(smallestCacheMemory). The kernel's page cache comes on top and shrinks by itself.")
    static let createFlag = Flag(
        "create", help: "make the volume if no server knows it",
        manual:
            "Make the volume when no server that answers knows it. Without this option only the machine that made the "
            + "key does so, because a server that holds the volume may just be switched off.")
    static let copiesOption = PutOptions.copiesOption
    static let recoverForceFlag = Flag(
        "recover-force", help: "go on although servers that vote are lost for good",
        manual: "Go on with the volume although so many of the servers that vote on its newest state are lost that no "
            + "majority is left; see WHEN SERVERS ARE LOST FOR GOOD.")
    static let readOnlyFlag = Flag("read-only", "r", help: "mount read-only")
    static let snapshotOption = ClientOptions.snapshotOption
    static let timeoutOption = ValueOption<Duration>(
        "timeout", "DURATION", help: "fail what has waited so long for a server with EIO",
        manual:
            "When no server answers, fail an operation that has waited so long with EIO. By default, and with `0`, it "
            + "waits until a server is back; what the cache knows is answered meanwhile, and the waiting process can "
            + "be interrupted and killed.")

    static let command = Command(
        name: "mount", summary: "mount the volume as a folder",
        overview: """
            Mount the volume on the folder MOUNTPOINT, and return when it answers. 'fusermount3 -u MOUNTPOINT' \
            ends it with everything saved.
            """,
        operands: [.init(metavar: "MOUNTPOINT", count: .one, completion: .directory)],
        options: [
            serveFlag.row, dataDirectoryOption.row, capacityOption.row, foregroundFlag.row, wordsOption.row,
            readOnlyFlag.row, snapshotOption.row, createFlag.row, copiesOption.row, recoverForceFlag.row, cacheMemoryOption.row,
            ClientOptions.keyOption.row, ClientOptions.userOption.row, ClientOptions.serverOption.row,
            ClientOptions.discoveryPortOption.row, timeoutOption.row,
        ] + CommonOptions.rows,
        examples: [
            .init(line: "lanfs mount ~/remote", meaning: "the servers of the LAN"),
            .init(line: "lanfs mount --serve ~/remote", meaning: "this machine alone"),
            .init(line: "lanfs mount -k work -o ro,noexec /mnt/work", meaning: "another volume, to look at"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        client = try ClientOptions(parsed, timeout: nil)
        let folder: LocalFolder = try parsed.operand(0, "MOUNTPOINT")
        mountPoint = folder.path
        try parsed.require(Self.serveFlag, for: [Self.dataDirectoryOption.row, Self.capacityOption.row])
        if parsed.isSet(Self.serveFlag) {
            embeddedServer = EmbeddedServer(
                dataDirectory: try parsed.value(Self.dataDirectoryOption)?.path,
                capacity: try parsed.value(Self.capacityOption))
            if embeddedServer?.capacity?.bytes == 0 {
                throw parsed.error("--capacity: a server needs room; give more than 0")
            }
        }
        foreground = parsed.isSet(Self.foregroundFlag)
        try apply(try parsed.values(Self.wordsOption).flatMap(\.entries), parsed)
        if parsed.isSet(Self.readOnlyFlag) { readOnly = true }
        snapshot = try parsed.value(Self.snapshotOption)
        if snapshot != nil {
            try parsed.refuseTogether([Self.snapshotOption.row, Self.createFlag.row])
            try parsed.refuseTogether([Self.snapshotOption.row, Self.recoverForceFlag.row])
            readOnly = true
        }
        if parsed.isSet(Self.createFlag) { create = true }
        copies = try parsed.value(Self.copiesOption)
        cacheMemory = try parsed.value(Self.cacheMemoryOption) ?? cacheMemory
        recoverForce = parsed.isSet(Self.recoverForceFlag)
        guard cacheMemory >= Self.smallestCacheMemory else {
            throw parsed.error("--cache-memory: \(cacheMemory) is too little; the least is \(Self.smallestCacheMemory)")
        }
    }

    /// Applies what `-o` says, except where the option's own name was used as well.
    mutating func apply(
        _ entries: [(word: MountWord, value: Argument?)], _ parsed: ParsedArguments
    ) throws(UsageError) {
        for (word, value) in entries {
            switch word.role {
            case .ignored: continue
            case .refused: throw parsed.error("-o \(word.name): \(word.help)")
            case .kernel:
                kernelWords.append(value.map { "\(word.name)=\($0.shown)" } ?? word.name)
            case .own:
                if let value {
                    try apply(word, value, parsed)
                } else {
                    apply(word)
                }
            }
        }
    }

    private mutating func apply(_ word: MountWord) {
        switch word.name {
        case "ro": readOnly = true
        case "rw": readOnly = false
        case "allow_other": access = .everyone
        case "allow_root": access = .ownerAndRoot
        case "nonempty": nonEmpty = true
        case "auto_unmount": autoUnmount = true
        case "create": create = true
        default: preconditionFailure("the table of mount options has a word that nothing applies: \(word.name)")
        }
    }

    private mutating func apply(_ word: MountWord, _ value: Argument, _ parsed: ParsedArguments) throws(UsageError) {
        let what = "-o \(word.name)"
        func used(_ row: OptionRow) -> Bool { parsed.occurrences.contains { $0.option == row.long } }
        switch word.name {
        case "fsname":
            do {
                fileSystemName = try readText(value, what: "the name", limit: 255)
            } catch {
                throw parsed.error("\(what): \(error.why)")
            }
        case "key":
            let reference: KeyReference = try parsed.read(value, for: what)
            if !used(ClientOptions.keyOption.row), !used(ClientOptions.userOption.row) { client.key = .file(reference) }
        case "server": client.servers.append(try parsed.read(value, for: what))
        case "timeout":
            let timeout: Duration = try parsed.read(value, for: what)
            if !used(Self.timeoutOption.row) { client.timeout = timeout == .zero ? nil : timeout }
        case "discovery-port":
            let port: Port = try parsed.read(value, for: what)
            if !used(ClientOptions.discoveryPortOption.row) { client.discoveryPort = port }
        case "cache-memory": cacheMemory = try parsed.read(value, for: what)
        default: preconditionFailure("the table of mount options has a word that nothing applies: \(word.name)")
        }
    }
}
