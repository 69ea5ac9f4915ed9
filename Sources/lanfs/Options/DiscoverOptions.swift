/// `lanfs discover`: who is out there.
struct DiscoverOptions: Equatable, Sendable {
    var common = CommonOptions()
    var key = ClientOptions.KeySource.file(.defaultKey)
    var servers: [HostPort] = []
    var discoveryPort = ClientOptions.standardDiscoveryPort
    /// Only servers with at least so much room are shown.
    var need: ByteSize?
    /// How long to listen for answers.
    var wait = standardWait
    var json = false

    static let standardWait = Duration.seconds(1)

    static let needOption = ValueOption<ByteSize>(
        "need", "n", "SIZE", help: "show only servers with so much room",
        manual: "Show only servers that have at least SIZE free for your volume, as in `50G`.")
    static let waitOption = ValueOption<Duration>(
        "wait", "w", "DURATION", help: "listen for so long (default: 1s)",
        manual: "Listen for answers for so long. The default is 1s, ample for a LAN; a slow wireless network or a "
            + "machine that wakes up first needs more.")

    static let command = Command(
        name: "discover", summary: "list the servers on the LAN",
        overview: """
            Ask the LAN who lends disk, and list each server with its address, free space, capacity, round trip, \
            fingerprint and whether it holds your volume.
            """,
        operands: [],
        options: [
            needOption.row, waitOption.row, ClientOptions.serverOption.row, ClientOptions.discoveryPortOption.row,
            ClientOptions.keyOption.row, ClientOptions.userOption.row, CommonOptions.json.row,
        ] + CommonOptions.rows,
        examples: [
            .init(line: "lanfs discover", meaning: "every server that answers"),
            .init(line: "lanfs discover --need 50G", meaning: "those with 50 GiB free"),
            .init(line: "lanfs discover -s nas.example:4445", meaning: "ask beyond the LAN as well"),
        ])

    init() {}

    init(_ parsed: ParsedArguments) throws(UsageError) {
        let client = try ClientOptions(parsed)
        common = client.common
        key = client.key
        servers = client.servers
        discoveryPort = client.discoveryPort
        need = try parsed.value(Self.needOption)
        wait = try parsed.value(Self.waitOption) ?? Self.standardWait
        guard wait > .zero else { throw parsed.error("--wait: no answer can come in no time; give at least 100ms") }
        json = parsed.isSet(CommonOptions.json)
    }
}
