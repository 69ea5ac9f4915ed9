import Glibc
import TestSupport

/// What happens in a long test, with the time at which it did.
struct Story: Sendable {
    private let start = ContinuousClock.now
    func tell(_ text: String) {
        let time = ContinuousClock.now - start
        print("\(time.components.seconds) s: \(text)")
        fflush(nil)
    }
}

/// Does harm to one server of a LAN at a time, and makes it good again.
struct Nemesis {
    enum Fault: CaseIterable { case kill, stop, cut, mute, deaf, slow, wipe }

    private let lan: Lan
    private let serve: [String]
    /// What it may do: all, but for wipes in short runs, since a wiped server takes a minute to be replaced; or what
    /// `LANFS_NEMESIS_FAULTS` says, as in `slow,cut`.
    private let repertoire: [Fault]
    private var random: SplitMix64
    private let story: Story
    /// What is to come before anything comes again.
    private var faults: [Fault] = []
    /// How often each was done.
    private(set) var count = 0

    init(_ lan: Lan, serve: [String], wipes: Bool, seed: UInt64, _ story: Story) {
        self.lan = lan
        let chosen = getenv("LANFS_NEMESIS_FAULTS").map { String(cString: $0).split(separator: ",") }
        repertoire = Fault.allCases.filter { fault in
            chosen.map { $0.contains("\(fault)") } ?? (wipes || fault != .wipe)
        }
        self.story = story
        self.serve = serve
        random = SplitMix64(seed: seed)
    }

    /// One fault from its beginning to when the server takes part again.
    mutating func strike() throws {
        if faults.isEmpty { faults = repertoire.shuffled(using: &random) }
        let fault = faults.removeLast()
        let number = random.below(lan.servers.count)
        let server = lan.servers[number]
        let time = UInt32(1_000_000 + random.below(12_000_000))
        // Another copy of everything has to be somewhere.
        if fault == .wipe { try waitUntilWhole() }
        story.tell("\(fault) of server \(number) for \(time / 1000) ms")
        switch fault {
        case .kill, .wipe:
            try server.killServer()
            if fault == .wipe {
                guard try server.run(["rm", "-rf", server.data]).status == 0 else { throw Failure("rm") }
            }
            usleep(time / 2)
            try server.startServer(serve + ["--name", "server\(number)"])
        case .stop:
            server.server?.signal(SIGSTOP)
            usleep(time)
            server.server?.signal(SIGCONT)
        case .cut: try cut(.cut, number, time)
        case .mute: try cut(.mute, number, time)
        case .deaf: try cut(.deaf, number, time)
        case .slow: try cut(.slow, number, time)
        }
        count += 1
        if fault == .wipe {
            try waitUntilWhole()
        } else {
            try waitUntilHere()
        }
        // The mount finds it a little later than those who ask now.
        usleep(UInt32(4_000_000 + random.below(3_000_000)))
    }

    private func cut(_ link: Lan.Link, _ server: Int, _ time: UInt32) throws {
        try lan.set(link, of: server)
        usleep(time)
        try lan.set(.whole, of: server)
    }

    /// Every server answers.
    func waitUntilHere() throws { try wait(.seconds(60), "the servers are not all back") { $0.here == lan.servers.count } }

    /// Every block has all its copies again, as far as the servers know, and they had time to look; who was lost for good is
    /// no member any more.
    func waitUntilWhole() throws {
        var since: ContinuousClock.Instant?
        try wait(.seconds(180), "not all copies are made again") { status in
            let isWhole = status.here == lan.servers.count && status.members == status.here && status.missing == 0
            since = isWhole ? since ?? .now : nil
            return since.map { ContinuousClock.now - $0 > .seconds(4) } ?? false
        }
        story.tell("everything is replicated")
    }

    private struct Status {
        var here = 0
        var members = 0
        var missing = 0
    }

    private func wait(_ limit: Duration, _ failure: String, _ isGood: (Status) -> Bool) throws {
        var last = ""
        let isReached = try eventually(limit, every: 300_000) {
            let output = try lan.client.lanfs("status", "--json")
            last = output.text + output.errors
            guard output.status == 0 else { return false }
            let words = last.split { " \n,{}[]".contains($0) }
            return isGood(
                Status(
                    here: words.count { $0 == "\"health\":\"here\"" }, members: words.count { $0.hasPrefix("\"health\":") },
                    missing: words.lazy.compactMap { word in
                        word.hasPrefix("\"missing_copies\":") ? Int(word.split(separator: ":")[1]) : nil
                    }.first ?? .max))
        }
        guard isReached else { throw Failure("\(failure): \(last)") }
    }
}
