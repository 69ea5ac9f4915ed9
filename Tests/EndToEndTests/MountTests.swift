import Glibc
import SystemPackage
import Testing

@Suite("A mounted volume", .serialized, .enabled(if: Machine.canMount))
struct MountTests {
    @Test(
        "a file that others than root change loses set-user-id and set-group-id at once, and its capabilities by any write",
        .enabled(if: geteuid() == 0, "only root can act as others"))
    func privileges() throws {
        try onHost { host in
            let path = host("program")
            try writeFile(path, [1, 2, 3])
            try check(chown(path, 1000, 1000))
            let folder = try check(open(host(""), O_RDONLY | O_DIRECTORY))
            defer { close(folder) }
            try withFile(host("source"), O_RDWR | O_CREAT) { source in
                try writeAll(source, [7, 8, 9])
                let changes: [(String, (Int32) throws -> Void)] = [
                    ("write", { try writeAll($0, [1], at: 0) }), ("truncate", { try check(ftruncate($0, 2)) }),
                    ("allocate", { try check(posix_fallocate($0, 0, 5000)) }),
                    // From the mounted folder: what leads there is root's.
                    ("open with O_TRUNC", { _ in
                        let emptied = try check(openat(folder, "program", O_WRONLY | O_TRUNC))
                        try check(close(emptied))
                    }),
                    ("copy", { try copyRange(from: source, to: $0, 3) }),
                ]
                try withFile(path, O_RDWR) { file in
                    for (name, change) in changes {
                        try check(chmod(path, 0o6755))
                        try asUser(1000) { try change(file) }
                        #expect(try status(path).st_mode & 0o7777 == 0o755, "\(name)")
                        try writeAll(file, [5, 5, 5], at: 0)
                    }
                    try check(chmod(path, 0o6755))
                    try writeAll(file, [1], at: 0)
                    #expect(try status(path).st_mode & 0o7777 == 0o6755, "root may")
                    // VFS_CAP_REVISION_2, effective, CAP_NET_RAW.
                    let capability: [UInt8] = [1, 0, 0, 2, 0, 0x20, 0, 0] + [UInt8](repeating: 0, count: 12)
                    for _ in 0..<2 {
                        try setAttribute(path, "security.capability", capability)
                        try writeAll(file, [2], at: 0)
                        #expect(failure { _ = try attribute(path, "security.capability") } == Errno(rawValue: ENODATA))
                    }
                }
            }
        }
    }

    @Test("what system calls did to a volume is there after it is mounted again")
    func calls() throws {
        try onHost { host in
            try check(mkdir(host("d"), 0o755))
            let big = randomBytes(1_500_001, seed: 1)
            try writeFile(host("big"), big)
            try #require(try contents(host("big")) == big)
            try writeFile(host("old"), Array("x".utf8))
            try check(rename(host("old"), host("d/new")))
            try check(link(host("d/new"), host("hard")))
            try check(symlink("d/new", host("soft")))
            try setAttribute(host("big"), "user.color", [0, 1, 255])
            try writeFile(host("short"), big)
            try check(truncate(host("short"), 70_001))
            try check(truncate(host("short"), 90_001))
            for piece in 0..<10 {
                try withFile(host("log"), O_WRONLY | O_CREAT | O_APPEND) { try writeAll($0, [UInt8(piece), 7]) }
            }
            try #require(failure { try check(rmdir(host("d"))) } == .directoryNotEmpty)
            try check(mkdir(host("gone"), 0o755))
            try check(rmdir(host("gone")))
            try unlinkedButOpen(host)
            try holes(host)
            try mapping(host)
            try strangeNames(host)
            for round in 0..<2 {
                if round == 1 { try host.remount() }
                try #require(try contents(host("big")) == big)
                try #require(try attribute(host("big"), "user.color") == [0, 1, 255])
                try #require(try contents(host("hard")) == Array("x".utf8))
                try #require(try status(host("hard")).st_nlink == 2)
                try #require(try status(host("hard")).st_ino == status(host("d/new")).st_ino)
                try #require(try linkTarget(host("soft")) == "d/new")
                try #require(!exists(host("old")) && !exists(host("gone")) && !exists(host("unlinked")))
                let short = Array(big[..<70_001]) + [UInt8](repeating: 0, count: 20_000)
                try #require(try contents(host("short")) == short)
                try #require(try contents(host("log")) == (0..<10).flatMap { [UInt8($0), 7] })
                var hole = [UInt8](repeating: 0, count: 4 << 20)
                hole.replaceSubrange((3 << 20)..<(3 << 20) + 3, with: [1, 2, 3])
                try #require(try contents(host("sparse")) == hole)
                try withFile(host("sparse"), O_RDONLY) { file in
                    try #require(try seekData(file, 0) > 2 << 20)
                    try #require(try seekHole(file, 0) == 0)
                }
                var punched = big
                for index in 131_072..<393_216 { punched[index] = 0 }
                try #require(try contents(host("punched")) == punched)
                var mapped = [UInt8](repeating: 0, count: 100_000)
                mapped[0] = 42
                mapped[99_999] = 43
                try #require(try contents(host("mapped")) == mapped)
                try #require(try names(in: host("names")) == Self.strange.sorted { $0.lexicographicallyPrecedes($1) })
            }
        }
    }

