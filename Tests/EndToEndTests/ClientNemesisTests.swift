import Glibc
import TestSupport
import Testing

/// What happens to the clients of a volume, or to a keeper, while all of them work.
enum ClientFault: String, CaseIterable, Sendable {
    case none, killClient, pauseClient, cutClient, killKeeper
}

@Suite("A nemesis among the clients of a LAN", .serialized, .enabled(if: Lan.canBeMade))
struct ClientNemesisTests {
    /// For each fault and each number of clients, or for those that are given; 0: one short run of what no other test does.
    private static let seconds = setting("LANFS_CLIENT_NEMESIS_SECONDS", default: 0)
    private static let seed = UInt64(setting("LANFS_SEED", default: Int(UInt32.random(in: 0...UInt32.max))))
    private static let clients = setting("LANFS_CLIENT_NEMESIS_CLIENTS", default: 0)
    private static let runs: [(clients: Int, faults: [ClientFault])] =
        seconds == 0 ? [(3, [.pauseClient, .cutClient])]
        : (clients == 0 ? [2, 3, 5] : [clients]).flatMap { clients in
            ClientFault.allCases.filter { fault.map($0.rawValue.contains) ?? true }.map { (clients, [$0]) }
        }
    /// A part of its name.
    private static let fault = getenv("LANFS_CLIENT_NEMESIS_FAULT").map { String(cString: $0) }

    @Test("whatever becomes of one at a time, there is an order that explains what all of them saw", arguments: runs)
    func strikes(clients: Int, faults: [ClientFault]) throws {
        print("client nemesis: again with LANFS_SEED=\(Self.seed) LANFS_CLIENT_NEMESIS_SECONDS=\(Self.seconds)")
        try onLan(servers: 3, clients: clients, limit: .seconds(400 + 2 * Self.seconds)) { lan in
            let story = Story()
            try writeFile(lan.client("first"), [1], sync: true)
            let hasKeepers = try eventually(.seconds(90), every: 300_000) {
                try writeFile(lan.client("first"), [1], sync: true)
                return try lan.client.lanfs("status", "--json").text.split(separator: "\"keeper\":true").count == 4
            }
            try #require(hasKeepers)
            let work = try SharedLoad(mounts: lan.clients.map(\.mountPoint), seed: Self.seed)
            let loads = work.start()
            defer { for load in loads { load.askToStop() } }
            var random = SplitMix64(seed: Self.seed)
            let end = ContinuousClock.now + .seconds(Self.seconds)
            var count = 0
            repeat {
                for fault in faults {
                    try strike(fault, lan, work, &random, story)
                    count += 1
                }
            } while ContinuousClock.now < end
            for load in loads { _ = try load.stop() }
            story.tell(
                "\(clients) clients, \(faults.map(\.rawValue)), \(count) times: \(work.registers.count) reads and writes, "
                    + "\(work.names.count) names, \(work.counters.count) counts")
            #expect(work.registers.count > 50 && work.names.count > 5 && work.counters.count > 5)
            try work.requireLinearizable()
            try requireSame(lan)
        }
    }

    private func strike(
        _ fault: ClientFault, _ lan: Lan, _ work: SharedLoad, _ random: inout SplitMix64, _ story: Story
    ) throws {
        let number = random.below(lan.clients.count)
        let time = UInt32(3_000_000 + random.below(9_000_000))
        story.tell("\(fault) \(number), \(time / 1000) ms")
        switch fault {
        case .none: usleep(time)
        case .killClient:
            try lan.clients[number].killMount()
            usleep(time / 2)
            try lan.clients[number].startMount()
        case .pauseClient:
            let process = lan.clients[number].mount
            process?.signal(SIGSTOP)
            // Past its lease.
            usleep(time + 8_000_000)
            process?.signal(SIGCONT)
        case .cutClient:
            let start = ContinuousClock.now
            try lan.set(.cut, ofClient: number)
            usleep(time)
            try lan.set(.whole, ofClient: number)
            // Until it has found them again, which takes a busy machine longer than an idle one.
            try #require(
                eventually(.seconds(60), every: 20_000) {
                    (try? writeFile(lan.clients[number]("back \(number)"), [1], sync: true)) != nil
                })
            work.notePartition(of: number, start..<ContinuousClock.now)
        case .killKeeper:
            let server = number % lan.servers.count
            try lan.servers[server].killServer()
            usleep(time)
            try lan.servers[server].startServer(["--name", "server\(server)"])
        }
        usleep(UInt32(2_000_000 + random.below(2_000_000)))
    }

    /// In the end all see the same.
    private func requireSame(_ lan: Lan) throws {
        try writeFile(lan.client("last"), [2], sync: true)
        func view(_ host: Host) throws -> [String] {
            try names(in: host("work")).map { String(decoding: $0, as: UTF8.self) }.sorted().map { name in
                let isFile = try status(host("work/" + name)).st_mode & S_IFMT == S_IFREG
                return isFile ? "\(name): \(try contents(host("work/" + name)))" : name
            }
        }
        let first = try view(lan.client)
        for other in lan.clients.dropFirst() {
            var seen: [String] = []
            let isSame = try eventually(.seconds(20), every: 100_000) {
                seen = try view(other)
                return seen == first
            }
            try #require(isSame, "\(seen)\n\(first)")
        }
    }
}
