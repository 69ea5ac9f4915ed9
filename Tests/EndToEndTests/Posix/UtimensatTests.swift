import Glibc
import Testing

extension Posix {
    @Suite("utimensat") struct Utimensat {
        /// As linux/stat.h has them.
        private static let now = timespec(tv_sec: 0, tv_nsec: (1 << 30) - 1)
        private static let omit = timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2)

        private func set(_ path: String, _ accessed: timespec, _ modified: timespec, _ flags: Int32 = 0) -> Int32 {
            utimensat(AT_FDCWD, path, [accessed, modified], flags)
        }

        @Test("each time is kept to the nanosecond, before 1970 and after 2038 too", arguments: Kind.allButSymlink)
        func exact(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            for (accessed, modified) in [((0, 0), (1, 1)), ((-7, 5), (5_000_000_000, 999_999_999)), ((1_700_000_000, 1), (2, 2))] {
                let times = (timespec(tv_sec: accessed.0, tv_nsec: accessed.1), timespec(tv_sec: modified.0, tv_nsec: modified.1))
                expect(OK, set(here("it"), times.0, times.1))
                let now = try status(here("it"))
                #expect((now.st_atim.tv_sec, now.st_atim.tv_nsec) == accessed)
                #expect((now.st_mtim.tv_sec, now.st_mtim.tv_nsec) == modified)
            }
        }

        @Test("UTIME_NOW moves a time to now, UTIME_OMIT leaves it, and any but two of the latter is a change")
        func special() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            let past = timespec(tv_sec: 100, tv_nsec: 5)
            let rows: [(timespec, timespec, Times)] = [
                (Self.now, Self.omit, [.accessed, .changed]), (Self.omit, Self.now, .content), (Self.now, Self.now, .all),
                (Self.omit, Self.omit, []),
            ]
            for (accessed, modified, moved) in rows {
                try check(set(here("file"), past, past))
                try expectMoves([(here("file"), moved), (here.path, [])]) { expect(OK, set(here("file"), accessed, modified)) }
            }
            try expectMoves([(here("file"), .all)]) {
                expect(OK, utimensat(AT_FDCWD, here("file"), nil, 0))
            }
            let before = time(nil)
            #expect(try abs(status(here("file")).st_mtim.tv_sec - before) < 10)
        }

        @Test("nanoseconds are fewer than a thousand million")
        func invalid() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            for nanoseconds in [1_000_000_000, -1, 1 << 31] {
                let wrong = timespec(tv_sec: 1, tv_nsec: nanoseconds)
                expect(EINVAL, set(here("file"), wrong, Self.now), "\(nanoseconds)")
                expect(EINVAL, set(here("file"), Self.now, wrong), "\(nanoseconds)")
            }
        }

        @Test("any time is the owner's to set, now also for whoever may write, nothing for everybody")
        func permission() throws {
            let here = try Folder()
            let then = timespec(tv_sec: 5, tv_nsec: 5)
            try Kind.file.make(here("file"))
            try Person.owner.own(here("file"))
            let rows: [(Person, mode_t, timespec, timespec, Int32)] = [
                (.owner, 0, then, then, OK), (.owner, 0, Self.now, Self.now, OK), (.owner, 0, Self.now, Self.omit, OK),
                (.root, 0, then, then, OK), (.root, 0, Self.now, Self.now, OK),
                (.member, 0o020, Self.now, Self.now, OK), (.other, 0o002, Self.now, Self.now, OK),
                (.member, 0o757, Self.now, Self.now, EACCES), (.other, 0o775, Self.now, Self.now, EACCES),
                (.member, 0o777, then, then, EPERM), (.other, 0o777, then, then, EPERM), (.other, 0o777, then, Self.now, EPERM),
                (.other, 0o777, Self.now, then, EPERM), (.other, 0o777, Self.now, Self.omit, EPERM),
                (.other, 0o777, Self.omit, Self.now, EPERM), (.other, 0o777, Self.omit, then, EPERM),
                (.other, 0, Self.omit, Self.omit, OK),
            ]
            for (index, (person, bits, accessed, modified, expected)) in rows.enumerated() {
                try check(chmod(here("file"), bits))
                try acting(as: person) { expect(expected, set(here("file"), accessed, modified), "row \(index), \(person)") }
            }
            try check(chmod(here("file"), 0o755))
            try acting(as: .other) { expect(EACCES, utimensat(AT_FDCWD, here("file"), nil, 0)) }
            try check(chmod(here("file"), 0o757))
            try acting(as: .other) { expect(OK, utimensat(AT_FDCWD, here("file"), nil, 0)) }
        }

        @Test("a symlink is followed, or has times of its own")
        func symlinks() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            try check(symlink("file", here("link")))
            let (one, two) = (timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 2, tv_nsec: 0))
            expect(OK, set(here("link"), one, one))
            expect(OK, set(here("link"), two, two, AT_SYMLINK_NOFOLLOW))
            #expect(try status(here("file")).st_mtim.tv_sec == 1 && status(here("link")).st_mtim.tv_sec == 2)
        }

        @Test("futimens sets those of an open file, also one opened for reading")
        func open() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            let then = timespec(tv_sec: 77, tv_nsec: 0)
            try withFile(here("file"), O_RDONLY) { expect(OK, futimens($0, [then, then])) }
            #expect(try status(here("file")).st_atim.tv_sec == 77)
        }
    }
}
