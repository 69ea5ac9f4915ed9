import Glibc
import Testing

extension Posix {
    @Suite("link") struct Link {
        @Test("two names of one inode, which is there until both are gone", arguments: Kind.allButDirectory)
        func counts(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("one"))
            let inode = try status(here("one")).st_ino
            expect(OK, link(here("one"), here("two")))
            expect(OK, link(here("two"), here("three")))
            for name in ["one", "two", "three"] {
                let now = try status(here(name))
                #expect(now.st_ino == inode && now.st_nlink == 3 && now.st_mode & S_IFMT == kind.modeBits, "\(name)")
            }
            if kind != .symlink {
                try check(chmod(here("three"), 0o751))
                #expect(try mode(here("one")) == 0o751)
            }
            try check(unlink(here("one")))
            #expect(try status(here("two")).st_nlink == 2)
            try check(unlink(here("three")))
            #expect(try status(here("two")).st_nlink == 1)
        }

        @Test("a folder has one name, for root too")
        func directories() throws {
            let here = try Folder()
            try Kind.directory.make(here("folder"))
            expect(EPERM, link(here("folder"), here("second")))
            #expect(!exists(here("second")))
        }

        @Test("what is there stays", arguments: Kind.allCases)
        func existing(_ kind: Kind) throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            try kind.make(here("there"))
            let inode = try status(here("there")).st_ino
            expect(EEXIST, link(here("file"), here("there")))
            #expect(try status(here("there")).st_ino == inode && status(here("file")).st_nlink == 1)
        }

        @Test("a symlink gets a second name itself, unless it is to be followed")
        func symlinks() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            try check(symlink("file", here("symlink")))
            expect(OK, link(here("symlink"), here("same")))
            #expect(try status(here("same")).st_ino == status(here("symlink")).st_ino)
            expect(OK, linkat(AT_FDCWD, here("symlink"), AT_FDCWD, here("followed"), AT_SYMLINK_FOLLOW))
            #expect(try status(here("followed")).st_ino == status(here("file")).st_ino)
        }

        @Test("not into another file system")
        func otherFileSystem() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            expect(EXDEV, link(here("file"), "/dev/shm/lanfs-posix-link"))
            expect(EXDEV, link("/proc/version", here("version")))
        }

        @Test("a file without a name that was never closed gets one again only when it was made without")
        func unnamed() throws {
            let here = try Folder()
            try withFile(here("file"), O_RDWR | O_CREAT) { file in
                try check(unlink(here("file")))
                let path = "/proc/self/fd/\(file)"
                expect(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, here("again"), AT_SYMLINK_FOLLOW))
            }
            let unnamed: Int32 = 0o20200000
            try withFile(here.path, O_RDWR | unnamed, 0o640) { file in
                try writeAll(file, [1, 2])
                let path = "/proc/self/fd/\(file)"
                expect(OK, linkat(AT_FDCWD, path, AT_FDCWD, here("named"), AT_SYMLINK_FOLLOW))
            }
            #expect(try contents(here("named")) == [1, 2] && status(here("named")).st_nlink == 1 && mode(here("named")) == 0o640)
        }

        @Test("the inode's time of change and both times of the folder with the new name move")
        func times() throws {
            let here = try Folder()
            try check(mkdir(here("from"), 0o755))
            try check(mkdir(here("to"), 0o755))
            for kind in Kind.allButDirectory {
                try kind.make(here("from/it"))
                try expectMoves(
                    [(here("from/it"), [.changed]), (here("from"), []), (here("to"), .content)], "\(kind)"
                ) { try check(link(here("from/it"), here("to/it"))) }
                try expectMoves([(here("from/it"), []), (here("to"), [])], "refused") {
                    expect(EEXIST, link(here("from/it"), here("to/it")))
                }
                try check(unlink(here("from/it")))
                try check(unlink(here("to/it")))
            }
        }
    }
}
