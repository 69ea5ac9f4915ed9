import Glibc
import Testing

extension Posix {
    @Suite("rename") struct Rename {
        @Test("the name moves, the inode with all it has stays", arguments: Kind.allCases)
        func moves(_ kind: Kind) throws {
            let here = try Folder()
            try check(mkdir(here("folder"), 0o755))
            try kind.make(here("old"))
            try Person.owner.own(here("old"))
            let before = try status(here("old"))
            for (from, to) in [("old", "new"), ("new", "folder/new"), ("folder/new", String(repeating: "n", count: 255))] {
                expect(OK, rename(here(from), here(to)))
                #expect(!exists(here(from)))
                let now = try status(here(to))
                #expect(now.st_ino == before.st_ino && now.st_mode == before.st_mode && now.st_nlink == before.st_nlink)
                #expect(now.st_uid == before.st_uid && now.st_gid == before.st_gid && now.st_rdev == before.st_rdev)
            }
        }

        @Test("a file takes the place of anything but a folder, a folder that of an empty one")
        func replaces() throws {
            let here = try Folder()
            for source in Kind.allCases {
                for target in Kind.allCases {
                    try source.make(here("source"))
                    try target.make(here("target"))
                    let inode = try status(here("source")).st_ino
                    let expected =
                        switch (source == .directory, target == .directory) {
                        case (true, true), (false, false): OK
                        case (true, false): ENOTDIR
                        case (false, true): EISDIR
                        }
                    expect(expected, rename(here("source"), here("target")), "\(source) to \(target)")
                    #expect(try (status(here("target")).st_ino == inode) == (expected == OK), "\(source) to \(target)")
                    #expect(exists(here("source")) == (expected != OK))
                    try (expected == OK ? source : target).remove(here("target"))
                    if expected != OK { try source.remove(here("source")) }
                }
            }
            try Kind.directory.make(here("source"))
            try check(mkdir(here("target"), 0o755))
            try Kind.fifo.make(here("target/something"))
            expect(ENOTEMPTY, rename(here("source"), here("target")))
        }

        @Test("what was replaced lives on while it is open, and a second name of it has one link fewer")
        func replaced() throws {
            let here = try Folder()
            try writeFile(here("source"), [1])
            try writeFile(here("target"), [2, 3])
            try check(link(here("target"), here("second")))
            try expectMoves([(here("second"), [.changed])]) { expect(OK, rename(here("source"), here("target"))) }
            #expect(try status(here("second")).st_nlink == 1)
            try writeFile(here("source"), [4])
            try withFile(here("second"), O_RDONLY) { file in
                expect(OK, rename(here("source"), here("second")))
                var now = stat()
                try check(fstat(file, &now))
                #expect(now.st_nlink == 0)
                #expect(try read(file, at: 0, upTo: 5) == [2, 3])
            }
        }

        @Test("two names of one file: nothing happens")
        func sameFile() throws {
            let here = try Folder()
            try Kind.file.make(here("one"))
            try check(link(here("one"), here("two")))
            expect(OK, rename(here("one"), here("two")))
            expect(OK, rename(here("one"), here("one")))
            #expect(exists(here("one")) && exists(here("two")))
            #expect(try status(here("one")).st_nlink == 2)
            try check(mkdir(here("folder"), 0o755))
            expect(OK, rename(here("folder"), here("folder")))
        }

        @Test("no folder moves into itself, and neither . nor .. moves")
        func circles() throws {
            let here = try Folder()
            for name in ["a", "a/b", "a/b/c"] { try check(mkdir(here(name), 0o755)) }
            for target in ["a/x", "a/b/x", "a/b/c/x"] { expect(EINVAL, rename(here("a"), here(target)), target) }
            expect(ENOTEMPTY, rename(here("a/b/c"), here("a")))
            for dots in ["a/.", "a/.."] {
                expect(EBUSY, rename(here(dots), here("x")), dots)
                expect(EBUSY, rename(here("a/b"), here(dots)), dots)
            }
        }

        @Test("a folder that moves takes its link from one parent to the other, and .. leads to the new one")
        func links() throws {
            let here = try Folder()
            for name in ["from", "to", "from/it"] { try check(mkdir(here(name), 0o755)) }
            expect(OK, rename(here("from/it"), here("to/it")))
            #expect(try status(here("from")).st_nlink == 2 && status(here("to")).st_nlink == 3)
            #expect(try status(here("to/it/..")).st_ino == status(here("to")).st_ino)
            try check(mkdir(here("from/it"), 0o755))
            expect(OK, rename(here("from/it"), here("to/it")))
            #expect(try status(here("from")).st_nlink == 2 && status(here("to")).st_nlink == 3)
        }

        @Test("not into another file system")
        func otherFileSystem() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            expect(EXDEV, rename(here("file"), "/dev/shm/lanfs-posix-rename"))
        }

        @Test("RENAME_NOREPLACE takes nobody's place, RENAME_EXCHANGE needs both", arguments: Kind.allCases)
        func flags(_ kind: Kind) throws {
            let here = try Folder()
            try check(mkdir(here("folder"), 0o755))
            try Kind.file.make(here("one"))
            try kind.make(here("folder/two"))
            let (one, two) = try (status(here("one")).st_ino, status(here("folder/two")).st_ino)
            expect(EEXIST, rename(here("one"), here("folder/two"), flags: RenameFlag.noReplace))
            expect(ENOENT, rename(here("one"), here("none"), flags: RenameFlag.exchange))
            expect(ENOENT, rename(here("none"), here("one"), flags: RenameFlag.exchange))
            expect(EINVAL, rename(here("one"), here("none"), flags: RenameFlag.exchange | RenameFlag.noReplace))
            try expectMoves([(here("one"), [.changed]), (here("folder/two"), [.changed]), (here("folder"), .content)]) {
                expect(OK, rename(here("one"), here("folder/two"), flags: RenameFlag.exchange))
            }
            #expect(try status(here("one")).st_ino == two && status(here("folder/two")).st_ino == one)
            #expect(try status(here("folder")).st_nlink == 2)
            expect(OK, rename(here("one"), here("three"), flags: RenameFlag.noReplace))
            #expect(try status(here("three")).st_ino == two && !exists(here("one")))
            expect(EINVAL, rename(here("folder"), here("folder/two"), flags: RenameFlag.exchange))
        }

        @Test("who moves a folder to another parent writes to it, as its .. changes")
        func dotDot() throws {
            let here = try Folder()
            try check(mkdir(here("to"), 0o777))
            try check(chmod(here("to"), 0o777))
            try Kind.directory.make(here("it"))
            try acting(as: .other) {
                expect(EACCES, rename(here("it"), here("to/it")))
                expect(OK, rename(here("it"), here("that")))
            }
        }

        @Test("both folders' content moves, and the inode's time of change", arguments: Kind.allCases)
        func times(_ kind: Kind) throws {
            let here = try Folder()
            for name in ["from", "to"] { try check(mkdir(here(name), 0o755)) }
            try kind.make(here("from/it"))
            try expectMoves([(here("from/it"), [.changed]), (here("from"), .content), (here("to"), .content), (here.path, [])]) {
                expect(OK, rename(here("from/it"), here("to/it")))
            }
            try expectMoves([(here("to/it"), [.changed]), (here("to"), .content), (here("from"), [])]) {
                expect(OK, rename(here("to/it"), here("to/that")))
            }
            try expectMoves([(here("to/that"), []), (here("to"), []), (here("from"), [])], "refused") {
                expect(ENOENT, rename(here("from/it"), here("to/that")))
                expect(EBUSY, rename(here("to/that"), here("from/.")))
            }
        }
    }
}
