import Glibc
import Testing

extension Posix {
    @Suite("chmod") struct Chmod {
        @Test("the mode is what was asked for, all twelve bits of it, for all kinds of inodes", arguments: Kind.allButSymlink)
        func modes(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            for bits: mode_t in [0, 0o111, 0o644, 0o1777, 0o2755, 0o4711, 0o7777] {
                expect(OK, chmod(here("it"), bits))
                #expect(try status(here("it")).st_mode == kind.modeBits | bits)
            }
        }

        @Test("a symlink is followed")
        func symlinks() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            try check(symlink("file", here("link")))
            expect(OK, chmod(here("link"), 0o600))
            #expect(try mode(here("file")) == 0o600)
            #expect(try mode(here("link")) == 0o777)
        }

        @Test("fchmod changes an open file, also one without a name")
        func open() throws {
            let here = try Folder()
            try withFile(here("file"), O_RDONLY | O_CREAT, 0o600) { file in
                expect(OK, fchmod(file, 0o640))
                #expect(try mode(here("file")) == 0o640)
                try check(unlink(here("file")))
                expect(OK, fchmod(file, 0o604))
                var now = stat()
                try check(fstat(file, &now))
                #expect(now.st_mode & 0o7777 == 0o604)
            }
        }

        @Test("the owner and root may, nobody else, whatever they may do with the file", arguments: [Kind.file, .directory, .fifo])
        func permission(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            try Person.owner.own(here("it"))
            try check(chmod(here("it"), 0o777))
            for (person, expected) in [(Person.owner, OK), (.root, OK), (.member, EPERM), (.other, EPERM)] {
                let before = try mode(here("it"))
                let wanted = before ^ 0o020
                try acting(as: person) { expect(expected, chmod(here("it"), wanted), "\(person)") }
                #expect(try mode(here("it")) == (expected == OK ? wanted : before), "\(person)")
            }
        }

        @Test("set-group-id is for those of the group")
        func setGroupID() throws {
            let here = try Folder()
            let rows: [(Person, group: UInt32, expected: mode_t)] = [
                (.owner, 1001, 0o2755), (.owner, 2001, 0o2755), (.owner, 3001, 0o755), (.root, 3001, 0o2755),
            ]
            for (person, group, expected) in rows {
                try writeFile(here("file"), [])
                try check(chown(here("file"), Person.owner.user, group))
                try acting(as: person) { expect(OK, chmod(here("file"), 0o2755), "\(person)") }
                #expect(try mode(here("file")) == expected, "\(person), group \(group)")
            }
        }

        @Test("the time of change moves, and no other", arguments: Kind.allButSymlink)
        func times(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            try expectMoves([(here("it"), [.changed]), (here.path, [])]) { try check(chmod(here("it"), 0o640)) }
            try expectMoves([(here("it"), [])], "refused") {
                try acting(as: .other) { expect(EPERM, chmod(here("it"), 0o600)) }
            }
        }
    }
}
