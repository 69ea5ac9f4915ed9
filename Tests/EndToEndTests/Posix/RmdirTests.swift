import Glibc
import Testing

extension Posix {
    @Suite("rmdir") struct Rmdir {
        @Test("an empty folder goes, and its parent's link with it")
        func removes() throws {
            let here = try Folder()
            let links = try status(here.path).st_nlink
            try check(mkdir(here("it"), 0))
            expect(OK, rmdir(here("it")))
            #expect(!exists(here("it")))
            #expect(try status(here.path).st_nlink == links)
            try check(mkdir(here("it"), 0o755))
            expect(OK, rmdir(here("it/")))
        }

        @Test("a folder with anything in it stays", arguments: Kind.allCases)
        func full(_ kind: Kind) throws {
            let here = try Folder()
            try check(mkdir(here("it"), 0o755))
            try kind.make(here("it/something"))
            try expectMoves([(here("it"), []), (here.path, [])]) { expect(ENOTEMPTY, rmdir(here("it"))) }
            try kind.remove(here("it/something"))
            expect(OK, rmdir(here("it")))
        }

        @Test("only folders", arguments: Kind.allButDirectory)
        func others(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            expect(ENOTDIR, rmdir(here("it")))
            try check(mkdir(here("folder"), 0o755))
            try check(symlink("folder", here("link")))
            expect(ENOTDIR, rmdir(here("link")))
            #expect(exists(here("it")) && exists(here("link")))
        }

        @Test("neither . nor ..")
        func dots() throws {
            let here = try Folder()
            try check(mkdir(here("it"), 0o755))
            expect(EINVAL, rmdir(here("it/.")))
            expect(ENOTEMPTY, rmdir(here("it/..")))
        }

        @Test("a folder that is gone and still open is empty, has no links, and takes no names")
        func open() throws {
            let here = try Folder()
            try check(mkdir(here("it"), 0o755))
            try withFile(here("it"), O_RDONLY | O_DIRECTORY) { folder in
                expect(OK, rmdir(here("it")))
                var now = stat()
                try check(fstat(folder, &now))
                #expect(now.st_nlink == 0 && now.st_mode & S_IFMT == S_IFDIR)
                expect(ENOENT, openat(folder, "new", O_WRONLY | O_CREAT, 0o644))
                expect(ENOENT, mkdirat(folder, "new", 0o755))
                expect(ENOENT, symlinkat("x", folder, "new"))
                expect(ENOENT, mknodat(folder, "new", S_IFIFO | 0o644, 0))
                expect(ENOENT, renameat(AT_FDCWD, here.path, folder, "new"))
                expect(OK, fchmod(folder, 0o700))
                #expect(try names(in: "/proc/self/fd/\(folder)").isEmpty)
            }
        }

        @Test("the parent's content moves")
        func times() throws {
            let here = try Folder()
            try check(mkdir(here("it"), 0o755))
            try expectMoves([(here.path, .content)]) { expect(OK, rmdir(here("it"))) }
            try expectMoves([(here.path, [])]) { expect(ENOENT, rmdir(here("it"))) }
        }
    }
}
