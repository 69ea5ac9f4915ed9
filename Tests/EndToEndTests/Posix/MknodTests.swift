import Glibc
import SystemPackage
import Testing

extension Posix {
    /// mknod and mkfifo, and what is made by them.
    @Suite("mknod, mkfifo") struct Mknod {
        private static let types = [Kind.file, .fifo, .socket, .characterDevice, .blockDevice]

        @Test("each kind is made with its mode without the mask's bits, its maker's, and with a device's number", arguments: types)
        func nodes(_ kind: Kind) throws {
            let here = try Folder()
            let devices: [dev_t] = kind == .characterDevice || kind == .blockDevice
                ? [deviceNumber(1, 3), deviceNumber(0, 0), deviceNumber(4095, 255), deviceNumber(255, 0xf_ffff)] : [0]
            for device in devices {
                try masked(0o027) { try check(mknod(here("it"), kind.modeBits | 0o776, device)) }
                let now = try status(here("it"))
                #expect(now.st_mode == kind.modeBits | 0o750 && now.st_nlink == 1 && now.st_size == 0)
                #expect(now.st_rdev == device)
                #expect(now.st_uid == 0 && now.st_gid == 0)
                try check(unlink(here("it")))
            }
        }

        @Test("a fifo's mode follows the mask, its group the folder's where that is handed down")
        func fifos() throws {
            let here = try Folder()
            try check(chown(here.path, 7, 8))
            for (folderMode, group) in [(0o777 as mode_t, 1001 as UInt32), (0o2777, 8)] {
                try check(chmod(here.path, folderMode))
                try acting(as: .owner) { masked(0o022) { expect(OK, mkfifo(here("it"), 0o666)) } }
                let now = try status(here("it"))
                #expect(now.st_mode == S_IFIFO | 0o644 && now.st_uid == 1001 && now.st_gid == group)
                try check(unlink(here("it")))
            }
        }

        @Test("ordinary users make files, fifos and sockets, and no devices")
        func permission() throws {
            let here = try Folder()
            for kind in Self.types {
                let isDevice = kind == .characterDevice || kind == .blockDevice
                try acting(as: .owner) {
                    expect(isDevice ? EPERM : OK, mknod(here("\(kind)"), kind.modeBits | 0o644, isDevice ? deviceNumber(1, 3) : 0))
                }
            }
        }

        @Test("neither folders nor what there is not")
        func wrongTypes() throws {
            let here = try Folder()
            expect(EPERM, mknod(here("it"), S_IFDIR | 0o755, 0))
            expect(EINVAL, mknod(here("it"), S_IFLNK | 0o777, 0))
            expect(EINVAL, mknod(here("it"), S_IFMT | 0o644, 0))
            expect(OK, mknod(here("it"), 0o644, 0))
            #expect(try status(here("it")).st_mode == S_IFREG | 0o644)
        }

        @Test("what is there stays", arguments: Kind.allCases)
        func existing(_ kind: Kind) throws {
            let here = try Folder()
            try kind.make(here("there"))
            expect(EEXIST, mkfifo(here("there"), 0o644))
            expect(EEXIST, mknod(here("there"), S_IFREG | 0o644, 0))
            #expect(try status(here("there")).st_mode & S_IFMT == kind.modeBits)
        }

        @Test("the folder's content moves, and all times of the new one are of now", arguments: types)
        func times(_ kind: Kind) throws {
            let here = try Folder()
            try Kind.file.make(here("before"))
            try expectMoves([(here.path, .content)]) { try kind.make(here("it")) }
            #expect(Times(from: try status(here("before")), to: try status(here("it"))) == .all)
        }

        @Test("a fifo passes bytes on, and waits for somebody at the other end")
        func pipe() throws {
            let here = try Folder()
            try check(mkfifo(here("it"), 0o600))
            expect(ENXIO, opened(here("it"), O_WRONLY | O_NONBLOCK))
            try withFile(here("it"), O_RDONLY | O_NONBLOCK) { reader in
                try withFile(here("it"), O_WRONLY) { writer in
                    try writeAll(writer, [1, 2, 3])
                    var buffer = [UInt8](repeating: 0, count: 10)
                    #expect(read(reader, &buffer, 10) == 3 && buffer.prefix(3) == [1, 2, 3])
                }
                var byte: UInt8 = 0
                #expect(read(reader, &byte, 1) == 0, "nobody writes any more")
            }
            #expect(try status(here("it")).st_size == 0)
        }

        @Test("a socket is bound to a name, found by it, and not opened")
        func socket() throws {
            let here = try Folder()
            let server = try check(Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
            let client = try check(Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
            defer {
                close(server)
                close(client)
            }
            try withAddress(here("it")) { address, size in
                expect(ENOENT, connect(client, address, size))
                expect(OK, bind(server, address, size))
                expect(OK, listen(server, 1))
                expect(OK, connect(client, address, size))
            }
            #expect(try status(here("it")).st_mode & S_IFMT == S_IFSOCK)
            expect(ENXIO, opened(here("it"), O_RDONLY))
            try check(unlink(here("it")))
        }

        private func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Void) throws {
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            try #require(path.utf8.count < MemoryLayout.size(ofValue: address.sun_path))
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let size = socklen_t(MemoryLayout<sockaddr_un>.size)
            try withUnsafePointer(to: address) { try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { try body($0, size) } }
        }

        @Test("a device's name leads to its driver, for those its mode lets in")
        func device() throws {
            let here = try Folder()
            try check(mknod(here("null"), S_IFCHR, deviceNumber(1, 3)))
            try check(chmod(here("null"), 0o640))
            try check(chown(here("null"), Person.owner.user, Person.owner.group))
            for (person, flags, expected) in [
                (Person.owner, O_RDWR, OK), (.member, O_RDONLY, OK), (.member, O_WRONLY, EACCES), (.other, O_RDONLY, EACCES),
            ] {
                try acting(as: person) { expect(expected, opened(here("null"), flags), "\(person)") }
            }
            try withFile(here("null"), O_RDWR) { file in
                try writeAll(file, [1, 2, 3])
                #expect(try read(file, at: 0, upTo: 1).isEmpty)
            }
            // Nobody drives this number.
            try check(mknod(here("nothing"), S_IFBLK | 0o600, deviceNumber(240, 7)))
            expect(ENXIO, opened(here("nothing"), O_RDONLY))
        }
    }
}
