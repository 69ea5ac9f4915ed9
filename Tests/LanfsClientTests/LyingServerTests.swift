import Glibc
import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import LanfsServer
import Logging
import Synchronization
import SystemPackage
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `A server that lies` {
    @Test func `about bytes is named, and another copy is read`() async throws {
        let (cluster, log) = try await Self.servers()
        let liar = try await Liar.start(before: 1, of: cluster)
        let volume = try await cluster.make(of: 0..<3)
        try await volume.put(pattern(1 << 20), as: "large")
        // Many blocks, so that each server has some.
        for number in 0..<24 {
            try await volume.put(pattern(20_000 + number), as: "\(number)")
            try await volume.save().get()
        }
        liar.tell(.wrongBytes)
        for _ in 0..<4 {
            try await Self.readAll(volume, 24)
            #expect(try await volume.contents(of: "large") == pattern(1 << 20))
        }
        #expect(log.names(cluster.identity(1), in: "gave bytes that are not what was stored"))
        #expect(!log.names(cluster.identity(0), in: "gave bytes"))
        #expect(try await volume.close() == nil)
        await liar.stop()
        await cluster.stopAll()
    }

    @Test func `about what it stored is named, and another copy is read`() async throws {
        let (cluster, log) = try await Self.servers()
        let liar = try await Liar.start(before: 1, of: cluster)
        let volume = try await cluster.make(of: 0..<3)
        liar.tell(.falseAcknowledgement)
        for number in 0..<24 {
            try await volume.put(pattern(20_000 + number), as: "\(number)")
            try await volume.save().get()
        }
        for _ in 0..<4 { try await Self.readAll(volume, 24) }
        #expect(log.names(cluster.identity(1), in: "does not have a block that it said it had stored"))
        #expect(!log.names(cluster.identity(0), in: "does not have a block"))
        #expect(try await volume.close() == nil)
        await liar.stop()
        await cluster.stopAll()
    }

    @Test func `about the root is outvoted, and named by who saw it accept a newer one`() async throws {
        let (cluster, log) = try await Self.servers()
        let liar = try await Liar.start(before: 1, of: cluster)
        let volume = try await cluster.make(of: 0..<3, keepers: 3)
        try await volume.put(pattern(5000), as: "file")
        try await volume.save().get()
        let base = volume.current { $0.chain.record }
        liar.tell(.oldRoot)
        // Whoever asks first is told the truth of that moment.
        _ = try await volume.register.queries.newest(from: base)
        for number in 0..<8 {
            try await volume.put(pattern(6000 + number), as: "file\(number)")
            try await volume.save().get()
        }
        let newest = volume.current { $0.chain.record }
        for _ in 0..<4 {
            let found = try await volume.register.queries.newest(from: base).chosen
            #expect(found.map { $0.sequence >= newest.sequence } ?? false)
        }
        #expect(log.names(cluster.identity(1), in: "shows an older root than it accepted before"))
        #expect(try await volume.close() == nil)
        let again = try await cluster.open(at: [0, 1, 2])
        for number in 0..<8 { #expect(try await again.contents(of: "file\(number)") == pattern(6000 + number)) }
        #expect(try await again.close() == nil)
        await liar.stop()
        await cluster.stopAll()
    }

    @Test func `about the root, and is the only one to ask, is not believed by who saw a newer one`() async throws {
        let (cluster, _) = try await Self.servers()
        let liar = try await Liar.start(before: 0, of: cluster)
        let volume = try await cluster.open(at: [0], create: true)
        try await volume.put(pattern(5000), as: "old")
        try await volume.save().get()
        liar.tell(.oldRoot)
        let base = volume.current { $0.chain.record }
        _ = try await volume.register.queries.newest(from: base)
        try await volume.put(pattern(6000), as: "new")
        try await volume.save().get()
        #expect(try await volume.close() == nil)
        await #expect(throws: VolumeError.self) { _ = try await cluster.open(at: [0]) }
        liar.tell(.none)
        let again = try await cluster.open(at: [0])
        #expect(try await again.contents(of: "new") == pattern(6000))
        #expect(try await again.close() == nil)
        await liar.stop()
        await cluster.stopAll()
    }

    @Test func `about sessions that wait to join does not keep the volume from being written`() async throws {
        let (cluster, _) = try await Self.servers()
        let liar = try await Liar.start(before: 1, of: cluster)
        let volume = try await cluster.make(of: 0..<3, keepers: 3)
        try await volume.put(pattern(5000), as: "before")
        try await volume.save().get()
        liar.tell(.company)
        // For longer than a lease lasts that nobody extends.
        let end = ContinuousClock.now + .seconds(13)
        var number = 0
        while ContinuousClock.now < end {
            try await volume.put(pattern(100), as: "\(number)")
            try await volume.save().get()
            number += 1
            try await Task.sleep(for: .milliseconds(250))
        }
        #expect(number > 30)
        #expect(try await volume.close() == nil)
        await liar.stop()
        await cluster.stopAll()
    }

    @Test func `about the epoch keeps nobody from opening the volume`() async throws {
        let (cluster, _) = try await Self.servers()
        let liar = try await Liar.start(before: 1, of: cluster)
        let volume = try await cluster.make(of: 0..<3, keepers: 3)
        try await volume.put(pattern(5000), as: "file")
        #expect(try await volume.close() == nil)
        liar.tell(.laterEpoch)
        let again = try await cluster.open(at: [0, 1, 2])
        #expect(try await again.contents(of: "file") == pattern(5000))
        #expect(try await again.close() == nil)
        await liar.stop()
        await cluster.stopAll()
    }

    @Test func `by deleting what it holds is named, and gets it back from the others`() async throws {
        var members = MemberOptions()
        members.timing.heartbeat = .milliseconds(50)
        members.timing.suspect = .seconds(1)
        // So slow that the blocks are missed before they are back.
        members.repair.rate = 100 << 10
        members.repair.shortestPass = .milliseconds(100)
        members.repair.passInterval = .milliseconds(500)
        let (cluster, log) = try await Self.servers(members)
        let volume = try await cluster.make(of: 0..<3)
        for number in 0..<24 {
            try await volume.put(pattern(20_000 + number), as: "\(number)")
            try await volume.save().get()
        }
        await cluster.stop(1)
        cluster.deleteBlocks(of: 1)
        try await cluster.start([1])
        await volume.servers.connect(3, of: (0..<3).map(cluster.identity), until: .now + .seconds(5))
        for _ in 0..<4 { try await Self.readAll(volume, 24) }
        #expect(log.names(cluster.identity(1), in: "does not have a block that it said it had stored"))
        var copies: [BlockID: Int] = [:]
        for _ in 0..<1000 where copies.isEmpty || copies.values.contains(1) {
            try await Task.sleep(for: .milliseconds(20))
            copies = [:]
            for lane in volume.servers.lanes {
                guard case .listed(let page) = try await volume.blocks.ask(.list(after: nil), of: lane).response else { continue }
                for block in page { copies[block.block, default: 0] += 1 }
            }
        }
        #expect(copies.count >= 24 && !copies.values.contains(1))
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    /// Many at a time, so that each server is asked for some; from the servers.
    private static func readAll(_ volume: Volume, _ count: Int) async throws {
        volume.update { $0.frames = FrameCache(limit: $0.frames.limit) }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<count {
                group.addTask { try await volume.contents(of: "\(number)") == pattern(20_000 + number) }
            }
            for try await isRight in group { #expect(isRight) }
        }
    }

    private static func servers(_ members: MemberOptions = MemberOptions()) async throws -> (Cluster, LogMemory) {
        let log = LogMemory()
        let cluster = Cluster(members: members, log: log)
        try await cluster.start(0..<3)
        return (cluster, log)
    }
}

extension Cluster {
    /// Takes away the files with the blocks of a server that is stopped.
    func deleteBlocks(of number: Int) {
        let script = "rm -rf '\(folder(number).string)'/volumes/*/segments '\(folder(number).string)'/volumes/*/index.log"
        #expect(script.withCString { system($0) } == 0)
    }
}

/// Keeps what was logged.
struct LogMemory: LogHandler {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    private let lines = Lines()
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.warning

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.all.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
    }

    func names(_ server: ServerID, in text: String) -> Bool {
        return lines.all.withLock { $0.contains { $0.contains(text) && $0.contains(fingerprint(of: server.bytes)) } }
    }

    func count(of text: String) -> Int { lines.all.withLock { $0.count { $0.contains(text) } }
    }
}
