import Glibc
import LanfsFileSystem
import LanfsNetwork
import LanfsProtocol
import LanfsServer
import Logging
import NIOCore
import NIOPosix
import Synchronization
import SystemPackage
import Testing

@testable import LanfsClient

/// Several real servers of one volume on loopback, each with its own folder; a server that is started again keeps its
/// folder and its identity, but not its port.
final class Cluster: Sendable {
    let laboratory: Laboratory
    private let running = Mutex<[Int: Server]>([:])
    private let identities = Mutex<[Int: ServerID]>([:])
    /// Servers that a search of the network would find.
    private let visible = Mutex<Set<Int>>([])
    /// Where clients are sent that look for a server.
    private let ports = Mutex<[ServerID: Int]>([:])
    private let members: MemberOptions
    private let hasWalls: Bool
    private let walls = Mutex<[Int: Wall]>([:])

    /// - Parameter hasWalls: clients reach each server through a `Wall`.
    init(
        members: MemberOptions = MemberOptions(), hasWalls: Bool = false, log: any LogHandler = SwiftLogNoOpLogHandler()
    ) {
        self.members = members
        self.hasWalls = hasWalls
        laboratory = Laboratory(log: log)
    }

    func start(_ numbers: some Sequence<Int>, capacity: UInt64? = nil) async throws {
        for number in numbers {
            var configuration = ServerConfiguration(dataDirectory: folder(number))
            configuration.discoveryPort = 0
            configuration.capacity = capacity
            configuration.members = members
            configuration.listen = [.init(host: "127.0.0.1", port: 0)]
            let server = try await Server.start(configuration, logger: laboratory.log)
            if let wall = walls.withLock({ $0[number] }) {
                wall.lead(to: server.port)
            } else if hasWalls {
                let wall = try await Wall(before: server.port)
                walls.withLock { $0[number] = wall }
            }
            running.withLock { $0[number] = server }
            identities.withLock { $0[number] = server.identity }
            visible.withLock { _ = $0.insert(number) }
        }
    }

    func stop(_ number: Int) async {
        visible.withLock { _ = $0.remove(number) }
        let server = running.withLock { $0.removeValue(forKey: number) }
        await server?.stop(within: .seconds(2))
    }

    func stopAll() async {
        for number in running.withLock({ Array($0.keys) }) { await stop(number) }
    }

    func server(_ number: Int) -> Server? { running.withLock { $0[number] } }

    func folder(_ number: Int) -> FilePath { laboratory.folder.appending("data\(number)") }

    /// Clients that look for the server find this port.
    func put(_ port: Int, before number: Int) { ports.withLock { $0[identity(number)] = port } }

    func freeze(_ number: Int, _ isFrozen: Bool) { walls.withLock { $0[number] }?.freeze(isFrozen) }

    func slow(_ number: Int, to rate: Int) { walls.withLock { $0[number] }?.slow(to: rate) }

    func identity(_ number: Int) -> ServerID { identities.withLock { $0[number] ?? .zero } }

    private func places() -> [VolumeServer] {
        let (visible, ports) = (visible.withLock { $0 }, ports.withLock { $0 })
        return running.withLock { running in
            running.sorted { $0.key < $1.key }.filter { visible.contains($0.key) }.map { number, server in
                let port = ports[server.identity] ?? walls.withLock { $0[number] }?.port ?? server.port
                return VolumeServer(
                    server: server.identity, name: "\(number)", endpoints: [.init(host: "127.0.0.1", port: port)],
                    capacity: 1 << 33, resolve: { [] })
            }
        }
    }

    private var surroundings: Surroundings {
        Surroundings(
            resolve: { [self] id in places().first { $0.server == id }?.endpoints ?? [] }, look: { [self] in places() })
    }

