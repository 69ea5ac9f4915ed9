import Glibc
import Testing

extension Posix {
    @Suite("mkdir") struct Mkdir {
        @Test("a new folder is empty, has two links, and gives its parent one")
        func counts() throws {
            let here = try Folder()
            let before = try status(here.path).st_nlink
            expect(OK, mkdir(here("new"), 0o755))
            let now = try status(here("new"))
            #expect(now.st_mode & S_IFMT == S_IFDIR && now.st_nlink == 2)
            #expect(try names(in: here("new")).isEmpty)
            #expect(try status(here.path).st_nlink == before + 1)
            #expect(try status(here("new/.")).st_ino == now.st_ino)
            #expect(try status(here("new/..")).st_ino == status(here.path).st_ino)
            expect(OK, mkdir(here("slash/"), 0o755))
        }

        @Test("the mode is what was asked for without the mask's bits")
        func modes() throws {
            let here = try Folder()
            let rows: [(asked: mode_t, mask: mode_t, then: mode_t)] = [
                (0o777, 0, 0o777), (0o777, 0o077, 0o700), (0o151, 0o022, 0o151), (0o777, 0o777, 0), (0o1755, 0, 0o1755), (0, 0, 0),
            ]
            for (asked, mask, then) in rows {
                masked(mask) { expect(OK, mkdir(here("new"), asked)) }
                #expect(try mode(here("new")) == then)
                try check(rmdir(here("new")))
            }
        }

        @Test("it belongs to the maker, and to the folder's group where that is handed down")
        func owners() throws {
            let here = try Folder()
            try check(chown(here.path, 7, 8))
            for (folderMode, group, newMode) in [(0o777 as mode_t, 1001 as UInt32, 0o750 as mode_t), (0o2777, 8, 0o2750)] {
                try check(chmod(here.path, folderMode))
                try acting(as: .owner) { expect(OK, mkdir(here("new"), 0o750)) }
                let now = try status(here("new"))
                #expect(now.st_uid == 1001 && now.st_gid == group && now.st_mode & 0o7777 == newMode)
                try check(rmdir(here("new")))
            }
        }

        @Test("what is there stays", arguments: Kind.allCases)
        func existing(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("there"))
            expect(EEXIST, mkdir(here("there"), 0o755))
            #expect(try status(here("there")).st_mode & S_IFMT == kind.modeBits)
            expect(EEXIST, mkdir(here.path + "/.", 0o755))
            expect(EEXIST, mkdir(here.path + "/..", 0o755))
        }

        @Test("a new folder's times are of now, and the parent's content moves")
        func times() throws {
            let here = try Folder()
            try check(mkdir(here("before"), 0o755))
            try expectMoves([(here.path, .content)]) { try check(mkdir(here("new"), 0o755)) }
            let times = Times(from: try status(here("before")), to: try status(here("new")))
            #expect(times == .all)
            try expectMoves([(here.path, []), (here("new"), [])]) { expect(EEXIST, mkdir(here("new"), 0o755)) }
        }
    }
}
