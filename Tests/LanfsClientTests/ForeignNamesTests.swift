import LanfsFileSystem
import LanfsProtocol
import Synchronization
import SystemPackage
import Testing

@testable import LanfsClient

/// What the kernel was shown under a name may be something else by the time it asks for more.
@Suite("Names that other machines give away", .serialized)
struct ForeignNamesTests {
    private let stranger = Caller(user: 9, group: 9, umask: 0, now: Timestamp(seconds: 1, nanoseconds: 0), thread: 7)
    private let owner = Caller(user: 1, group: 1, umask: 0, now: Timestamp(seconds: 1, nanoseconds: 0), thread: 8)

    private func onTwo(_ body: (Volume, Volume) async throws -> Void) async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let first = try await laboratory.open(at: server, create: true)
        let second = try await laboratory.open(at: server)
        try await body(first, second)
        _ = try await first.close()
        _ = try await second.close()
        await server.stop()
    }

    private func create(
        _ name: String, _ permissions: UInt16, _ flags: OpenFlags, by caller: Caller, in volume: Volume
    ) async throws {
        let (attributes, file) = try await volume.create(
            Array(name.utf8), in: rootInode, permissions: permissions, flags: flags, by: caller
        ).value()
        volume.release(file.handle)
        volume.forget(attributes.inode, lookups: 1)
    }

    @Test("who would make a file that another has made by then opens it only where its owner may")
    func rights() async throws {
        try await onTwo { first, second in
            let folder = try await first.makeDirectory(
                Array("folder".utf8), in: rootInode, permissions: 0o755, by: caller
            ).value().inode
            #expect(try await second.lookup(Array("folder".utf8), in: rootInode, by: 1).value().inode == folder)
            try await create("secret", 0o600, [.write, .exclusive], by: caller, in: first)
            try await create("given", 0o400, [.write, .exclusive], by: caller, in: first)
            for flags in [[.read], [.write], [.read, .write, .truncate]] as [OpenFlags] {
                await #expect(throws: Errno.staleNFSFileHandle) {
                    try await create("secret", 0o644, flags, by: stranger, in: second)
                }
                try await create("secret", 0o644, flags, by: owner, in: second)
            }
            try await create("given", 0o644, [.read], by: owner, in: second)
            await #expect(throws: Errno.staleNFSFileHandle) {
                try await create("given", 0o644, [.write], by: owner, in: second)
            }
            // A transfer goes on with what it began, whatever its mode.
            try await create("given", 0o444, [.write], by: caller, in: second)
            // The kernel looks the name up again then, and asks; and a program gets no second ESTALE.
            try await first.rename(
                Array("folder".utf8), in: rootInode, to: Array("moved".utf8), in: rootInode, mode: .replace, by: caller
            ).value()
            await #expect(throws: Errno.staleNFSFileHandle) {
                try await create("secret", 0o644, [.read], by: stranger, in: second)
            }
            let found = try await second.lookup(Array("secret".utf8), in: rootInode, by: 7).value()
            second.release(try await second.open(found.inode, flags: [.read], by: stranger).value().handle)
            // Nor does the kernel take a named pipe for a file.
            _ = try await first.makeNode(
                Array("pipe".utf8), in: rootInode, type: .fifo, permissions: 0o666, device: 0, by: caller
            ).value()
            await #expect(throws: Errno.staleNFSFileHandle) {
                try await create("pipe", 0o644, [.write], by: owner, in: second)
            }
        }
    }

    @Test("in a folder with the sticky bit nobody takes away what another has just put there")
    func stickyFolders() async throws {
        try await onTwo { first, second in
            let folder = try await first.makeDirectory(
                Array("pub".utf8), in: rootInode, permissions: 0o1777, by: caller
            ).value().inode
            let other = Caller(user: 5, group: 5, umask: 0, now: caller.now)
            func make(_ name: String, by caller: Caller, in volume: Volume) async throws {
                _ = try await volume.makeNode(
                    Array(name.utf8), in: folder, type: .fifo, permissions: 0o600, device: 0, by: caller
                ).value()
            }
            let (name, mine, away) = (Array("v".utf8), Array("mine".utf8), Array("away".utf8))
            try await make("v", by: stranger, in: second)
            try await make("mine", by: stranger, in: second)
            try await make("tmp", by: other, in: first)
            try await first.rename(Array("tmp".utf8), in: folder, to: name, in: folder, mode: .replace, by: caller)
                .value()
            // The kernel was shown the stranger's own.
            await #expect(throws: Errno.staleNFSFileHandle) {
                try await second.unlink(name, in: folder, by: stranger).value()
            }
            await #expect(throws: Errno.staleNFSFileHandle) {
                try await second.rename(name, in: folder, to: away, in: folder, mode: .replace, by: stranger).value()
            }
            await #expect(throws: Errno.staleNFSFileHandle) {
                try await second.rename(mine, in: folder, to: name, in: folder, mode: .replace, by: stranger).value()
            }
            await #expect(throws: Errno.fileExists) {
                try await second.rename(mine, in: folder, to: name, in: folder, mode: .noReplace, by: stranger).value()
            }
            try await second.unlink(mine, in: folder, by: stranger).value()
            // Once it was shown what is there, it is for the kernel to say who may: here somebody with CAP_FOWNER.
            _ = try await second.lookup(name, in: folder, by: 7).value()
            try await second.unlink(name, in: folder, by: stranger).value()
        }
    }

    @Test("send nobody back who was shown nothing yet, as just after mounting")
    func justMounted() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let before = try await laboratory.open(at: server, create: true)
        try await before.put(pattern(5), as: "file")
        _ = try await before.close()
        let volume = try await laboratory.open(at: server)
        let found = try await volume.lookup(Array("file".utf8), in: rootInode, by: 8).value()
        volume.release(try await volume.open(found.inode, flags: [.read, .write], by: owner).value().handle)
        _ = try await volume.close()
        await server.stop()
    }

    @Test("are forgotten, with those who saw them, also when nothing more happens elsewhere")
    func growth() {
        var names = ForeignNames()
        let start = ContinuousClock.now
        names.note(lost: 1...1000 as ClosedRange<InodeNumber>, got: [], mayBeFolders: false, at: start)
        for thread in 1...100 as ClosedRange<Int32> { names.noteLookup(of: 7, by: thread, at: start + .seconds(1)) }
        #expect(names.seen.count == 100)
        #expect(names.mayBeMistaken(8, 1, at: start + .seconds(2)) && names.isReturning(1, at: start + .seconds(3)))
        #expect(!names.isReturning(1, at: start + .seconds(8)))
        for thread in 1...100 as ClosedRange<Int32> { names.noteLookup(of: 7, by: thread, at: start + .seconds(60)) }
        #expect(names.seen.isEmpty && !names.mayBeMistaken(8, 2, at: start + .seconds(60)))
    }

    @Test("a file that was made and stays open is there for another machine, long before everything is saved")
    func madeAndKeptOpen() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        var options = VolumeOptions()
        options.commitInterval = .seconds(600)
        let first = try await laboratory.open(at: server, create: true, options)
        let second = try await laboratory.open(at: server)
        try await create("0", 0o644, [.write], by: caller, in: second)
        try await second.save().get()
        _ = try await first.create(Array("1".utf8), in: rootInode, permissions: 0o644, flags: [.write], by: caller)
            .value()
        try await eventually { (try? await second.lookup(Array("1".utf8), in: rootInode, by: 1).value()) != nil }
        _ = try await first.close()
        _ = try await second.close()
        await server.stop()
    }

    @Test("an append that has been made is not said to be interrupted: it would be made once more")
    func interruptedWait() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let wall = try await Wall(before: server.port)
        let volume = try await laboratory.open(at: server, create: true, through: wall.port)
        let (_, file) = try await volume.create(
            Array("log".utf8), in: rootInode, permissions: 0o644, flags: [.write, .append, .synchronous], by: caller
        ).value()
        try await volume.save().get()
        wall.freeze(true)
        let outcome = pattern(10).withUnsafeBytes {
            volume.write(file.handle, offset: 0, appends: true, data: $0, by: caller)
        }
        let waiting = Task { try await outcome.value() }
        waiting.cancel()
        await #expect(throws: Errno.ioError) { try await waiting.value }
        wall.freeze(false)
        try await volume.save().get()
        #expect(try await volume.contents(of: "log") == pattern(10))
        _ = try await volume.close()
        await server.stop()
    }
}
