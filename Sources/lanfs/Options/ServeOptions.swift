/// `lanfs serve`: lend this machine's disk.
struct ServeOptions: Equatable, Sendable {
    var common = CommonOptions()
    /// Nil: `server` in the user's data folder.
    var dataDirectory: LocalPath?
    /// Nil: what the disk has, keeping a reserve free.
    var capacity: ByteSize?
    var port = ListenPort.chosenBySystem
    var discoveryPort = ClientOptions.standardDiscoveryPort
    /// Nil: the host's name.
    var name: String?
    /// Added to the file `authorized`; with none here and none there every volume of the LAN is admitted.
    var admissions: [Admission] = []
    /// None: every address of this machine.
    var listenAddresses: [ListenAddress] = []
    var quarantine = standardQuarantine
    var grace = standardGrace
    var isWitness = false

    static let standardQuarantine = Duration.seconds(24 * 3600)
    static let standardGrace = Duration.seconds(15 * 60)
    /// Twice the silence of a server that is only slow.
    static let shortestGrace = Duration.seconds(10)

    static let dataDirectoryOption = ValueOption<LocalFolder>(
        "data-dir", "d", "DIR", help: "where to keep the identity and the blocks",
        manual: "Keep the server's identity and the stored blocks in DIR, which is made when it does not exist. The "
            + "default is `$XDG_DATA_HOME/lanfs/server`. One data directory serves one server at a time: a second one "
            + "refuses to start. Whoever copies the directory copies the server's identity.")
    static let capacityOption = ValueOption<ByteSize>(
        "capacity", "c", "SIZE", help: "give at most so much (default: what the disk has)",
        manual:
            "Store at most SIZE, as in `200G`. The default is what the disk has. Either way a reserve stays free on "
            + "the disk, so that deleting works when everything else is full. A smaller capacity than what is stored "
            + "already deletes nothing; it stops new data from coming in.")
    static let portOption = ValueOption<ListenPort>(
        "port", "p", "PORT", help: "the TCP port to listen on (default: any free one)",
        manual:
            "Listen on this TCP port. The default, `0`, takes any free port, which clients learn through discovery; "
            + "choose one where a firewall has to let it through.")
    static let discoveryPortOption = ValueOption<Port>(
        "discovery-port", "PORT",
        help: "the UDP port of discovery (default: \(ClientOptions.standardDiscoveryPort.number))",
        manual:
            "Answer clients on this UDP port. The default is \(ClientOptions.standardDiscoveryPort.number). Several "
            + "servers of one host share the port.")
    static let nameOption = ValueOption<ServerName>(
        "name", "n", "NAME", help: "the name to show to clients (default: the host's)",
        manual: "Show this name to clients, at most 63 bytes. The default is the host's name. It is for people only: "
            + "clients know a server by its key.")
    static let allowOption = ValueOption<Admission>(
        "allow", "a", "ID[:QUOTA]", repeatable: true, help: "admit this volume, and only listed ones",
        manual: "Admit the volume ID, with at most QUOTA of data, and from then on only listed volumes; may be "
            + "repeated. `lanfs keygen --show-id` prints the id. Volumes listed in the file "
            + "`$XDG_CONFIG_HOME/lanfs/authorized` are admitted as well; see WHO IS ADMITTED.")
    static let listenOption = ValueOption<ListenAddress>(
        "listen", "l", "ADDRESS", repeatable: true, help: "listen on this address only; may be repeated",
        manual: "Listen on this address of the machine, and on no other; may be repeated. The default is every address."
    )
    static let quarantineOption = ValueOption<Duration>(
        "quarantine", "DURATION", help: "keep deleted blocks for so long (default: 24h)",
        manual:
            "Keep the blocks that a volume gave up for so long before their space is used again. The default is 24h. "
            + "A shorter time gives space back sooner and leaves less time to undo a mistake.")

    static let graceOption = ValueOption<Duration>(
        "grace", "DURATION", help: "how long another server may be away (default: 15m)",
        manual:
            "When another server of a volume is silent for so long, and most servers of the volume find so, it counts as "
            + "lost and its blocks are copied elsewhere. The default is 15m, the least 10s. Choose it longer than a "
            + "restart takes, and the same on all servers of a volume.")
    static let witnessFlag = Flag(
        "witness", help: "keep no blocks, only votes",
        manual:
            "Keep no blocks. A witness only takes part in the votes on a volume's state: a third machine, however small, "
            + "lets a volume of two servers go on when one of them is away.")

    static let command = Command(
        name: "serve", summary: "lend this machine's disk",
        overview: """
            Lend this machine's disk to the volumes of the LAN, until SIGTERM or Ctrl-C. The first run makes the \
            server's identity. What is stored is encrypted; this machine cannot read it.
            """,
        operands: [],
        options: [
            dataDirectoryOption.row, capacityOption.row, nameOption.row, allowOption.row, listenOption.row,
            portOption.row, discoveryPortOption.row, quarantineOption.row, graceOption.row, witnessFlag.row,
        ] + CommonOptions.rows,
        examples: [
            .init(line: "lanfs serve", meaning: "lend what the disk has"),
            .init(line: "lanfs serve -d /srv/lanfs -c 500G", meaning: "lend 500 GiB of another disk"),
            .init(line: "lanfs serve --port 4445 --listen 192.168.1.10", meaning: "a fixed port, one network"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        common = CommonOptions(parsed)
        dataDirectory = try parsed.value(Self.dataDirectoryOption)?.path
        capacity = try parsed.value(Self.capacityOption)
        if capacity?.bytes == 0 { throw parsed.error("--capacity: a server needs room; give more than 0") }
        port = try parsed.value(Self.portOption) ?? .chosenBySystem
        discoveryPort = try parsed.value(Self.discoveryPortOption) ?? ClientOptions.standardDiscoveryPort
        name = try parsed.value(Self.nameOption)?.name
        admissions = try parsed.values(Self.allowOption)
        listenAddresses = try parsed.values(Self.listenOption)
        quarantine = try parsed.value(Self.quarantineOption) ?? Self.standardQuarantine
        grace = try parsed.value(Self.graceOption) ?? Self.standardGrace
        if grace < Self.shortestGrace {
            throw parsed.error("--grace: a server that is only slow is not lost; give at least 10s")
        }
        isWitness = parsed.isSet(Self.witnessFlag)
    }
}
