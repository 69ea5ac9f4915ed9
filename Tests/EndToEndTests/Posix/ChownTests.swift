import Glibc
import Testing

extension Posix {
    @Suite("chown") struct Chown {
        private static let same = UInt32.max

        @Test("root gives away whatever there is, and -1 leaves what is there", arguments: Kind.allCases)
        func ids(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            let rows: [(UInt32, UInt32, then: [UInt32])] = [
                (123, 456, [123, 456]), (789, Self.same, [789, 456]), (Self.same, 12, [789, 12]),
                (Self.same, Self.same, [789, 12]),
                (0xffff_fffe, 0xffff_fffe, [0xffff_fffe, 0xffff_fffe]), (0, 0, [0, 0]),
            ]
            for (user, group, then) in rows {
                expect(OK, lchown(here("it"), user, group), "\(user) \(group)")
                let now = try status(here("it"))
                #expect([now.st_uid, now.st_gid] == then)
            }
        }

        @Test("chown follows a symlink, lchown changes it")
        func symlinks() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            try check(symlink("file", here("link")))
            expect(OK, chown(here("link"), 5, 6))
            expect(OK, lchown(here("link"), 7, 8))
            #expect(try status(here("file")).st_uid == 5 && status(here("file")).st_gid == 6)
            #expect(try status(here("link")).st_uid == 7 && status(here("link")).st_gid == 8)
        }

        @Test("fchown changes an open file")
        func open() throws {
            let here = try Folder()
            try withFile(here("file"), O_RDONLY | O_CREAT) { expect(OK, fchown($0, 9, 10)) }
            #expect(try status(here("file")).st_uid == 9 && status(here("file")).st_gid == 10)
        }

        @Test("an owner may choose among the groups it is in; nobody but root gives files away", arguments: Kind.allCases)
        func permission(_ kind: Kind) throws {
            let here = try Folder()
            let owner = Person.owner
            let rows: [(Person, UInt32, UInt32, Int32)] = [
                (owner, Self.same, 2001, OK), (owner, Self.same, owner.group, OK), (owner, owner.user, owner.group, OK),
                (owner, owner.user, Self.same, OK), (owner, Self.same, 3001, EPERM), (owner, 1002, Self.same, EPERM),
                (owner, 0, 0, EPERM), (.member, Self.same, 2002, EPERM), (.member, 1002, Self.same, EPERM),
                (.other, 1003, 1003, EPERM), (.root, 1002, 3001, OK),
            ]
            try kind.make(here("it"))
            for (person, user, group, expected) in rows {
                try owner.own(here("it"))
                if kind != .symlink { try check(chmod(here("it"), 0o777)) }
                try acting(as: person) {
                    expect(expected, lchown(here("it"), user, group), "\(person) \(user) \(group)")
                }
                let now = try status(here("it"))
                let done = expected == OK
                #expect(now.st_uid == (done && user != Self.same ? user : owner.user), "\(person) \(user) \(group)")
                #expect(now.st_gid == (done && group != Self.same ? group : owner.group), "\(person) \(user) \(group)")
            }
        }

        @Test("a program that changes hands loses set-user-id and set-group-id, a folder keeps them", arguments: [Person.owner, .root])
        func privileges(_ person: Person) throws {
            let here = try Folder()
            for (kind, expected) in [(Kind.file, 0o755 as mode_t), (.directory, 0o6755)] {
                try kind.make(here("it"))
                try Person.owner.own(here("it"))
                let rows: [(UInt32, UInt32)] = [(Self.same, 2001), (Person.owner.user, Self.same), (Person.owner.user, 1001)]
                for (user, group) in rows {
                    try check(chmod(here("it"), 0o6755))
                    try acting(as: person) { expect(OK, chown(here("it"), user, group)) }
                    #expect(try mode(here("it")) == expected, "\(kind) \(user) \(group)")
                }
                try kind.remove(here("it"))
            }
        }

        @Test("the time of change moves, and no other", arguments: Kind.allCases)
        func times(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            try expectMoves([(here("it"), [.changed]), (here.path, [])]) { try check(lchown(here("it"), 3, 4)) }
            try expectMoves([(here("it"), [])], "refused") {
                try acting(as: .other) { expect(EPERM, lchown(here("it"), 1003, 1003)) }
            }
        }
    }
}
