import Glibc
import Testing

extension Posix {
    @Suite("symlink") struct Symlink {
        @Test("any text of 1 to 4095 bytes is kept to the byte")
        func targets() throws {
            let here = try Folder()
            let targets = [
                "x", "/", ".", "..", "a//b/./", " ", "\n", "über", String(repeating: "n", count: 300),
                String(repeating: "x/", count: 2047) + "y",
            ]
            for target in targets {
                expect(OK, symlink(target, here("link")), "\(target.utf8.count)")
                #expect(try linkTarget(here("link")) == target)
                #expect(try status(here("link")).st_size == target.utf8.count)
                try check(unlink(here("link")))
            }
            expect(ENAMETOOLONG, symlink(String(repeating: "x/", count: 2048), here("link")))
            expect(ENOENT, symlink("", here("link")))
        }

        @Test("readlink gives as much as there is room for, and nothing of what is no symlink")
        func reads() throws {
            let here = try Folder()
            try check(symlink("target", here("link")))
            var buffer = [CChar](repeating: 88, count: 4)
            #expect(readlink(here("link"), &buffer, 3) == 3 && buffer == [116, 97, 114, 88])
            expect(EINVAL, readlink(here("link"), &buffer, 0))
            for kind in Kind.allButSymlink {
                try kind.make(here("\(kind)"))
                expect(EINVAL, readlink(here("\(kind)"), &buffer, 3), "\(kind)")
            }
        }

        @Test("everybody's mode, the maker's, with the folder's group where that is handed down")
        func owners() throws {
            let here = try Folder()
            try check(chown(here.path, 7, 8))
            for (folderMode, group) in [(0o777 as mode_t, 1001 as UInt32), (0o2777, 8)] {
                try check(chmod(here.path, folderMode))
                try acting(as: .owner) { masked(0o077) { expect(OK, symlink("x", here("link"))) } }
                let now = try status(here("link"))
                #expect(now.st_mode == S_IFLNK | 0o777 && now.st_nlink == 1)
                #expect(now.st_uid == 1001 && now.st_gid == group)
                try check(unlink(here("link")))
            }
        }

        @Test("what is there stays", arguments: Kind.allCases)
        func existing(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("there"))
            expect(EEXIST, symlink("x", here("there")))
            #expect(try status(here("there")).st_mode & S_IFMT == kind.modeBits)
        }

        @Test("a path goes on from where the link is, from the root, and up again")
        func resolution() throws {
            let here = try Folder()
            for name in ["a", "a/b", "c"] { try check(mkdir(here(name), 0o755)) }
            try writeFile(here("c/file"), [42])
            for (name, target) in [
                ("a/b/relative", "../../c"), ("absolute", here("c")), ("twice", "a/b/relative"), ("slashes", ".//c///"),
                ("a/whole", "../c/file"),
            ] {
                expect(OK, symlink(target, here(name)))
                #expect(try contents(here(name == "a/whole" ? name : name + "/file")) == [42], "\(name)")
            }
            #expect(try status(here("twice/..")).st_ino == status(here.path).st_ino)
        }

        @Test("the folder's content moves, and all times of the new one are of now")
        func times() throws {
            let here = try Folder()
            try check(symlink("x", here("before")))
            try expectMoves([(here.path, .content)]) { expect(OK, symlink("x", here("link"))) }
            #expect(Times(from: try status(here("before")), to: try status(here("link"))) == .all)
            try expectMoves([(here.path, []), (here("link"), [])]) { expect(EEXIST, symlink("y", here("link"))) }
        }
    }
}
