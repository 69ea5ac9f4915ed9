import Glibc
import Testing

@Suite("A nemesis among the servers of a LAN", .serialized, .enabled(if: Lan.canBeMade && Machine.has("fio")))
struct NemesisTests {
    /// How long it strikes, for each number of servers.
    private static let seconds = setting("LANFS_NEMESIS_SECONDS", default: 8)
    private static let isLong = seconds >= 60
    private static let seed = UInt64(setting("LANFS_SEED", default: Int(UInt32.random(in: 0...UInt32.max))))

    @Test(
        "whatever becomes of one server at a time, what was synced is there, nothing fails and nothing waits long",
        arguments: isLong && getenv("LANFS_NEMESIS_SERVERS") == nil ? [3, 5] : [setting("LANFS_NEMESIS_SERVERS", default: 3)])
    func strikes(servers: Int) throws {
        print("nemesis: again with LANFS_SEED=\(Self.seed) LANFS_NEMESIS_SECONDS=\(Self.seconds)")
        let serve = ["--grace", "10s", "--quarantine", "20s"]
        let limit = Duration.seconds(600 + 3 * Self.seconds)
        try onLan(servers: servers, serve: serve, mount: ["--cache-memory", "16M"], limit: limit) { lan in
            // The mount looks around for more servers once it writes.
            let story = Story()
            var nemesis = Nemesis(lan, serve: serve, wipes: Self.isLong, seed: Self.seed, story)
            try writeFile(lan.client("first"), [1], sync: true)
            try nemesis.waitUntilHere()
            let prober = try Prober(folder: lan.client("probe"), seed: Self.seed) { story.tell($0) }
            let mixed = try MixedLoad(lan.client, seed: Self.seed)
            let loads = prober.start() + mixed.start()
            defer { for load in loads { load.askToStop() } }

            let end = ContinuousClock.now + .seconds(Self.seconds)
            while ContinuousClock.now < end {
                try nemesis.strike()
                for load in loads { if let failure = load.failure { throw failure } }
            }
            try nemesis.waitUntilWhole()
            for load in loads { _ = try load.stop() }
            let longest = prober.longest
            story.tell(
                "\(servers) servers, \(nemesis.count) faults, \(loads.map { "\($0.name) \($0.rounds)" }), "
                    + "longest read \(longest.read), longest write \(longest.write)")
            // A machine that does other work as well may be late by itself.
            if Self.isLong {
                #expect(longest.read < .seconds(2))
                #expect(longest.write < .seconds(12))
            }

            try lan.client.remount()
            try prober.requireWhole()
            try mixed.requireWhole()
            // Whoever is missing, the others have everything.
            for server in 0..<(Self.isLong ? servers : 1) {
                try lan.set(.cut, of: server)
                story.tell("without server \(server)")
                try lan.client.remount()
                story.tell("remounted")
                try prober.requireWhole()
                try mixed.requireWhole()
                try lan.set(.whole, of: server)
                try nemesis.waitUntilHere()
            }
        }
    }
}
