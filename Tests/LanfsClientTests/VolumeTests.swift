import Glibc
import LanfsCrypto
import LanfsFileSystem
import LanfsLocal
import LanfsProtocol
import LanfsServer
import Logging
import NIOPosix
import Synchronization
import SystemPackage
import Testing

@testable import LanfsClient

/// A real server on loopback with its data in a temporary folder, and volumes opened at it.
final class Laboratory: Sendable {
    let folder: FilePath
    let key: VolumeKey
    let directories: UserDirectories
    let log: Logger

    init(key: VolumeKey = .generate(), log: any LogHandler = SwiftLogNoOpLogHandler()) {
        self.key = key
        self.log = Logger(label: "test") { _ in log }
        var template = Array("/tmp/lanfs-client-test-XXXXXX".utf8CString)
        let folder = FilePath(String(cString: mkdtemp(&template)))
        self.folder = folder
        directories = UserDirectories(environment: { _ in nil }, home: folder.appending("home"), user: getuid())
    }

    deinit {
        let remove = "rm -rf '\(folder.string)'"
        _ = remove.withCString { system($0) }
    }

    func startServer(capacity: UInt64? = nil) async throws -> Server {
        var configuration = ServerConfiguration(dataDirectory: folder.appending("data"))
        configuration.discoveryPort = 0
        configuration.capacity = capacity
        configuration.listen = [.init(host: "127.0.0.1", port: 0)]
        return try await Server.start(configuration, logger: log)
    }

    /// - Parameter port: of what stands before the server.
    func open(at server: Server, create: Bool = false, through port: Int? = nil, _ options: VolumeOptions = .init()) async throws -> Volume {
        let place = VolumeServer(
            server: server.identity, name: "test", endpoints: [.init(host: "127.0.0.1", port: port ?? server.port)], capacity: 0,
            resolve: { [] })
        return try await Volume.open(
            key: key, at: [place], create: create, options: options, pins: ServerPins(directories),
            directories: directories, group: MultiThreadedEventLoopGroup.singleton, log: log)
    }
}

let caller = Caller(user: 1, group: 1, umask: 0, now: Timestamp(seconds: 1, nanoseconds: 0))

extension Volume {
    func put(_ bytes: [UInt8], as name: String) async throws {
        let (attributes, file) = try await create(
            Array(name.utf8), in: rootInode, permissions: 0o644, flags: [.read, .write], by: caller
        ).value()
        for start in stride(from: 0, to: bytes.count, by: 100_000) {
            let piece = Array(bytes[start..<min(start + 100_000, bytes.count)])
            let outcome = piece.withUnsafeBytes { write(file.handle, offset: UInt64(start), appends: false, data: $0, by: caller) }
            #expect(try await outcome.value() == piece.count)
        }
        release(file.handle)
        forget(attributes.inode, lookups: 1)
    }

    func contents(of name: String) async throws -> [UInt8]? {
        guard let found = try await find(VolumePath(names: [Array(name.utf8)])) else { return nil }
        let file = try await open(found.inode, flags: [.read], by: caller).value()
        defer { release(file.handle) }
        var bytes: [UInt8] = []
        while bytes.count < found.size {
            let more = try await read(file.handle, offset: UInt64(bytes.count), count: 300_000).value()
            for piece in more.pieces { bytes += piece }
        }
        return bytes
    }
}

func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

