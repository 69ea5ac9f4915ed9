/// What every command that talks to servers wants to know: which volume, which servers, how long to wait.
struct ClientOptions: Equatable, Sendable {
    /// Where the volume's key comes from.
    enum KeySource: Equatable, Sendable {
        case file(KeyReference)
        /// Derived from this name and a password asked on the terminal.
        case user(String)
    }

    /// The UDP port of discovery, the same on every server and client of a LAN.
    static let standardDiscoveryPort = Port(4444)
    /// How long the commands that do one thing and end wait for a server.
    static let standardTimeout = Duration.seconds(30)

    var common = CommonOptions()
    var key = KeySource.file(.defaultKey)
    /// Asked besides those that answer the broadcast; the only ones where broadcast does not reach.
    var servers: [HostPort] = []
    var discoveryPort = standardDiscoveryPort
    /// Nil: for ever.
    var timeout: Duration?

    static let keyOption = ValueOption<KeyReference>(
        "key", "k", "NAME|FILE", help: "use this key, a name or a file (default: default)",
        manual:
            "Use the volume key called NAME in the keys folder, or the key in FILE. A word that contains a slash or "
            + "ends in `.key` is a file. The default is the key called `default`.")
    static let userOption = ValueOption<UserName>(
        "user", "u", "NAME", help: "derive the key from NAME and a password instead",
        manual:
            "Derive the volume's key from NAME and a password, which is asked on the terminal, instead of reading a "
            + "file. The same two words open the same volume from any machine.")
    static let serverOption = ValueOption<HostPort>(
        "server", "s", "HOST[:PORT]", repeatable: true, help: "also ask this server; may be repeated",
        manual: "Ask this server besides those that answer the broadcast; may be repeated. Needed where broadcast does "
            + "not reach, as through a router or a VPN. Without PORT the server is asked for it on its discovery port. "
            + "An IPv6 address with a port stands in brackets: `[fe80::1%eth0]:4445`.")
    static let discoveryPortOption = ValueOption<Port>(
        "discovery-port", "PORT", help: "the UDP port of discovery (default: \(standardDiscoveryPort.number))",
        manual: "Look for servers on this UDP port. The default is \(standardDiscoveryPort.number); it must be the "
            + "one the servers use.")
    static let timeoutOption = ValueOption<Duration>(
        "timeout", "DURATION", help: "give up when no server answers (default: 30s)",
        manual: "Give up when no server answers for so long. The default is 30s; `0` waits for ever. "
            + "A transfer that was given up can be resumed by the same command.")

    /// For the commands that only read.
    static let snapshotOption = ValueOption<SnapshotName>(
        "snapshot", "NAME", help: "show a snapshot that a recovery left behind",
        manual: "Show the snapshot NAME instead of the volume's newest state, read-only. Snapshots are made of what servers "
            + "come back with after `lanfs mount --recover-force`; lanfs-status(1) lists them.")

    static let rows = [
        keyOption.row, userOption.row, serverOption.row, discoveryPortOption.row, timeoutOption.row,
    ]

    init() {}

    init(_ parsed: ParsedArguments, timeout standard: Duration? = standardTimeout) throws(UsageError) {
        try parsed.refuseTogether([Self.keyOption.row, Self.userOption.row])
        common = CommonOptions(parsed)
        if let reference = try parsed.value(Self.keyOption) { key = .file(reference) }
        if let user = try parsed.value(Self.userOption) { key = .user(user.name) }
        servers = try parsed.values(Self.serverOption)
        discoveryPort = try parsed.value(Self.discoveryPortOption) ?? Self.standardDiscoveryPort
        let given = try parsed.value(Self.timeoutOption)
        timeout = given == .zero ? nil : given ?? standard
    }
}