    /// - Parameter joins: whether servers that are found are taken in.
    func open(
        at numbers: [Int], create: Bool = false, joins: Bool = false, copies: Int? = nil, timeout: Duration? = nil, snapshot: String? = nil,
        recovery: (@Sendable (RecoveryNotice) -> Bool)? = nil
    ) async throws -> Volume {
        var options = VolumeOptions()
        options.recovery = recovery
        options.replicas = copies
        options.timeout = timeout
        options.snapshot = snapshot
        let places = places().filter { place in numbers.contains { identity($0) == place.server } }
        return try await Volume.open(
            key: laboratory.key, at: places, create: create, options: options,
            pins: ServerPins(laboratory.directories), directories: laboratory.directories,
            surroundings: joins ? surroundings : Surroundings(resolve: surroundings.resolve),
            group: MultiThreadedEventLoopGroup.singleton, log: laboratory.log)
    }

    /// A volume of these servers with so many keepers.
    ///
    /// - Parameter witness: the one of them that gets no blocks.
    func make(of numbers: Range<Int>, keepers: Int = 1, copies: Int? = nil, witness: Int? = nil) async throws -> Volume {
        try await start(numbers.filter { server($0) == nil })
        let volume = try await open(at: [numbers.lowerBound], create: true, copies: copies)
        try await take(in: numbers, to: volume, witness: witness)
        if keepers > 1 { try await move(volume, keepers: numbers.prefix(keepers)) }
        return volume
    }

    func move(_ volume: Volume, keepers: Range<Int>) async throws {
        let next = Keepers(keepers.map(identity))
        volume.update { $0.membership = .keepers(next, version: $0.chain.record.newestConfig.version) }
        if case .failure(let errno) = await volume.commitHousekeeping() { throw errno }
    }

    /// Makes these the servers of the volume, by an ordinary commit.
    func take(in numbers: Range<Int>, to volume: Volume, witness: Int? = nil) async throws {
        var config = volume.current { $0.chain.record.newestConfig }
        config.version += 1
        config.servers = numbers.map { Member(server: identity($0), weight: $0 == witness ? 0 : 1) }.sorted { $0.server < $1.server }
        try await volume.acquireLease()
        volume.update { [config] in $0.membership = .servers(config) }
        if case .failure(let errno) = await volume.commitHousekeeping() { throw errno }
        #expect(volume.servers.placement.members.count == numbers.count)
        await volume.servers.connect(numbers.count, of: numbers.map(identity), until: .now + .seconds(5))
    }
}

@Suite(.serialized) struct `A volume of several servers` {
    @Test("a lost keeper gives way to another, not to nobody")
    func nextKeepers() {
        let servers = (0..<7).map { ServerID(word0: UInt64($0), word1: 0, word2: 0, word3: 1) }
        func next(of keepers: Range<Int>, away: Set<Int>, usable: [Int], active: Int, lost: Int) -> [Int] {
            Keepers(keepers.map { servers[$0] }).next(
                staying: keepers.map { servers[$0] }, away: Set(away.map { servers[$0] }), usable: usable.map { servers[$0] },
                servers: active, lost: lost
            ).members.compactMap { servers.firstIndex(of: $0) }.sorted()
        }
        #expect(next(of: 0..<1, away: [], usable: [1, 2], active: 3, lost: 0) == [0, 1, 2])
        #expect(next(of: 0..<3, away: [0], usable: [3], active: 3, lost: 1) == [1, 2, 3])
        #expect(next(of: 0..<3, away: [0], usable: [], active: 2, lost: 1) == [0, 1, 2], "it may come back")
        // Five since there were six; three would do for those that are left, and still it is replaced.
        #expect(next(of: 0..<5, away: [0], usable: [5], active: 5, lost: 1) == [1, 2, 3, 4, 5])
        #expect(next(of: 0..<5, away: [0], usable: [], active: 4, lost: 1) == [1, 2, 3, 4])
    }

