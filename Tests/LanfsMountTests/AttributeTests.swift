import Glibc
import SystemPackage
import Testing

@Suite("Attributes in a mounted volume", .serialized, .enabled(if: Fuse.isAvailable))
struct AttributeTests {
    @Test("modes, owners and times to the nanosecond", arguments: Answers.allCases)
    func changes(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), [1])
            try check(chmod(m("f"), 0o4711))
            #expect(try status(m("f")).st_mode == S_IFREG | 0o4711)
            let times = [timespec(tv_sec: -5, tv_nsec: 7), timespec(tv_sec: 1 << 33, tv_nsec: 999_999_999)]
            try check(utimensat(AT_FDCWD, m("f"), times, 0))
            var now = try status(m("f"))
            #expect(now.st_atim.tv_sec == -5 && now.st_atim.tv_nsec == 7)
            #expect(now.st_mtim.tv_sec == 1 << 33 && now.st_mtim.tv_nsec == 999_999_999)
            try check(utimensat(AT_FDCWD, m("f"), nil, 0))
            now = try status(m("f"))
            #expect(now.st_mtim.tv_sec > 1_700_000_000 && now.st_mtim.tv_sec < 1 << 33)
            guard Fuse.isRoot else { return }
            try check(chown(m("f"), 12, 34))
            now = try status(m("f"))
            #expect(now.st_uid == 12 && now.st_gid == 34)
        }
    }

    @Test("set-user-id bits go when the file is written or given away", arguments: Answers.allCases)
    func privileges(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), [1])
            try check(chmod(m("f"), 0o6755))
            guard Fuse.isRoot else { return }
            try check(chown(m("f"), 1, 1))
            #expect(try status(m("f")).st_mode & 0o6000 == 0)
        }
    }

    @Test("the umask is applied once", arguments: Answers.allCases)
    func masks(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            let before = umask(0o027)
            defer { umask(before) }
            try check(close(check(open(m("f"), O_CREAT | O_WRONLY, 0o666))))
            try check(mkdir(m("d"), 0o777))
            #expect(try status(m("f")).st_mode & 0o777 == 0o640)
            #expect(try status(m("d")).st_mode & 0o777 == 0o750)
        }
    }

    @Test("the time of birth is told", arguments: Answers.allCases)
    func births(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), [1])
            let time = try #require(try birth(m("f")))
            let changed = try status(m("f")).st_ctim
            #expect(time.seconds > 1_700_000_000)
            #expect((time.seconds, Int(time.nanoseconds)) <= (Int64(changed.tv_sec), changed.tv_nsec))
            // Asked for again with the rest in the kernel already.
            #expect(try birth(m("f")) != nil)
        }
    }

    @Test("extended attributes: sizes are probed, small buffers refused, flags obeyed", arguments: Answers.allCases)
    func extended(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), [1])
            #expect(try attributeNames(m("f"), room: nil).size == 0)
            let value = [UInt8]((0..<300).map { UInt8(truncatingIfNeeded: $0) })
            let (create, replace) = (Int32(1), Int32(2))
            let missing = Errno(rawValue: ENODATA)
            try setAttribute(m("f"), "user.one", value)
            try setAttribute(m("f"), "user.two", [])
            #expect(failure { try setAttribute(m("f"), "user.one", [1], flags: create) } == .fileExists)
            #expect(failure { try setAttribute(m("f"), "user.none", [1], flags: replace) } == missing)
            #expect(try attribute(m("f"), "user.one", room: nil).size == 300)
            #expect(failure { _ = try attribute(m("f"), "user.one", room: 299) } == .outOfRange)
            #expect(try attribute(m("f"), "user.one", room: 300).value == value)
            #expect(try attribute(m("f"), "user.two", room: 300).size == 0)
            #expect(try attributeNames(m("f"), room: nil).size == 18)
            #expect(failure { _ = try attributeNames(m("f"), room: 17) } == .outOfRange)
            let expected = Array("user.one".utf8CString) + Array("user.two".utf8CString)
            #expect(try attributeNames(m("f"), room: 18).list == expected)
            try removeAttribute(m("f"), "user.one")
            #expect(failure { try removeAttribute(m("f"), "user.one") } == missing)
        }
    }

    @Test("space and limits are told", arguments: Answers.allCases)
    func usage(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            var usage = statvfs()
            try check(statvfs(m.path, &usage))
            #expect(UInt64(usage.f_blocks) * UInt64(usage.f_frsize) == 1 << 40)
            #expect(UInt64(usage.f_bavail) * UInt64(usage.f_frsize) == 1 << 39)
            #expect(usage.f_namemax == 255)
            #expect(usage.f_files - usage.f_ffree == 1)
            let (status, output) = try Child.run(["df", "--output=source,fstype", m.path])
            #expect(status == 0 && output.contains("lanfs:test") && output.contains("fuse.lanfs"))
        }
    }

    @Test("requests about what there is not are refused as the kernel knows them")
    func refusals() async throws {
        try await mounted { m in
            try writeFile(m("f"), [1])
            let (status, _) = try Child.run(["lsattr", m("f")])
            #expect(status != 0)
            try withFile(m("f"), O_RDONLY) { file in
                var poll = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
                #expect(Glibc.poll(&poll, 1, 1000) == 1 && poll.revents == Int16(POLLIN))
            }
            try check(access(m("f"), R_OK | W_OK))
            #expect(failure { try check(access(m("f"), X_OK)) } == .permissionDenied)
        }
    }
}
