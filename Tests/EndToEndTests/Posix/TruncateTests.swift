import Glibc
import Testing

extension Posix {
    /// truncate and ftruncate.
    @Suite("truncate") struct Truncate {
        private static let calls: [(name: String, call: @Sendable (String, off_t) -> Int32)] = [
            ("truncate", { truncate($0, $1) }),
            ("ftruncate", { path, size in
                let file = open(path, O_WRONLY | O_CLOEXEC)
                let result = ftruncate(file, size)
                let error = errno
                close(file)
                errno = error
                return result
            }),
        ]

        @Test("what is cut off is gone, what is added is zeros", arguments: [0, 5_000, 16_384, 40_000])
        func sizes(_ length: Int) throws {
            let here = try Folder()
            for (name, call) in Self.calls {
                let bytes = randomBytes(length, seed: 3)
                for size in [0, 1, 16_383, 16_384, 16_385, 50_000] {
                    try writeFile(here("file"), bytes)
                    expect(OK, call(here("file"), size), "\(name) \(size)")
                    let rest = [UInt8](repeating: 0, count: max(0, size - length))
                    #expect(try contents(here("file")) == bytes.prefix(size) + rest, "\(name) \(size)")
                    // What was cut does not come back.
                    expect(OK, call(here("file"), 60_000), name)
                    let zeros = [UInt8](repeating: 0, count: 60_000 - min(size, length))
                    #expect(try contents(here("file")) == bytes.prefix(size) + zeros, "\(name) \(size)")
                }
            }
        }

        @Test("sizes below zero, and what has no size")
        func refuses() throws {
            let here = try Folder()
            for (name, call) in Self.calls {
                try writeFile(here("file"), [1, 2, 3])
                expect(EINVAL, call(here("file"), -1), name)
                #expect(try contents(here("file")) == [1, 2, 3])
            }
            for (kind, expected) in [
                (Kind.directory, EISDIR), (.fifo, EINVAL), (.socket, EINVAL), (.characterDevice, EINVAL), (.symlink, ENOENT),
            ] {
                try kind.make(here("\(kind)"))
                expect(expected, truncate(here("\(kind)"), 0), "\(kind)")
            }
            try withFile(here("file"), O_RDONLY) { expect(EINVAL, ftruncate($0, 0)) }
            expect(EBADF, ftruncate(-1, 0))
        }

        @Test("truncate is for those who may write; ftruncate asked when the file was opened")
        func permission() throws {
            let here = try Folder()
            for (person, shift) in Person.classes {
                try writeFile(here("file"), [1, 2, 3])
                try Person.owner.own(here("file"))
                try check(chmod(here("file"), 0o777 & ~(2 << shift)))
                try acting(as: person) { expect(EACCES, truncate(here("file"), 1), "\(person)") }
                try check(chmod(here("file"), 2 << shift))
                let file = try acting(as: person) {
                    expect(OK, truncate(here("file"), 1), "\(person)")
                    return try check(open(here("file"), O_WRONLY | O_CLOEXEC))
                }
                defer { close(file) }
                try check(chmod(here("file"), 0))
                try acting(as: person) { expect(OK, ftruncate(file, 2), "\(person)") }
            }
        }

        @Test("a file without a name is cut as any other")
        func unnamed() throws {
            let here = try Folder()
            try withFile(here("file"), O_RDWR | O_CREAT) { file in
                try writeAll(file, [1, 2, 3])
                try check(unlink(here("file")))
                expect(OK, ftruncate(file, 1))
                expect(OK, ftruncate(file, 4))
                #expect(try read(file, at: 0, upTo: 9) == [1, 0, 0, 0])
            }
        }

        @Test("the times of the content move, and only those")
        func times() throws {
            let here = try Folder()
            for (name, call) in Self.calls {
                try writeFile(here("file"), [1, 2, 3])
                for size in [5, 1, 0] {
                    try expectMoves([(here("file"), .content), (here.path, [])], name) { expect(OK, call(here("file"), size)) }
                }
                try expectMoves([(here("file"), [])], "refused") { expect(EINVAL, call(here("file"), -1)) }
            }
            try withFile(here("file"), O_WRONLY) { file in
                try expectMoves([(here("file"), .content)], "the same size") { expect(OK, ftruncate(file, 0)) }
            }
        }
    }
}
