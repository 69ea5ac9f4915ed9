import Glibc
import SystemPackage
import TestSupport
import Testing

@Suite("What a local disk does, down to the details", .serialized, .enabled(if: Machine.canMount))
struct LocalDiskTests {
    /// Of file data, as the volume keeps it.
    private static let chunk = 16_384

    @Test("data and holes of a file with unsaved changes are where they are, from any offset on")
    func seeks() throws {
        try onHost { host in
            var random = SplitMix64(seed: 77)
            try withFile(host("f"), O_RDWR | O_CREAT) { file in
                let size = 40 * Self.chunk
                var written = [Bool](repeating: false, count: size)
                try check(ftruncate(file, off_t(size)))
                for round in 0..<30 {
                    let start = random.below(size - 1)
                    let count = min(size - start, 1 + random.below(3) * random.below(Self.chunk))
                    try writeAll(file, [UInt8](repeating: 1, count: count)[...], at: start)
                    for place in start..<start + count { written[place] = true }
                    if round % 5 == 1 { try check(fsync(file)) }
                    var offsets: [Int] = []
                    for edge in stride(from: 0, to: size, by: Self.chunk) {
                        offsets += [edge, edge + 1, edge + Self.chunk - 1, random.below(size)]
                    }
                    try requireSeeks(file, written, from: offsets)
                }
            }
        }
    }

    /// What was written counts as data, and with it at most the rest of its chunks; all else is holes.
    private func requireSeeks(_ file: Int32, _ written: [Bool], from offsets: [Int]) throws {
        var next = [Int](repeating: written.count, count: written.count + 1)
        for place in written.indices.reversed() { next[place] = written[place] ? place : next[place + 1] }
        let touched = stride(from: 0, to: written.count, by: Self.chunk).map { next[$0] < $0 + Self.chunk }
        for offset in offsets {
            let data = try dataOrEnd(file, offset, end: written.count)
            let hole = try seekHole(file, offset)
            let words: Comment = "from \(offset): data at \(data), a hole at \(hole), written next at \(next[offset])"
            try #require(data >= offset && data <= next[offset], words)
            try #require(data == written.count || touched[data / Self.chunk], words)
            try #require(hole >= offset && hole <= written.count && (hole == written.count || !written[hole]), words)
            try #require((data == offset) != (hole == offset), words)
            if hole == offset { continue }
            let chunks = offset / Self.chunk...(hole - 1) / Self.chunk
            try #require(touched[chunks].allSatisfy { $0 }, words)
        }
    }

    private func dataOrEnd(_ file: Int32, _ offset: Int, end: Int) throws -> Int {
        do {
            return try seekData(file, offset)
        } catch let error as Errno where error == .noSuchAddressOrDevice {
            return end
        }
    }

    @Test("writing the same bytes again and again takes no room")
    func sameBytes() throws {
        try onHost(serve: ["--capacity", "64M"]) { host in
            try withFile(host("f"), O_RDWR | O_CREAT) { file in
                let bytes = randomBytes(32 * Self.chunk, seed: 5)
                for _ in 0..<400 { try writeAll(file, bytes[...], at: 0) }
                try check(fsync(file))
            }
        }
    }

