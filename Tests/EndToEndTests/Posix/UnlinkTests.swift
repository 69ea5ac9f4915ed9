import Glibc
import Testing

extension Posix {
    @Suite("unlink") struct Unlink {
        @Test("a name goes, whatever it leads to but a folder", arguments: Kind.allCases)
        func removes(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("it"))
            expect(kind == .directory ? EISDIR : OK, unlink(here("it")))
            #expect(exists(here("it")) == (kind == .directory))
        }

        @Test("a symlink goes, not what it leads to")
        func symlinks() throws {
            let here = try Folder()
            try writeFile(here("file"), [1])
            for target in ["file", "."] {
                try check(symlink(target, here("link")))
                expect(OK, unlink(here("link")))
                #expect(!exists(here("link")) && exists(here("file")))
            }
        }

        @Test("what is open is there until it is closed, without a link")
        func open() throws {
            let here = try Folder()
            try writeFile(here("file"), [1, 2, 3])
            try withFile(here("file"), O_RDWR) { file in
                expect(OK, unlink(here("file")))
                var now = stat()
                try check(fstat(file, &now))
                #expect(now.st_nlink == 0 && now.st_size == 3)
                try writeAll(file, [4], at: 3)
                #expect(try read(file, at: 0, upTo: 9) == [1, 2, 3, 4])
                // The name is free again.
                try writeFile(here("file"), [9])
                #expect(try read(file, at: 0, upTo: 9) == [1, 2, 3, 4])
            }
            #expect(try contents(here("file")) == [9])
        }

        @Test("the folder's content moves, and what has another name has changed", arguments: Kind.allButDirectory)
        func times(_ kind: Kind) throws {
            let here = try Folder()
            try check(mkdir(here("folder"), 0o755))
            try kind.make(here("folder/it"))
            try check(link(here("folder/it"), here("second")))
            try expectMoves([(here("second"), [.changed]), (here("folder"), .content), (here.path, [])]) {
                expect(OK, unlink(here("folder/it")))
            }
            try expectMoves([(here("second"), []), (here("folder"), [])]) { expect(ENOENT, unlink(here("folder/it"))) }
        }
    }
}