@Suite(.serialized) struct `A volume at a real server` {
    @Test(arguments: [0, 1, 2048, 2049, 32_767, 32_768, 32_769, 1 << 20, (1 << 20) + 1, 3_000_000])
    func `gives back what was written, before and after it was closed`(_ size: Int) async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let bytes = pattern(size)
        let volume = try await laboratory.open(at: server, create: true)
        try await volume.put(bytes, as: "file")
        #expect(try await volume.contents(of: "file") == bytes)
        #expect(try await volume.close() == nil)
        let again = try await laboratory.open(at: server)
        #expect(try await again.contents(of: "file") == bytes)
        _ = try await again.close()
        await server.stop()
    }

    @Test func `is not made by opening it`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        await #expect(throws: VolumeError.self) { _ = try await laboratory.open(at: server) }
        await server.stop()
    }

    @Test func `keeps many small files through checkpoints and a restart of the server`() async throws {
        let laboratory = Laboratory()
        var server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        for round in 0..<140 {
            for file in 0..<5 { try await volume.put(pattern(3000 + round), as: "\(round)-\(file)") }
            try await volume.save().get()
        }
        #expect(volume.current { $0.chain.contents.tree } != nil, "140 commits are worth a checkpoint")
        _ = try await volume.close()
        await server.stop()
        server = try await laboratory.startServer()
        let again = try await laboratory.open(at: server)
        for round in 0..<140 {
            for file in 0..<5 { #expect(try await again.contents(of: "\(round)-\(file)") == pattern(3000 + round)) }
        }
        _ = try await again.close()
        await server.stop()
    }

    @Test func `gives space back when files are deleted`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        try await volume.put(pattern(4 << 20), as: "large")
        try await volume.save().get()
        let before = try await volume.blocks.status().usedByVolume
        _ = try await volume.unlink(Array("large".utf8), in: rootInode, by: caller).value()
        try await volume.save().get()
        // The server is told within the next commits, not by each.
        let deadline = ContinuousClock.now + .seconds(20)
        var after = before
        while after > before / 2, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(200))
            after = try await volume.blocks.status().usedByVolume
        }
        #expect(after <= before / 2)
        _ = try await volume.close()
        await server.stop()
    }

    @Test func `sets unsaved work aside when the server is gone, and saves it when it is back`() async throws {
        let laboratory = Laboratory()
        var server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        try await volume.put(pattern(10), as: "first")
        try await volume.save().get()
        await server.stop()
        try await volume.put(pattern(70_000), as: "second")
        let kept = try await volume.close(patience: .milliseconds(300))
        #expect(kept != nil)
        server = try await laboratory.startServer()
        let again = try await laboratory.open(at: server)
        #expect(try await again.contents(of: "second") == pattern(70_000))
        _ = try await again.close()
        await server.stop()
    }

    @Test func `says that there is no room when others took it, and saves what it has once they give it back`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer(capacity: 160 << 20)
        let volume = try await laboratory.open(at: server, create: true)
        try await volume.put(pattern(1000), as: "before")
        try await volume.save().get()
        // Another volume takes what this one was told is there.
        let other = try await Laboratory().open(at: server, create: true)
        try await other.put(pattern(120 << 20), as: "large")
        try await other.save().get()

        await #expect(throws: Errno.noSpace) {
            for number in 0..<100 {
                try await volume.put(pattern(1 << 20), as: "\(number)")
                if number % 8 == 7 { try await volume.save().get() }
            }
        }
        #expect(try await volume.contents(of: "before") == pattern(1000))
        _ = try await other.unlink(Array("large".utf8), in: rootInode, by: caller).value()
        try await other.save().get()
        let deadline = ContinuousClock.now + .seconds(30)
        while case .failure = await volume.save(), ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(300))
        }
        try await volume.save().get()
        #expect(try await volume.close() == nil)
        _ = try await other.close()
        let again = try await laboratory.open(at: server)
        #expect(try await again.contents(of: "before") == pattern(1000))
        #expect(try await again.contents(of: "0") == pattern(1 << 20))
        _ = try await again.close()
        await server.stop()
    }

    @Test func `never puts a commit based on an old root on top of another client's`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let first = try await laboratory.open(at: server, create: true)
        try await first.put(pattern(5), as: "before")
        try await first.save().get()
        // Ready to be sent, when the lease is lost and another client commits.
        try await first.put(pattern(6), as: "late")
        _ = try await first.runToEnd { (state) throws(Pause) in
            state.prepared = first.prepare(try state.cut(into: first.blocks), on: state.chain)
        }
        first.update { $0.leaseEnd = nil }
        first.register.release()
        let second = try await laboratory.open(at: server)
        try await second.put(pattern(7), as: "other")
        try await second.save().get()
        _ = try await second.close()

        // L6: what it was to commit is done again on the newer root.
        try await first.save().get()
        #expect(try await first.close() == nil)
        let again = try await laboratory.open(at: server)
        #expect(try await again.contents(of: "other") == pattern(7))
        #expect(try await again.contents(of: "before") == pattern(5))
        #expect(try await again.contents(of: "late") == pattern(6))
        _ = try await again.close()
        await server.stop()
    }

    @Test func `is closed with everything saved although a deleted file is still open and written`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        let (_, file) = try await volume.create(
            Array("deleted".utf8), in: rootInode, permissions: 0o644, flags: [.read, .write], by: caller
        ).value()
        _ = try await volume.unlink(Array("deleted".utf8), in: rootInode, by: caller).value()
        try await volume.put(pattern(70_000), as: "kept")
        let bytes = pattern(200_000)
        let outcome = bytes.withUnsafeBytes { volume.write(file.handle, offset: 0, appends: false, data: $0, by: caller) }
        #expect(try await outcome.value() == bytes.count)
        #expect(try await volume.close() == nil)
        let again = try await laboratory.open(at: server)
        #expect(try await again.contents(of: "kept") == pattern(70_000))
        #expect(again.current { $0.room.usedByVolume } < 1 << 20)
        _ = try await again.close()
        await server.stop()
    }

    @Test func `lets another client write when it wants to`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let first = try await laboratory.open(at: server, create: true)
        try await first.put(pattern(5), as: "from-first")
        let second = try await laboratory.open(at: server)
        try await second.put(pattern(6), as: "from-second")
        #expect(try await second.contents(of: "from-first") == pattern(5))
        try await first.put(pattern(7), as: "again-from-first")
        #expect(try await first.contents(of: "from-second") == pattern(6))
        _ = try await first.close()
        _ = try await second.close()
        await server.stop()
    }

    /// A reader on a busy volume is told a million times a day: an earlier one took longer with each, until its stack was full.
    @Test func `tells of other clients' changes as easily the hundred-thousandth time as the first`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        let count = Atomic<Int>(0)
        volume.tellOfForeignChanges { _ in count.add(1, ordering: .relaxed) }
        for _ in 0..<100_000 {
            volume.update { $0.tellings += 1 }
            volume.tell([rootInode])
        }
        #expect(count.load(ordering: .relaxed) == 100_000)
        _ = try await volume.close()
        await server.stop()
    }
}