    private func unlinkedButOpen(_ host: Host) throws {
        try withFile(host("unlinked"), O_RDWR | O_CREAT) { file in
            try writeAll(file, [1, 2, 3])
            try check(unlink(host("unlinked")))
            try #require(!exists(host("unlinked")))
            try writeAll(file, [4], at: 3)
            try #require(try read(file, at: 0, upTo: 10) == [1, 2, 3, 4])
            var now = stat()
            try check(fstat(file, &now))
            try #require(now.st_nlink == 0 && now.st_size == 4)
        }
    }

    private func holes(_ host: Host) throws {
        try withFile(host("sparse"), O_RDWR | O_CREAT) { file in
            try writeAll(file, [1, 2, 3], at: 3 << 20)
            try check(ftruncate(file, 4 << 20))
        }
        try writeFile(host("punched"), randomBytes(1_500_001, seed: 1))
        try withFile(host("punched"), O_RDWR) { try punchHole($0, 131_072, 262_144) }
    }

    private func mapping(_ host: Host) throws {
        try withFile(host("mapped"), O_RDWR | O_CREAT) { file in
            try check(ftruncate(file, 100_000))
            let memory = mmap(nil, 100_000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
            guard let memory, memory != UnsafeMutableRawPointer(bitPattern: -1) else { throw Errno(rawValue: errno) }
            defer { munmap(memory, 100_000) }
            memory.storeBytes(of: 42, as: UInt8.self)
            memory.storeBytes(of: 43, toByteOffset: 99_999, as: UInt8.self)
            try check(msync(memory, 100_000, Int32(MS_SYNC)))
            try #require(try read(file, at: 99_999, upTo: 5) == [43])
        }
    }

    /// Of 255 bytes, not UTF-8, with a line feed, and ordinary.
    private static let strange: [[UInt8]] = [
        [UInt8](repeating: 120, count: 255), [0xff, 0xfe, 0x80], Array("a\nb \\ *".utf8), Array("über".utf8),
        (0..<85).flatMap { _ in [0xe2, 0x82, 0xac] },
    ]

    private func strangeNames(_ host: Host) throws {
        try check(mkdir(host("names"), 0o755))
        let prefix = Array(host("names/").utf8)
        for name in Self.strange {
            let path = (prefix + name + [0]).map { CChar(bitPattern: $0) }
            close(try check(open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o644)))
        }
        let tooLong = host("names/") + String(repeating: "x", count: 256)
        try #require(failure { try writeFile(tooLong, []) } == .fileNameTooLong)
    }
}