    @Test("where all that are there are slow, a block does not wait for one that is away")
    func slowOnesFirst() async throws {
        let cluster = Cluster()
        try await cluster.start(0..<3)
        let volume = try await cluster.make(of: 0..<3, keepers: 3, copies: 2)
        await cluster.stop(0)
        // As if they had held others up a moment ago, for as long as the test lasts.
        for lane in volume.servers.lanes { lane.state.withLock { $0.laggedAt = .now + .seconds(3600) } }
        // With so many there is one whose first choice is the server that is away.
        for number in 0..<12 { try await volume.put(pattern(70_000 + number), as: "file \(number)") }
        try await volume.save().get()
        #expect(volume.blocks.outstandingBytes == 0)
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    @Test(arguments: [1, 3])
    func `is read and written with one of three gone`(_ keepers: Int) async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3, keepers: keepers)
        let bytes = pattern(3 << 20)
        try await volume.put(bytes, as: "large")
        for number in 0..<20 { try await volume.put(pattern(5000 + number), as: "small\(number)") }
        try await volume.save().get()
        #expect(volume.blocks.unflushed.isEmpty)
        await cluster.stop(2)
        // A new session has nothing in memory.
        #expect(try await volume.close() == nil)
        let second = try await cluster.open(at: [0, 1])
        #expect(try await second.contents(of: "large") == bytes)
        for number in 0..<20 { #expect(try await second.contents(of: "small\(number)") == pattern(5000 + number)) }
        try await second.put(bytes, as: "more")
        try await second.save().get()
        #expect(try await second.close() == nil)
        try await cluster.start([2])
        let third = try await cluster.open(at: [0, 1, 2])
        #expect(try await third.contents(of: "more") == bytes)
        _ = try await third.close()
        await cluster.stopAll()
    }

