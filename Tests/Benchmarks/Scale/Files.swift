import Glibc
import LanfsClient
import LanfsCrypto
import LanfsFileSystem
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOPosix
import SystemPackage

/// A volume of millions of files: what making them takes from the first to the last, and what the volume is like with all
/// of them: how it opens, lookups all over it, lists, and deletions.
struct Files {
    private static let perFolder = 1000
    private static let caller = Caller(user: 1, group: 1, umask: 0o022, now: Timestamp(seconds: 1, nanoseconds: 0))

    private let server: ServerProcess
    private let key = VolumeKey.generate()
    private let directories: UserDirectories

    init(_ server: ServerProcess, home: FilePath) {
        self.server = server
        directories = UserDirectories(environment: { _ in nil }, home: home, user: getuid())
    }

    func run(_ count: Int) async throws {
        try await server.open(key, Memory()).close()
        let folders = (count + Self.perFolder - 1) / Self.perFolder
        var volume = try await open(create: true)
        try await make(folders, in: volume)
        try await time("close") { _ = try await volume.close() }

        volume = try await time("open again") { try await open(create: false) }
        let files = try await volume.usage().value.files
        guard files >= count else { throw Failure("\(files) files of \(count) are left") }
        var random = SystemRandomNumberGenerator()
        try await time("look up and read 10000 of them, all over") {
            for _ in 0..<10_000 { try await read(Int.random(in: 0..<count, using: &random), in: volume) }
        }
        try await time("list 100 folders of \(Self.perFolder)") {
            for _ in 0..<100 { try await list(Int.random(in: 0..<folders, using: &random), in: volume) }
        }
        try await time("delete up to 10 folders and save") {
            for folder in 0..<min(10, folders) { try await delete(folder, in: volume) }
            try await volume.save().get()
        }
        print("memory at most \(peak()) MiB here, and at the server \(server.peakMemory) MiB")
        _ = try await volume.close()
    }

    private func open(create: Bool) async throws -> Volume {
        let pins = ServerPins(directories)
        let group = MultiThreadedEventLoopGroup.singleton
        let finder = ServerFinder(
            hosts: [.init(name: "127.0.0.1", port: server.port)], pins: pins, directories: directories, group: group)
        guard let id = VolumeID(key.volumeID) else { throw Failure("the key has no volume") }
        return try await Volume.open(
            key: key, at: finder.servers(of: id, create: create), create: create, options: VolumeOptions(), pins: pins,
            directories: directories, group: group, log: Logger(label: "scale") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Each of 100 bytes, that say which it is.
    private func make(_ folders: Int, in volume: Volume) async throws {
        var last = ContinuousClock.now
        for folder in 0..<folders {
            let made = try await volume.makeDirectory(
                Self.name(folder), in: rootInode, permissions: 0o755, by: Self.caller
            ).value
            for file in 0..<Self.perFolder {
                let (attributes, opened) = try await volume.create(
                    Self.name(file), in: made.inode, permissions: 0o644, flags: [.write], by: Self.caller
                ).value
                let written = Self.contents(folder * Self.perFolder + file).withUnsafeBytes {
                    volume.write(opened.handle, offset: 0, appends: false, data: $0, by: Self.caller)
                }
                guard try await written.value == 100 else { throw Failure("a write was short") }
                volume.release(opened.handle)
                volume.forget(attributes.inode, lookups: 1)
            }
            volume.forget(made.inode, lookups: 1)
            let done = (folder + 1) * Self.perFolder
            if done.isMultiple(of: 1_000_000) {
                let rate = Int(1_000_000 / last.duration(to: .now).seconds)
                print("\(done) files, the last million at \(rate)/s, \(peak()) MiB")
                last = .now
            }
        }
        try await volume.save().get()
    }

    private func read(_ number: Int, in volume: Volume) async throws {
        let folder = try await volume.lookup(Self.name(number / Self.perFolder), in: rootInode, by: 0).value
        let file = try await volume.lookup(Self.name(number % Self.perFolder), in: folder.inode, by: 0).value
        let opened = try await volume.open(file.inode, flags: [.read], by: Self.caller).value
        let bytes = try await volume.read(opened.handle, offset: 0, count: 4096).value
        guard bytes.pieces.joined().elementsEqual(Self.contents(number)) else {
            throw Failure("file \(number) has other contents")
        }
        volume.release(opened.handle)
        volume.forget(file.inode, lookups: 1)
        volume.forget(folder.inode, lookups: 1)
    }

    private func list(_ number: Int, in volume: Volume) async throws {
        let folder = try await volume.lookup(Self.name(number), in: rootInode, by: 0).value
        let handle = try await volume.openDirectory(folder.inode).value
        var (offset, count) = (0 as UInt64, 0)
        while true {
            let entries = try await volume.readDirectory(handle, offset: offset, limit: 256, attributes: true).value
            guard let end = entries.last else { break }
            for entry in entries { if let inode = entry.attributes?.inode { volume.forget(inode, lookups: 1) } }
            (offset, count) = (end.nextOffset, count + entries.count)
        }
        guard count == Self.perFolder + 2 else { throw Failure("folder \(number) lists \(count) entries") }
        volume.releaseDirectory(handle)
        volume.forget(folder.inode, lookups: 1)
    }

    private func delete(_ number: Int, in volume: Volume) async throws {
        let folder = try await volume.lookup(Self.name(number), in: rootInode, by: 0).value
        for file in 0..<Self.perFolder {
            try await volume.unlink(Self.name(file), in: folder.inode, by: Self.caller).value
        }
        try await volume.removeDirectory(Self.name(number), in: rootInode, by: Self.caller).value
        volume.forget(folder.inode, lookups: 1)
    }

    private static func name(_ number: Int) -> [UInt8] { Array("name-\(number)".utf8) }

    private static func contents(_ number: Int) -> [UInt8] {
        (0..<100).map { UInt8(truncatingIfNeeded: number >> ($0 % 4 * 8) ^ $0) }
    }

    private func time<Value>(_ what: String, _ body: () async throws -> Value) async throws -> Value {
        let start = ContinuousClock.now
        defer { print("\(what): \(start.duration(to: .now))") }
        return try await body()
    }

    /// MiB of memory that this process had at most.
    private func peak() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss >> 10
    }
}

extension Outcome {
    fileprivate var value: Value {
        get async throws {
            switch self {
            case .done(let value): value
            case .failed(let errno): throw errno
            case .later(let work, _): try await work().get()
            }
        }
    }
}

extension Duration {
    fileprivate var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) / 1e18
    }
}
