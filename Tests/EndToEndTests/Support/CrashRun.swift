import Glibc
import Synchronization
import SystemPackage
import TestSupport

enum Victim: CaseIterable { case server, mount, both }

/// Rounds on one volume: files are written, something is killed meanwhile, and what is left is compared.
struct CrashRun {
    private let host: Host
    private var random: SplitMix64
    /// How many files each round left.
    private var past: [(files: NumberedFiles, count: Int)] = []

    init(_ host: Host, seed: UInt64) {
        self.host = host
        random = SplitMix64(seed: seed)
    }

    mutating func round(_ victim: Victim) throws {
        let files = NumberedFiles(folder: host("round\(past.count)"), seed: random.next())
        try check(mkdir(files.folder, 0o755))
        let writer = Writer(files)
        usleep(UInt32(random.below(1_200_000)))
        switch victim {
        case .server:
            try host.killServer()
            try startServer()
            try writer.stop()
            try writeFile(host("after"), [1], sync: true)
        case .mount:
            try host.killMount()
            try writer.wait()
            try host.startMount()
        case .both:
            let serverFirst = random.below(2) == 0
            if serverFirst { try host.killServer() }
            try host.killMount()
            if !serverFirst { try host.killServer() }
            try startServer()
            try writer.wait()
            try host.startMount()
        }
        do {
            let count = try files.countAfterCrash(begun: writer.begun, synced: writer.synced)
            guard victim != .server || count == writer.begun else {
                throw Failure("\(count) of \(writer.begun) files, although the mount was not killed")
            }
            if let last = past.last { try last.files.requireWhole(0..<last.count) }
            past.append((files, count))
        } catch let failure as Failure {
            throw Failure("round \(past.count), kill -9 of \(victim): \(failure)")
        }
    }

    /// After a while, at the same port or at any other.
    private mutating func startServer() throws {
        usleep(UInt32(random.below(300_000)))
        try host.startServer(port: random.below(2) == 0 ? host.serverPort : 0)
    }

    /// What one crash left, no later one takes away.
    func checkPast() throws {
        for (files, count) in past { try files.requireWhole(0..<count) }
    }
}

/// Files with numbers for names and contents that follow from the number; and one, `saved`, that each of them replaces,
/// as editors save.
struct NumberedFiles: Sendable {
    let folder: String
    let seed: UInt64

    func path(_ number: Int) -> String { "\(folder)/f\(number)" }
    var saved: String { folder + "/saved" }
    var temporary: String { folder + "/temporary" }

    /// Mostly small, some of several chunks.
    func bytes(_ number: Int) -> [UInt8] {
        var random = SplitMix64(seed: seed &+ UInt64(number))
        return randomBytes(1 + random.below(random.below(8) == 0 ? 300_000 : 5_000), seed: random.next())
    }

    /// In three steps, of which a crash leaves the first ones.
    func write(_ number: Int, sync: Bool) throws {
        let bytes = bytes(number)
        try writeFile(path(number), bytes)
        try writeFile(temporary, bytes, sync: sync)
        try check(rename(temporary, saved))
    }

    func requireWhole(_ numbers: Range<Int>) throws {
        for number in numbers where try contents(path(number)) != bytes(number) {
            throw Failure("f\(number) has changed")
        }
    }

    /// How many files there are, when they are a prefix of those begun with everything synced in it; the last one is
    /// written again when a crash cut it off.
    func countAfterCrash(begun: Int, synced: Int) throws -> Int {
        let count = (0..<begun).prefix { exists(path($0)) }.count
        guard count > synced else { throw Failure("f\(synced) was synced, but only \(count) files are left") }
        if let number = (count..<begun).first(where: { exists(path($0)) }) {
            throw Failure("no prefix: f\(number) is there and f\(count) is not")
        }
        guard count > 0 else { return 0 }
        try requireWhole(0..<count - 1)
        let (last, found) = (bytes(count - 1), try contents(path(count - 1)))
        let save = exists(saved) ? try contents(saved) : nil
        let isLastWhole = count - 1 == synced || save == last
        guard isLastWhole ? found == last : last.starts(with: found) else {
            throw Failure("f\(count - 1), the last, has \(found.count) of \(last.count) bytes")
        }
        guard save == last || (count == 1 ? save == nil : save == bytes(count - 2)) else {
            throw Failure("saved is neither f\(count - 1) nor the one before")
        }
        if found != last { try writeFile(path(count - 1), last, sync: true) }
        return count
    }
}

/// Writes numbered files, one after the other on a thread of its own, until it is told to stop or a call fails.
final class Writer: Sendable {
    private struct State {
        var begun = 0
        var synced = -1
        var isStopped = false
        var error: (any Error)?
        var hasEnded = false
    }
    private let state = Mutex(State())

    var begun: Int { state.withLock { $0.begun } }
    /// The last number with which everything before was synced, -1 for none.
    var synced: Int { state.withLock { $0.synced } }

    init(_ files: NumberedFiles) {
        onThread { [self] in
            var random = SplitMix64(seed: files.seed)
            do {
                while let number = next() {
                    let sync = random.below(12) == 0
                    try files.write(number, sync: sync)
                    if sync { state.withLock { $0.synced = number } }
                    usleep(UInt32(random.below(6_000)))
                }
            } catch {
                state.withLock { $0.error = error }
            }
            state.withLock { $0.hasEnded = true }
        }
    }

    private func next() -> Int? {
        state.withLock { state in
            if state.isStopped { return nil }
            state.begun += 1
            return state.begun - 1
        }
    }

    /// Ends it, and throws what failed.
    func stop() throws {
        state.withLock { $0.isStopped = true }
        try wait()
        if let error = state.withLock({ $0.error }) { throw error }
    }

    func wait() throws {
        guard eventually(.seconds(60), { state.withLock { $0.hasEnded } }) else { throw Failure("a write hangs") }
    }
}
