import Glibc
import SystemPackage
import Testing

@Suite("Crashes", .serialized, .enabled(if: Machine.canMount))
struct CrashTests {
    private static let rounds = setting("LANFS_ROUNDS", default: 5)

    @Test("kill -9 of the server loses nothing, and the mount goes on when it is back, also elsewhere")
    func serverKilled() throws {
        try onHost(limit: .seconds(120 + 20 * Self.rounds)) { host in
            var random = SplitMix64(seed: 11)
            var all: [(path: String, bytes: [UInt8])] = []
            for round in 0..<Self.rounds {
                for number in 0..<random.below(40) {
                    let file = (path: "r\(round)-\(number)", bytes: randomBytes(random.below(100_000), seed: random.next()))
                    try writeFile(host(file.path), file.bytes)
                    all.append(file)
                }
                let last = (path: "r\(round)-synced", bytes: randomBytes(random.below(3_000_000), seed: random.next()))
                try writeFile(host(last.path), last.bytes, sync: true)
                all.append(last)
                let port = host.serverPort
                try host.killServer()
                // Every other time at the old port; any free one is another.
                try host.startServer(port: round % 2 == 0 ? port : 0)
                for file in all {
                    try #require(try contents(host(file.path)) == file.bytes, "\(file.path), round \(round)")
                }
                try writeFile(host("after"), last.bytes, sync: true)
            }
            try host.remount()
            for file in all { try #require(try contents(host(file.path)) == file.bytes, "\(file.path) after a remount") }
        }
    }

    @Test("kill -9 of the mount leaves what was synced and a prefix of what came after")
    func mountKilled() throws {
        try onHost(limit: .seconds(120 + 20 * Self.rounds)) { host in
            for round in 0..<Self.rounds {
                var random = SplitMix64(seed: UInt64(100 + round))
                let size = { (number: Int) in 1 + (number * 7919 + round * 31) % 90_000 }
                let bytes = { (number: Int) in randomBytes(size(number), seed: UInt64(round * 1000 + number)) }
                let folder = host("round\(round)")
                try check(mkdir(folder, 0o755))
                var synced = -1
                let end = 30 + random.below(60)
                for number in 0..<end {
                    // A file of its own each, and one that is replaced again and again, as editors save.
                    try writeFile(folder + "/f\(number)", bytes(number))
                    let sync = random.below(12) == 0 || number == 5
                    try writeFile(folder + "/temporary", bytes(number), sync: sync)
                    try check(rename(folder + "/temporary", folder + "/saved"))
                    if sync { synced = number }
                }
                usleep(UInt32(random.below(700_000)))
                try host.killMount()
                try host.startMount()
                let there = (0..<end).prefix { exists(folder + "/f\($0)") }.count
                try #require(there > synced, "round \(round): synced up to \(synced), but only \(there) files are left")
                for number in 0..<there {
                    let found = try contents(folder + "/f\(number)")
                    let whole = number < there - 1 ? found == bytes(number) : bytes(number).starts(with: found)
                    try #require(whole, "round \(round): f\(number) of \(there), \(found.count) bytes")
                }
                try #require(try contents(folder + "/f\(synced)") == bytes(synced))
                for number in there..<end { try #require(!exists(folder + "/f\(number)"), "not a prefix: f\(number)") }
                let saved = try contents(folder + "/saved")
                // The rename after the last file may be missing, but never half done.
                let possible = (max(0, synced - 1)..<end).filter { $0 >= there - 2 && size($0) == saved.count }
                try #require(possible.contains { bytes($0) == saved }, "round \(round): saved is half of something")
            }
        }
    }

    @Test("while the server is away the cache answers, umount returns, and unsaved work is kept for later")
    func serverAway() throws {
        try onHost { host in
            let bytes = randomBytes(200_000, seed: 5)
            try check(mkdir(host("d"), 0o755))
            try writeFile(host("d/known"), bytes, sync: true)
            try #require(try names(in: host("d")) == [Array("known".utf8)])
            try host.killServer()
            try #require(
                eventually(.seconds(20)) { host.mountLog.contains("is away") }, "the mount has not noticed")
            try writeFile(host("d/unsaved"), bytes)
            try #require(try status(host("d/known")).st_size == bytes.count)
            try #require(try names(in: host("d")).count == 2)
            let started = ContinuousClock.now
            _ = try host.unmount(limit: .seconds(30))
            try #require(ContinuousClock.now - started < .seconds(15), "umount and the end of the mount took too long")
            let place = host.mountLog.split(separator: " ").first { $0.hasSuffix("/unsaved") }
            try #require(host.mountLog.contains("could not be saved") && place.map { exists(String($0)) } == true)
            try host.startServer()
            try host.startMount()
            try #require(try contents(host("d/unsaved")) == bytes)
            try #require(try contents(host("d/known")) == bytes)
        }
    }
}
