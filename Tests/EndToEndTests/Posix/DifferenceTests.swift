import Glibc
import SystemPackage
import Testing

extension Posix {
    /// What the manual page of lanfs mount says is not as on a local disk.
    @Suite("differences", .enabled(if: Ground.folder == nil)) struct Differences {
        @Test("an inode that only a working directory, a pipe's end or a descriptor of O_PATH leads to is gone")
        func removed() throws {
            let here = try Folder()
            for (kind, flags) in [(Kind.directory, pathOnly), (.file, pathOnly), (.fifo, O_RDWR), (.characterDevice, O_RDWR)] {
                try kind.make(here("it"))
                let file = try check(open(here("it"), flags | O_CLOEXEC))
                defer { close(file) }
                try kind.remove(here("it"))
                var now = stat()
                expect(ESTALE, fstat(file, &now), "\(kind)")
                if kind == .fifo { expect(OK, write(file, [1], 1)) }
            }
        }

        @Test("reading moves no time, and what passes through a pipe neither")
        func times() throws {
            let here = try Folder()
            try writeFile(here("file"), [1])
            try check(symlink("file", here("link")))
            try check(mkfifo(here("fifo"), 0o644))
            let watched = [here("file"), here("link"), here("fifo"), here.path]
            try withFile(here("fifo"), O_RDWR) { fifo in
                try expectMoves(watched.map { ($0, []) }) {
                    _ = try contents(here("link"))
                    _ = try names(in: here.path)
                    var byte: UInt8 = 7
                    expect(OK, write(fifo, &byte, 1))
                    expect(OK, read(fifo, &byte, 1))
                }
            }
        }

        @Test("set-group-id without the right to execute stays when others write")
        func setGroupID() throws {
            let here = try Folder()
            try writeFile(here("file"), [1])
            try check(chmod(here("file"), 0o2666))
            try acting(as: .other) { try withFile(here("file"), O_WRONLY) { try writeAll($0, [2]) } }
            #expect(try mode(here("file")) == 0o2666)
        }

        @Test("an overlay's whiteouts are refused")
        func whiteout() throws {
            let here = try Folder()
            try Kind.file.make(here("file"))
            expect(EINVAL, rename(here("file"), here("new"), flags: 4))
        }
    }
}
