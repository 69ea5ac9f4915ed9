import Glibc
import LanfsClient
import LanfsCrypto
import LanfsProtocol

/// `lanfs status`.
enum Status {
    private static let interval = Duration.seconds(2)
    /// A server that takes longer is shown as away.
    private static let patience = Duration.seconds(2)

    static func run(_ options: StatusOptions) async throws(CommandError) -> ExitCode {
        var client = options.client
        // Who is away stands in the answer.
        if client.common.verbosity == .normal { client.common.verbosity = .quiet }
        let session = ClientSession(client)
        let key = try session.key()
        async let names = ServerNames.found(by: session, of: VolumeID(key.volumeID))
        let volume = try await session.open(key, .never) { $0.readOnly = true }
        defer { volume.abandon() }
        let redraws = options.watch && !options.json && Terminal.isTerminal(STDOUT_FILENO)
        var isFirst = true
        while true {
            let status = await volume.status(patience: patience)
            let text = options.json ? json(status, await names).text + "\n" : text(status, await names)
            try StandardOutput.print((redraws ? "\u{1B}[H\u{1B}[2J" : isFirst || options.json ? "" : "\n") + text)
            guard options.watch else { return .success }
            isFirst = false
            try? await Task.sleep(for: interval)
        }
    }

    // MARK: For people

    private static func text(_ status: VolumeStatus, _ names: ServerNames) -> String {
        var table = TextTable([.left, .left, .left, .right, .right, .right, .left])
        table.add(["SERVER", "STATE", "ADDRESS", "USED", "FREE", "BLOCKS", "ROLE"])
        for server in status.servers {
            table.add([
                names.shown(server.server),
                state(of: server), server.address ?? "-",
                server.answer.map { HumanSize.compact($0.usedByVolume) } ?? "-",
                server.answer.map { HumanSize.compact($0.free) } ?? "-", server.answer.map { String($0.blocks) } ?? "-",
                role(of: server),
            ])
        }
        let copies = status.replicas == 1 ? "1 copy" : "\(status.replicas) copies"
        return """
            volume \(status.volume.hex.prefix(16)): \(copies) of each block, commit \(status.commits), epoch \(status.epoch)
            \(summary(status))

            \(table.text)\(conflicts(status) + recovery(status, names))
            """
    }

    private static func state(of server: VolumeStatus.Server) -> String {
        if server.state == .draining { return server.answer == nil ? "draining, away" : "draining" }
        return server.answer != nil ? "here" : server.health == .lost ? "lost" : "away"
    }

    private static func word(for state: Member.State) -> String {
        switch state {
        case .active: "active"
        case .draining: "draining"
        case .lost: "lost"
        case .gone: "gone"
        }
    }

    private static func role(of server: VolumeStatus.Server) -> String {
        server.isWitness ? "witness" : server.isKeeper ? "keeper" : ""
    }

    /// One line: what a person has to know, the worst first.
    private static func summary(_ status: VolumeStatus) -> String {
        let away = status.servers.count { $0.answer == nil }
        let servers = away == 1 ? "one server is" : "\(away) servers are"
        if !status.isWritable { return "\(servers) away: what is written waits until they are back" }
        if status.missingCopies > 0 {
            let blocks = status.missingCopies == 1 ? "1 copy is" : "\(status.missingCopies) copies are"
            let time = status.repairSeconds.map { ", about \($0) s left" } ?? ""
            return "\(blocks) being made again, at \(HumanSize.compact(status.repairRate))/s\(time)"
        }
        if status.servers.count(where: { $0.answer == nil && !$0.isWitness }) >= max(1, status.requiredCopies) {
            return "\(servers) away and may have all copies of something: 'lanfs ls -lR' marks what cannot be read whole"
        }
        if away > 0 { return "\(servers) away; the others have what is needed" }
        if status.requiredCopies < status.replicas {
            return "there are servers for \(status.requiredCopies) of \(status.replicas) copies: start 'lanfs serve' on another host"
        }
        return "all is well"
    }

    /// L6: listed until somebody has decided which of the two is right.
    private static func conflicts(_ status: VolumeStatus) -> String {
        guard !status.conflicts.isEmpty else { return "" }
        return "\nkept beside what another client made at the same time, until renamed or deleted:\n"
            + status.conflicts.map { "  \($0)\n" }.joined()
    }

    /// What a recovery by force left behind, for whom that is news.
    private static func recovery(_ status: VolumeStatus, _ names: ServerNames) -> String {
        var text = ""
        let recovery = status.recovery
        if !recovery.snapshots.isEmpty {
            text += "\nsnapshots of what a recovery by force left behind: \(recovery.snapshots.joined(separator: ", "))\n"
        }
        guard recovery.holdsBack else { return text }
        if recovery.awaited.isEmpty {
            return text + "space of older data is given back by the daily audit only, for the sake of these snapshots\n"
        }
        let awaited = recovery.awaited.map(names.shown).joined(separator: ", ")
        return text + "\nspace of older data is held back until these come back, or leave with 'lanfs drain': \(awaited)\n"
    }

    // MARK: For programs

    private static func json(_ status: VolumeStatus, _ names: ServerNames) -> JSONValue {
        .object([
            .init("volume", .string(status.volume.hex)), .init("epoch", .unsigned(status.epoch)),
            .init("commits", .unsigned(status.commits)), .init("replicas", .unsigned(UInt64(status.replicas))),
            .init("writable", .bool(status.isWritable)),
            .init("missing_copies", .unsigned(UInt64(status.missingCopies))),
            .init("repair_rate", .unsigned(status.repairRate)),
            .init("repair_seconds", status.repairSeconds.map { .unsigned($0) } ?? .null),
            .init("snapshots", .array(status.recovery.snapshots.map { .string($0) })),
            .init("conflicts", .array(status.conflicts.map { .string($0) })),
            .init("space_held_back", .bool(status.recovery.holdsBack)),
            .init(
                "awaited", .array(status.recovery.awaited.map { .string(fingerprint(of: $0.bytes)) })),
            .init("servers", .array(status.servers.map { json($0, names) })),
        ])
    }

    private static func json(_ server: VolumeStatus.Server, _ names: ServerNames) -> JSONValue {
        .object([
            .init("name", names[server.server].map { .string($0) } ?? .null),
            .init("fingerprint", .string(fingerprint(of: server.server.bytes))),
            .init("state", .string(word(for: server.state))),
            .init("health", .string(server.answer != nil ? "here" : server.health == .lost ? "lost" : "away")),
            .init("address", server.address.map { .string($0) } ?? .null),
            .init("keeper", .bool(server.isKeeper)), .init("witness", .bool(server.isWitness)),
            .init("used", server.answer.map { .unsigned($0.usedByVolume) } ?? .null),
            .init("free", server.answer.map { .unsigned($0.free) } ?? .null),
            .init("blocks", server.answer.map { .unsigned($0.blocks) } ?? .null),
        ])
    }
}
