import Glibc
import Testing

extension Posix {
    @Suite("read and write") struct Write {
        @Test("writing moves the times of the content, and writing nothing none")
        func times() throws {
            let here = try Folder()
            try writeFile(here("file"), [1, 2, 3])
            try withFile(here("file"), O_RDWR) { file in
                for offset in [0, 1, 100_000] {
                    try expectMoves([(here("file"), .content), (here.path, [])]) { try writeAll(file, [9], at: offset) }
                }
                try expectMoves([(here("file"), [])], "nothing") { expect(OK, write(file, [UInt8](), 0)) }
                try expectMoves([(here("file"), [])], "closed") { try withFile(here("file"), O_RDWR) { _ in } }
            }
        }

        @Test("reading moves neither the time of change nor that of the content")
        func reading() throws {
            let here = try Folder()
            try writeFile(here("file"), [1, 2, 3])
            let before = try status(here("file"))
            nextTick()
            #expect(try contents(here("file")) == [1, 2, 3])
            let moved = Times(from: before, to: try status(here("file")))
            #expect(moved?.isSubset(of: .accessed) == true)
        }

        @Test("what was opened for one is not good for the other")
        func directions() throws {
            let here = try Folder()
            try writeFile(here("file"), [1, 2, 3])
            var byte: UInt8 = 0
            try withFile(here("file"), O_RDONLY) { expect(EBADF, write($0, &byte, 1)) }
            try withFile(here("file"), O_WRONLY) { expect(EBADF, read($0, &byte, 1)) }
            try withFile(here.path, O_RDONLY) { expect(EISDIR, read($0, &byte, 1)) }
        }

        @Test("a program that others than root write to or cut loses set-user-id, and set-group-id")
        func privileges() throws {
            let here = try Folder()
            let changes: [(String, (Int32) -> Int32)] = [
                ("write", { pwrite($0, [1], 1, 0) < 0 ? -1 : 0 }), ("ftruncate", { ftruncate($0, 2) }),
                ("truncate", { _ in truncate(here("file"), 1) }),
                ("open with O_TRUNC", { _ in opened(here("file"), O_WRONLY | O_TRUNC) }),
                ("posix_fallocate", { returned(posix_fallocate($0, 0, 9_000)) }),
                ("posix_fallocate of what is there", { returned(posix_fallocate($0, 0, 2)) }),
            ]
            for (name, change) in changes {
                for (person, expected) in [(Person.owner, 0o777 as mode_t), (.other, 0o777), (.root, 0o6777)] {
                    try writeFile(here("file"), [1, 2, 3])
                    try Person.owner.own(here("file"))
                    try check(chmod(here("file"), 0o6777))
                    try acting(as: person) {
                        try withFile(here("file"), O_RDWR) { expect(OK, change($0), "\(name), \(person)") }
                    }
                    #expect(try mode(here("file")) == expected, "\(name), \(person)")
                    try check(unlink(here("file")))
                }
            }
        }

        @Test("no file grows beyond the process's limit")
        func limit() throws {
            let here = try Folder()
            // Beyond what any test beside this one writes: all threads share the limit, and the signal.
            let limit = 1 << 42
            let before = signal(SIGXFSZ, SIG_IGN)
            var limits = rlimit()
            try check(getrlimit(__rlimit_resource_t(1), &limits))
            var lower = limits
            lower.rlim_cur = rlim_t(limit)
            try check(setrlimit(__rlimit_resource_t(1), &lower))
            defer {
                setrlimit(__rlimit_resource_t(1), &limits)
                signal(SIGXFSZ, before)
            }
            try withFile(here("file"), O_RDWR | O_CREAT) { file in
                expect(EFBIG, ftruncate(file, limit + 1))
                expect(EFBIG, truncate(here("file"), limit + 1))
                expect(EFBIG, returned(posix_fallocate(file, limit, 1)))
                expect(EFBIG, pwrite(file, [1], 1, limit))
                expect(OK, ftruncate(file, limit))
            }
            #expect(try status(here("file")).st_size == limit)
        }
    }
}