    @Test func `every block is on two servers, by their own word`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3)
        let bytes = pattern(1 << 20)
        for number in 0..<12 { try await volume.put(bytes, as: "\(number)") }
        try await volume.save().get()
        var copies: [BlockID: Int] = [:]
        for lane in volume.servers.lanes {
            var after: BlockID?
            while case .listed(let page) = try await volume.blocks.ask(.list(after: after), of: lane).response, !page.isEmpty {
                for block in page { copies[block.block, default: 0] += 1 }
                after = page.last?.block
            }
        }
        // The commit that brought the servers in had one copy of each block.
        #expect(copies.values.count { $0 == 2 } >= 12)
        #expect(copies.values.allSatisfy { $0 <= 2 })
        _ = try await volume.close()
        await cluster.stopAll()
    }

    @Test func `goes on writing when one dies in the middle of a stream`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3)
        async let killed: Void = {
            try? await Task.sleep(for: .milliseconds(120))
            await cluster.stop(1)
        }()
        let bytes = pattern(2 << 20)
        for number in 0..<24 {
            try await volume.put(Array(bytes[number...]), as: "\(number)")
            if number % 3 == 0 { try await volume.save().get() }
        }
        try await volume.save().get()
        await killed
        #expect(try await volume.close() == nil)
        let again = try await cluster.open(at: [0, 2])
        for number in 0..<24 { #expect(try await again.contents(of: "\(number)") == Array(bytes[number...])) }
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `commits with two of three keepers and is found again at any of them`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3, keepers: 3)
        try await volume.put(pattern(5000), as: "before")
        try await volume.save().get()
        #expect(volume.current { $0.chain.record.epoch } == 2)
        // Not the first one: what was written before the others came is only there.
        await cluster.stop(1)
        for number in 0..<10 {
            try await volume.put(pattern(5000 + number), as: "\(number)")
            try await volume.save().get()
        }
        #expect(try await volume.close() == nil)
        let again = try await cluster.open(at: [2])
        #expect(try await again.contents(of: "before") == pattern(5000))
        for number in 0..<10 { #expect(try await again.contents(of: "\(number)") == pattern(5000 + number)) }
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `waits with too few servers, still reads, and goes on by itself`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<2)
        try await volume.put(pattern(200_000), as: "before")
        try await volume.save().get()
        await cluster.stop(1)
        try await volume.put(pattern(300_000), as: "waiting")
        let isSaved = Mutex(false)
        async let saved: Void = {
            #expect((try? await volume.save().get()) != nil)
            isSaved.withLock { $0 = true }
        }()
        try await Task.sleep(for: .seconds(1))
        #expect(!isSaved.withLock { $0 }, "one copy is not enough")
        #expect(try await volume.contents(of: "before") == pattern(200_000))
        try await cluster.start([1])
        await saved
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    @Test func `reads the other copy where one server gives wrong bytes`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3)
        let bytes = pattern(1 << 20)
        for number in 0..<6 { try await volume.put(bytes, as: "\(number)") }
        try await volume.save().get()
        #expect(try await volume.close() == nil)
        try cluster.spoilBlocks(of: 1)
        let again = try await cluster.open(at: [0, 1, 2])
        for number in 0..<6 { #expect(try await again.contents(of: "\(number)") == bytes) }
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `takes in servers that it finds, and moves its keepers to them, over restarts`() async throws {
        let cluster = Cluster()
        try await cluster.start([0])
        var volume = try await cluster.open(at: [0], create: true, joins: true)
        try await volume.put(pattern(70_000), as: "alone")
        try await volume.save().get()
        var expected = ["alone": 70_000]
        for (members, keepers) in [(2, 2), (3, 3), (6, 5)] {
            try await cluster.start(volume.servers.lanes.count..<members)
            try await volume.put(pattern(100), as: "takes the lease \(members)")
            try await volume.tendMembership()
            let name = "with \(members)"
            try await volume.put(pattern(300_000 + members), as: name)
            try await volume.save().get()
            expected[name] = 300_000 + members
            let config = volume.current { $0.chain.record.newestConfig }
            #expect(config.servers.count == members)
            #expect(config.keepers.members.count == keepers)
            #expect(config.requiredCopies == 2)
            #expect(try await volume.close() == nil)
            for number in 0..<members { await cluster.stop(number) }
            try await cluster.start(0..<members)
            volume = try await cluster.open(at: [members - 1], joins: true)
            for (name, size) in expected { #expect(try await volume.contents(of: name) == pattern(size)) }
        }
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    @Test func `goes on where a client died between sealing an epoch and beginning the next`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3)
        try await volume.put(pattern(5000), as: "before")
        try await volume.save().get()
        let record = volume.current { $0.chain.record }
        #expect(try await volume.close() == nil)

        let servers = Servers(
            .init(
                volume: volume.id, key: volume.key, pins: ServerPins(cluster.laboratory.directories),
                eventLoop: MultiThreadedEventLoopGroup.singleton.next(), surroundings: Surroundings(),
                log: cluster.laboratory.log))
        servers.reach(record.config.servers.map(\.server))
        await servers.connect(3, of: record.config.servers.map(\.server), until: .now + .seconds(5))
        let reaches = servers.transport(volume.blocks)
        let dies = RegisterQueries(
            volume: volume.id, sender: 7, signer: VolumeSigner(key: volume.key.signingKey), servers: servers,
            transport: { server, request, completion in
                if case .initialize = request.body { completion(.lost) } else { reaches(server, request, completion) }
            })
        let register = RootRegister(
            proposer: Proposer(
                id: 7, volume: volume.id, epoch: record.epoch, keepers: record.config.keepers, signer: dies.signer),
            queries: dies, log: cluster.laboratory.log, eventLoop: servers.eventLoop,
            fetch: { [blocks = volume.blocks, key = volume.key] in await blocks.takeUp($0, key) })
        let base = try #require(await register.acquire())
        let next = Keepers(record.config.servers.map(\.server))
        let outcome = await register.commit(
            RootChange(contents: base.contents, gcEpoch: base.gcEpoch, sealedNext: next), on: base)
        guard case .committed = outcome else { throw VolumeError.busy }
        servers.close()

        let again = try await cluster.open(at: [1, 0])
        #expect(again.register.place?.epoch == record.epoch + 1)
        #expect(try await again.contents(of: "before") == pattern(5000))
        // The lease of who sealed has to run out.
        try await again.put(pattern(6000), as: "after")
        try await again.save().get()
        #expect(again.current { $0.chain.record.newestConfig.keepers } == next)
        #expect(try await again.close() == nil)
        await cluster.stopAll()
    }

    @Test func `is opened where most keepers of an older epoch are gone, and with them the way to the newer ones`() async throws {
        let cluster = Cluster()
        // Two servers go: with two copies some block might be on these alone.
        let volume = try await cluster.make(of: 0..<5, keepers: 3, copies: 3)
        try await cluster.move(volume, keepers: 2..<5)
        try await volume.put(pattern(5000), as: "file")
        try await volume.save().get()
        // The register goes on in the new epoch by itself.
        let deadline = ContinuousClock.now + .seconds(10)
        while volume.register.place.map({ $0.epoch < 3 }) ?? false, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(20)) }
        #expect(try await volume.close() == nil)
        for number in [1, 2] { await cluster.stop(number) }
        let again = try await cluster.open(at: [0])
        #expect(again.register.place?.epoch == 3)
        #expect(try await again.find(VolumePath(names: [Array("file".utf8)]))?.size == 5000)
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `is opened and read with one of its two servers, which also keep its root`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<2, keepers: 2)
        try await volume.put(pattern(300_000), as: "file")
        try await volume.save().get()
        #expect(try await volume.close() == nil)
        await cluster.stop(1)
        let again = try await cluster.open(at: [0])
        #expect(try await again.contents(of: "file") == pattern(300_000))
        try await cluster.start([1])
        try await again.put(pattern(70_000), as: "later")
        try await again.save().get()
        #expect(try await again.close() == nil)
        await cluster.stopAll()
    }

    @Test func `gives a full server's blocks to the next in rank`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<2)
        try await cluster.start([2], capacity: 24 << 20)
        try await cluster.take(in: 0..<3, to: volume)
        let bytes = pattern(1 << 20)
        for number in 0..<40 { try await volume.put(bytes, as: "\(number)") }
        try await volume.save().get()
        #expect(try await volume.close() == nil)
        let again = try await cluster.open(at: [0, 1])
        for number in 0..<40 { #expect(try await again.contents(of: "\(number)") == bytes) }
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `is swept on all servers, and keeps what is used`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3)
        for number in 0..<10 { try await volume.put(pattern(20_000 + number), as: "\(number)") }
        try await volume.save().get()
        // What a client leaves behind that dies between an upload and its commit.
        var left: Set<BlockID> = []
        for number in 0..<20 {
            let block = SealedBlock(frames: [pattern(1000 + number)])
            try await volume.blocks.upload(block, gcEpoch: volume.current { $0.chain.record.gcEpoch })
            left.insert(block.id)
        }
        try await volume.blocks.flush()
        _ = try await volume.audit()
        #expect(try await volume.audit().sweptBlocks == left.count)
        for lane in volume.servers.lanes {
            guard case .listed(let page) = try await volume.blocks.ask(.list(after: nil), of: lane).response else {
                throw VolumeError.busy
            }
            #expect(left.isDisjoint(with: page.map(\.block)))
        }
        for number in 0..<10 { #expect(try await volume.contents(of: "\(number)") == pattern(20_000 + number)) }
        _ = try await volume.close()
        await cluster.stopAll()
    }
}

@Suite struct `Room on several servers` {
    @Test(
        arguments: [
            ([100], 2, 100), ([100, 100], 2, 100), ([100, 10], 2, 10), ([100, 60, 50], 2, 105), ([100, 30, 20], 2, 50),
            ([90, 90, 90], 3, 90), ([], 2, 0), ([5, 7], 1, 12),
        ] as [([UInt64], Int, UInt64)])
    func `is what fits with each copy somewhere else`(_ servers: [UInt64], _ copies: Int, _ expected: UInt64) {
        #expect(BlockPool.room(in: servers, copies: copies) == expected)
    }
}

extension Cluster {
    /// Changes bytes in the files that hold the server's blocks, behind its back.
    func spoilBlocks(of number: Int) throws {
        let folder = laboratory.folder.appending("data\(number)")
        let script = """
            find '\(folder)' -type f -size +200k | while read -r file; do
              for place in $(seq 40000 9000 900000); do
                printf 'spoiled' | dd of="$file" bs=1 seek=$place conv=notrunc status=none
              done
            done
            """
        #expect(script.withCString { system($0) } == 0)
    }
}