    @Test("writing other bytes over the old ones again and again takes no more room than both")
    func otherBytes() throws {
        try onHost(serve: ["--capacity", "64M"]) { host in
            try withFile(host("f"), O_RDWR | O_CREAT) { file in
                var last: [UInt8] = []
                for round in 0..<400 {
                    last = randomBytes(32 * Self.chunk, seed: UInt64(round))
                    try writeAll(file, last[...], at: 0)
                }
                try check(fsync(file))
                try #require(try contents(host("f")) == last)
            }
            // What does not fit still says so, at once and as often as it is tried.
            try withFile(host("g"), O_RDWR | O_CREAT) { file in
                let piece = randomBytes(1 << 20, seed: 1)
                let refusal = failure { for round in 0..<100 { try writeAll(file, piece[...], at: round << 20) } }
                try #require(refusal == .noSpace)
                for _ in 0..<100 { try #require(failure { try writeAll(file, piece[...], at: 200 << 20) } == .noSpace) }
            }
            try check(unlink(host("g")))
            try writeFile(host("h"), randomBytes(20 << 20, seed: 2))
        }
    }

    @Test("a write for which room is looked for at a server that hangs can be killed, and ends with --timeout")
    func roomOfHangingServer() throws {
        for timeout in [[], ["--timeout", "2s"]] {
            try onHost(serve: ["--capacity", "64M"], mount: false) { host in
                try host.startMount(timeout)
                let file = host("f")
                let piece = randomBytes(1 << 20, seed: 3)
                let refusal = failure {
                    try withFile(file, O_WRONLY | O_CREAT) { file in
                        for round in 0..<100 { try writeAll(file, piece[...], at: round << 20) }
                    }
                }
                try #require(refusal == .noSpace)
                let server = try #require(host.server)
                server.signal(SIGSTOP)
                defer { server.signal(SIGCONT) }
                let writer = try host.commands.start(
                    ["dd", "if=/dev/zero", "of=\(file)", "bs=1M", "count=1", "seek=200", "conv=notrunc"], log: "writer")
                if timeout.isEmpty {
                    try #require(writer.wait(.seconds(1)) == nil, "\(readText(writer.errors))")
                    writer.signal(SIGKILL)
                    #expect(writer.wait(.seconds(5)) == 128 + SIGKILL)
                } else {
                    #expect(writer.wait(.seconds(10)) == 1)
                    #expect(readText(writer.errors).contains("Input/output error"))
                }
            }
        }
    }

    @Test("a directory that is removed while it is open is empty and without links, and goes when it is closed")
    func removedDirectory() throws {
        try onHost { host in
            let used = { try host.tool("df", "--output=iused", host("")) }
            let before = try used()
            for replaced in [false, true] {
                for name in ["gone", "other"] { try check(mkdir(host(name), 0o755)) }
                let directories = try (0..<2).map { _ in try check(open(host("gone"), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) }
                if replaced {
                    try check(rename(host("other"), host("gone")))
                } else {
                    try check(rmdir(host("other")))
                }
                try check(rmdir(host("gone")))
                for directory in directories {
                    var now = stat()
                    try check(fstat(directory, &now))
                    try #require(now.st_nlink == 0 && now.st_mode & S_IFMT == S_IFDIR)
                    try #require(try names(in: "/proc/self/fd/\(directory)").isEmpty)
                    try #require(failure { try check(mkdirat(directory, "new", 0o755)) } == .noSuchFileOrDirectory)
                    try check(close(directory))
                }
                try #require(try eventually(.seconds(10)) { try used() == before })
            }
        }
    }

    @Test("chown(2) that changes nothing takes set-user-id and set-group-id away")
    func chownOfNothing() throws {
        try onHost { host in
            try writeFile(host("f"), [1])
            try check(mkdir(host("d"), 0o755))
            for name in ["f", "d"] {
                try check(chmod(host(name), 0o6755))
                try check(chown(host(name), uid_t.max, gid_t.max))
            }
            try #require(try status(host("f")).st_mode & 0o7777 == 0o755)
            try #require(try status(host("d")).st_mode & 0o7777 == 0o6755)
        }
    }

    @Test("copy_file_range(2) to a file that is open with O_SYNC returns when the copy is on disk")
    func synchronousCopy() throws {
        try onHost { host in
            let bytes = randomBytes(300_000, seed: 6)
            try writeFile(host("source"), bytes)
            try writeFile(host("target"), [], sync: true)
            try withFile(host("source"), O_RDONLY) { source in
                try withFile(host("target"), O_WRONLY | O_SYNC) { try copyRange(from: source, to: $0, bytes.count) }
            }
            try host.killMount()
            try host.startMount()
            try #require(try contents(host("target")) == bytes)
        }
    }

    @Test("mounted with sync or dirsync, what a call did survives a kill -9 that comes next", arguments: ["sync", "dirsync"])
    func synchronousMount(_ option: String) throws {
        try onHost(mount: false) { host in
            try host.startMount(["-o", option])
            try writeFile(host("f"), [1])
            try check(mkdir(host("d"), 0o755))
            try check(rename(host("f"), host("d/f")))
            try host.killMount()
            try host.startMount(["-o", option])
            try #require(exists(host("d/f")))
            guard option == "sync" else { return }
            try withFile(host("d/f"), O_WRONLY) { try writeAll($0, [7, 8], at: 0) }
            try check(chmod(host("d/f"), 0o700))
            try host.killMount()
            try host.startMount(["-o", option])
            try #require(try contents(host("d/f")) == [7, 8])
            try #require(try status(host("d/f")).st_mode & 0o777 == 0o700)
            // Past the kernel's pages, for which it asks for no fsync(2).
            try withFile(host("d/f"), O_WRONLY | O_APPEND) { file in
                try writeAll(file, [9])
                try host.killMount()
            }
            try host.startMount()
            try #require(try contents(host("d/f")) == [7, 8, 9])
        }
    }
}
