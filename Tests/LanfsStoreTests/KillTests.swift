import Glibc
import LanfsProtocol
import SystemPackage
import TestSupport
import Testing

@testable import LanfsStore

private let childVariable = "LANFS_STORE_TEST_CHILD"

private func childFolder() -> FilePath? {
    getenv(childVariable).map { FilePath(String(cString: $0)) }
}

private func killBlock(_ number: UInt64) -> TestBlock {
    TestBlock(number, size: Int((number &* 7919) % 70_000))
}

private func killOptions() -> BlockStore.Options {
    var options = BlockStore.Options()
    options.segmentSize = 2 << 20
    return options
}

/// Runs only in the process that `KillTests` starts, and until it is killed.
@Suite("Child of the kill test", .enabled(if: childFolder() != nil))
struct KilledWriterChild {
    @Test("writes until it is killed")
    func write() throws {
        let folder = try #require(childFolder())
        let acknowledged = try OpenFile(folder.appending("acknowledged"), O_WRONLY | O_APPEND | O_CREAT)
        let store = try BlockStore.open(folder.appending("store"), options: killOptions())
        let first = UInt64(try acknowledged.information().size)
        // Longer than the parent waits, but not for ever if the parent dies.
        for number in first..<first + 20_000 {
            try store.put(killBlock(number))
            if number % 5 == 4 {
                try store.flush()
                // One byte for every block that is flushed: the kernel keeps it whatever happens to us.
                let count = Int(number + 1) - Int(try acknowledged.information().size)
                try acknowledged.write([UInt8](repeating: 1, count: count), at: try acknowledged.information().size)
            }
            if number % 11 == 10 { try store.free([killBlock(number - 10).id], gcEpoch: 1) }
        }
    }
}

@Suite("Killed with SIGKILL")
struct KillTests {
    @Test("everything flushed is back, round after round", .enabled(if: childFolder() == nil))
    func kill() throws {
        let folder = try TemporaryFolder("kill")
        var generator = SplitMix64(seed: 42)
        var before: UInt64 = 0
        for round in 0..<6 {
            let child = try spawn(folder.path)
            usleep(UInt32.random(in: 300_000...900_000, using: &generator))
            Glibc.kill(child, SIGKILL)
            var status: Int32 = 0
            waitpid(child, &status, 0)
            #expect(status & 0x7f == SIGKILL, "round \(round): the child ended by itself with \(status)")
            guard Disk.exists(folder.path.appending("acknowledged")) else { continue }
            let count = try OpenFile(folder.path.appending("acknowledged"), O_RDONLY).information().size
            let store = try BlockStore.open(folder.path.appending("store"), options: killOptions())
            #expect(store.issues.isEmpty, "round \(round)")
            for number in 0..<count { #expect(store.has(killBlock(number)), "round \(round) block \(number)") }
            #expect(count >= before)
            before = count
        }
        #expect(before > 0, "the child never got to flush")
    }

    private func spawn(_ folder: FilePath) throws -> pid_t {
        let arguments = [
            "/proc/self/exe", "--filter", "KilledWriterChild", "--testing-library", "swift-testing",
        ]
        let environment =
            ["\(childVariable)=\(folder)", "PATH=/usr/bin:/bin"]
            + (getenv("LD_LIBRARY_PATH").map { ["LD_LIBRARY_PATH=\(String(cString: $0))"] } ?? [])
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var child = pid_t()
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        try #require(posix_spawn(&child, "/proc/self/exe", &actions, nil, &argv, &envp) == 0)
        return child
    }
}
