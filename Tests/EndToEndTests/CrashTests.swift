import Glibc
import SystemPackage
import TestSupport
import Testing

@Suite("Crashes", .serialized, .enabled(if: Machine.canMount))
struct CrashTests {
    private static let rounds = setting("LANFS_ROUNDS", default: 100)
    private static let seed = UInt64(setting("LANFS_SEED", default: Int(UInt32.random(in: 0...UInt32.max))))

    @Test("kill -9 of the server, the mount or both at any moment leaves what was synced and a prefix of the rest")
    func killed() async throws {
        print("kill -9: again with LANFS_SEED=\(Self.seed) LANFS_ROUNDS=\(Self.rounds)")
        // Volumes side by side: who comes after a dead writer mostly waits, for the end of its lease (L2).
        let volumes = min(8, Self.rounds)
        try await onVolumes(volumes, limit: .seconds(120 + 30 * Self.rounds / volumes)) { host, volume in
            var run = CrashRun(host, seed: Self.seed &+ UInt64(volume))
            for round in stride(from: volume, to: Self.rounds, by: volumes) {
                try run.round(Victim.allCases[round % Victim.allCases.count])
            }
            try host.remount()
            try run.checkPast()
        }
    }

    @Test(
        "a power cut at the server leaves what was synced and a prefix of the rest",
        .enabled(if: Machine.canMountImages))
    func powerCuts() throws {
        print("power cuts: again with LANFS_SEED=\(Self.seed)")
        try onHost(serve: nil, mount: false, limit: .seconds(300)) { host in
            var disk = try ImageDisk(host, at: host.data, megabytes: 600)
            defer { try? disk.detach() }
            try host.startServer(["--capacity", "400MiB"])
            try host.startMount()
            var random = SplitMix64(seed: Self.seed)
            var past: [(files: NumberedFiles, count: Int)] = []
            for round in 0..<4 {
                let files = NumberedFiles(folder: host("round\(round)"), seed: random.next())
                try check(mkdir(files.folder, 0o755))
                let writer = Writer(files)
                usleep(UInt32(200_000 + random.below(1_500_000)))
                // Before the cut: what is synced later is not asked for.
                let synced = writer.synced
                try host.killServer()
                try disk.cutPower()
                try host.killMount()
                try writer.wait()
                try host.startServer(["--capacity", "400MiB"])
                // With its memory of the last root: one that went back would be refused (F1).
                try host.startMount()
                past.append((files, try files.countAfterCrash(begun: writer.begun, synced: synced)))
                for (files, count) in past { try files.requireWhole(0..<count) }
            }
        }
    }

    @Test("a file that was deleted while it was open is gone after the mount that had it open was killed")
    func unnamedFiles() throws {
        try onHost { host in
            try writeFile(host("kept"), randomBytes(1000, seed: 1), sync: true)
            let before = try files(host)
            let descriptor = open(host("deleted"), O_RDWR | O_CREAT, 0o644)
            try check(descriptor)
            defer { close(descriptor) }
            let bytes = randomBytes(3_000_000, seed: 2)
            #expect(bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) } == bytes.count)
            try check(unlink(host("deleted")))
            try check(fsync(descriptor))
            #expect(try files(host) == before + 1, "it lives while it is open")
            try host.killMount()
            try host.startMount()
            let deadline = ContinuousClock.now + .seconds(20)
            while try files(host) > before, ContinuousClock.now < deadline { usleep(100_000) }
            #expect(try files(host) == before)
            #expect(try contents(host("kept")) == randomBytes(1000, seed: 1))
        }
    }

    private func files(_ host: Host) throws -> UInt64 {
        var status = statvfs()
        try check(statvfs(host.mountPoint, &status))
        return UInt64(status.f_files - status.f_ffree)
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
