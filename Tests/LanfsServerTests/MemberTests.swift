import Glibc
import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import NIOCore
import NIOPosix
import SystemPackage
import TestSupport
import Testing

@testable import LanfsServer

@Suite("The servers of a volume") struct MemberTests {
    @Test("hear of each other from one client at one of them, and are alive to each other, also after a restart")
    func alive() async throws {
        let pool = try await Pool(3)
        try await pool.introduce(pool.record())
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        await pool.stopAll()
        for index in 0..<3 { try await pool.start(index) }
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        await pool.stopAll()
    }

    @Test("find each other by broadcast where nobody says an address")
    func search() async throws {
        let port = Int.random(in: 20_000..<60_000)
        let pool = try await Pool(2, discoveryPort: port)
        for index in 0..<2 {
            let answer = try await pool.client(index).ask(.introduce(record: pool.record(), endpoints: []))
            #expect(answer == .done)
        }
        try await pool.wait([0, 1], see: .alive, [0, 1])
        await pool.stopAll()
    }

    @Test("make up for one that is lost, and take their surplus back when it has come home")
    func lostAndBack() async throws {
        let pool = try await Pool(3) { options in
            options.timing.grace = .milliseconds(500)
            options.surplus.age = .milliseconds(200)
        }
        let record = pool.record()
        try await pool.introduce(record)
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        var random = SplitMix64(seed: 1)
        let blocks = (0..<40).map { TestBlock($0 < 3 ? 900_000 : 5000, &random) }
        try await pool.put(blocks, record)

        await pool.stop(2)
        try await pool.wait([0, 1], see: .lost, [2])
        // Two servers, two copies: both hold everything.
        for index in 0..<2 { try await pool.wait(index, holds: Set(blocks.map(\.id))) }
        let client = try await pool.client(0)
        for block in blocks { #expect(try await client.get(block.id) == block.array) }
        #expect(try await client.ask(.list(after: nil)).tags == Array(repeating: 1, count: blocks.count))

        try await pool.start(2)
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        for index in 0..<3 { try await pool.wait(index, holds: pool.share(index, of: blocks, record)) }
        await pool.stopAll()
    }

    @Test("fill one whose disk is empty again")
    func emptyDisk() async throws {
        let pool = try await Pool(3)
        let record = pool.record()
        try await pool.introduce(record)
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        var random = SplitMix64(seed: 2)
        let blocks = (0..<30).map { _ in TestBlock(3000, &random) }
        try await pool.put(blocks, record)
        await pool.stop(1)
        try pool.wipe(1)
        try await pool.start(1)
        // Nobody tells it but the others.
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        try await pool.wait(1, holds: pool.share(1, of: blocks, record))
        let client = try await pool.client(1)
        for block in blocks where pool.share(1, of: blocks, record).contains(block.id) {
            #expect(try await client.get(block.id) == block.array)
        }
        await pool.stopAll()
    }

    @Test("heal a block that goes bad on one of their disks, soon and not only by the next pass")
    func rot() async throws {
        // No pass but the first would find it.
        let pool = try await Pool(2) { $0.repair.passInterval = .seconds(3600) }
        let record = pool.record()
        try await pool.introduce(record)
        try await pool.wait([0, 1], see: .alive, [0, 1])
        var random = SplitMix64(seed: 3)
        let blocks = (0..<5).map { _ in TestBlock(70_000, &random) }
        try await pool.put(blocks, record)
        let servers = try pool.servers.map { try #require($0) }
        // The whole of server 0 is checked at once.
        #expect(try servers[0].scrubAll(pool.key.id).isEmpty)
        try flipByte(of: blocks[2], in: pool.folders[0])
        #expect(try servers[0].scrubAll(pool.key.id) == [blocks[2].id])
        let client = try await pool.client(0)
        _ = try await eventually { try await client.get(blocks[2].id) == blocks[2].array ? true : nil }
        #expect(try servers[0].scrubAll(pool.key.id).isEmpty)
        #expect(try await pool.held(0).count == blocks.count)
        // What was bad does not come back with a restart.
        await pool.stop(0)
        try await pool.start(0)
        #expect(try await pool.client(0).get(blocks[2].id) == blocks[2].array)
        await pool.stopAll()
    }

    @Test("find a bad block when they copy it, and copy it from where it is good")
    func rotInTheWay() async throws {
        let pool = try await Pool(3) { $0.timing.grace = .milliseconds(300) }
        let record = pool.record()
        try await pool.introduce(record)
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        var random = SplitMix64(seed: 4)
        let blocks = (0..<30).map { _ in TestBlock(4000, &random) }
        try await pool.put(blocks, record)
        let placement = BlockPlacement(record.config)
        let block = try #require(blocks.first { Set(placement.replicas(of: $0.id)) == Set(pool.ids[0..<2]) })
        try flipByte(of: block, in: pool.folders[0])
        // Server 0 has to copy it to server 2, and finds that it cannot.
        await pool.stop(1)
        let others = Set(blocks.map(\.id)).subtracting([block.id])
        for index in [0, 2] { try await pool.wait(index, holds: others) }
        try await pool.start(1)
        let client = try await pool.client(0)
        _ = try await eventually { try await client.get(block.id) == block.array ? true : nil }
        await pool.stopAll()
    }

    @Test("keep out who is no member, who shows a forged record, and who is gone")
    func strangers() async throws {
        let pool = try await Pool(3)
        let record = pool.record(of: [0, 1])
        #expect(try await pool.introduce(record, to: 0) == .done)
        let forged = pool.record(version: 9, signedBy: .generate())
        #expect(try await pool.introduce(forged, to: 0).reason == .badProof)
        try await pool.wait([0, 1], see: .alive, [0, 1])

        let server = try #require(pool.servers[0])
        // Server 2 itself, with its key, is not in the volume.
        let key = try ServerIdentity.load(pool.folders[2].path.appending("identity.key"))
        let pins = MemberPins(try TemporaryFolder().path, identity: key)
        func knock(_ shown: RootRecord) async throws -> (RPCConnection, Response) {
            let connection = try await RPCConnection.connect(
                to: [Endpoint(host: "127.0.0.1", port: server.port)], server: server.identity, pins: pins,
                group: MultiThreadedEventLoopGroup.singleton)
            return (connection, try await connection.call(.member(volume: pool.key.id, record: shown)).response)
        }
        let query = MemberMessage.holdings(HoldingsQuery(page: 1, blocks: []))
        let (stranger, answer) = try await knock(record)
        #expect(answer.reason == .notAdmitted)
        #expect(try await stranger.call(.ask(query)).response.reason == .notAdmitted)
        #expect(try await knock(forged).1.reason == .notAdmitted)
        // A client has proven another key, and asks nothing as a member.
        #expect(try await pool.client(0).ask(.ask(query)).reason == .notAdmitted)

        // A record that has it, which it brings along itself.
        let joined = pool.record(version: 2)
        let (member, welcome) = try await knock(joined)
        #expect(welcome == .done)
        #expect(try await member.call(.ask(query)).response == .told(.held(HoldingsAnswer(page: 1, held: []))))
        try await pool.wait([0, 1], see: .alive, [0, 1], version: 2)
        // Now it is gone: on the connection there is, and on a new one with the record that still had it.
        let left = pool.record(version: 3, [2: .gone])
        #expect(try await pool.introduce(left, to: 0) == .done)
        #expect(try await member.call(.ask(query)).response.reason == .notAdmitted)
        #expect(try await knock(joined).1.reason == .notAdmitted)
        try await pool.wait([0, 1], see: .alive, [0, 1], version: 3)
        await pool.stopAll()
    }

    @Test("a server alone talks to nobody, and says who its members are")
    func alone() async throws {
        let pool = try await Pool(2, replicas: 1)
        #expect(try await pool.membership(0) == nil)
        let client = try await pool.client(0)
        #expect(try await RegisterDriver.create(client, keeper: pool.ids[0]).reason == nil)
        // From its own keeper.
        let seen = try await eventually { try await client.status().membership }
        #expect(
            seen == MembershipStatus(epoch: 1, configVersion: 1, members: [.init(server: pool.ids[0], health: .alive)]))
        #expect(
            pool.servers[0]?.volumes[pool.key.id]?.members.state.withLock { $0.core == nil && $0.links.isEmpty } == true
        )
        await pool.stopAll()
    }

    @Test("copy away what a draining one has, and it keeps it")
    func draining() async throws {
        let pool = try await Pool(3)
        let record = pool.record()
        try await pool.introduce(record)
        try await pool.wait([0, 1, 2], see: .alive, [0, 1, 2])
        var random = SplitMix64(seed: 5)
        let blocks = (0..<20).map { _ in TestBlock(2000, &random) }
        try await pool.put(blocks, record)
        let before = try await pool.held(1).count
        let draining = pool.record(version: 2, [1: .draining])
        try await pool.introduce(draining)
        for index in [0, 2] { try await pool.wait(index, holds: Set(blocks.map(\.id))) }
        #expect(try await pool.held(1).count == before)
        _ = try await eventually { try await pool.membership(1)?.isDraining == true ? true : nil }
        #expect(try await pool.membership(0)?.isDraining == false)
        await pool.stopAll()
    }

    @Test("do not bring back what was swept while one of them was away")
    func swept() async throws {
        let pool = try await Pool(2) { $0.timing.grace = .seconds(3600) }
        let record = pool.record()
        try await pool.introduce(record)
        try await pool.wait([0, 1], see: .alive, [0, 1])
        var random = SplitMix64(seed: 6)
        let blocks = (0..<6).map { _ in TestBlock(2000, &random) }
        await pool.stop(0)
        try await pool.put(blocks, record)
        await pool.stop(1)
        try await pool.start(0)
        // The first by a sweep, the second by a free, the others not; none of them is here.
        let client = try await pool.client(0)
        #expect(try await client.ask(.sweep(blocks: [blocks[0].id], gcEpoch: 3, cutoff: 1)) == .done)
        #expect(try await client.ask(.free(blocks: [blocks[1].id], gcEpoch: 2)) == .done)
        await pool.stop(0)
        try await pool.start(0)
        try await pool.start(1)
        try await pool.wait([0, 1], see: .alive, [0, 1])
        // When a block that only server 1 has got through, so would have these.
        let extra = TestBlock(1000, &random)
        #expect(try await pool.client(1).put(extra, gcEpoch: 5) == .done)
        try await pool.wait(0, holds: Set(blocks.dropFirst(2).map(\.id) + [extra.id]))
        await pool.stopAll()
    }

    @Test("end with every block where it belongs, whatever happened to one after the other of them", arguments: [1, 2])
    func soak(seed: UInt64) async throws {
        let pool = try await Pool(4, replicas: 3) { options in
            options.timing.grace = .milliseconds(400)
            options.surplus.age = .milliseconds(100)
        }
        let record = pool.record()
        try await pool.introduce(record)
        try await pool.wait([0, 1, 2, 3], see: .alive, [0, 1, 2, 3])
        var random = SplitMix64(seed: seed)
        var blocks: [TestBlock] = []
        func add(_ count: Int) async throws {
            let fresh = (0..<count).map { _ in TestBlock(Int.random(in: 1...40_000, using: &random), &random) }
            // As clients do, where W of them take it: with one server away there is one copy less.
            try await pool.put(fresh, record)
            blocks += fresh
        }
        try await add(20)
        for _ in 0..<6 {
            let victim = Int.random(in: 0..<4, using: &random)
            let others = (0..<4).filter { $0 != victim }
            switch Int.random(in: 0..<3, using: &random) {
            case 0:
                // Stopped at any moment of the copying, and started again before or after the others have given up.
                await pool.stop(victim)
                try await add(5)
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...1500, using: &random)))
            case 1:
                await pool.stop(victim)
                // The others have all copies there are without it.
                try await pool.wait(others, see: .lost, [victim])
                for index in others { try await pool.wait(index, holds: Set(blocks.map(\.id))) }
                try pool.wipe(victim)
            default:
                // One that belongs there, and so is not dropped meanwhile.
                let held = pool.share(victim, of: blocks, record).intersection(try await pool.held(victim).map(\.block))
                guard let block = blocks.first(where: { held.contains($0.id) }) else { continue }
                try flipByte(of: block, in: pool.folders[victim])
                #expect(try #require(pool.servers[victim]).scrubAll(pool.key.id) == [block.id])
                continue
            }
            try await pool.start(victim)
            try await add(3)
        }
        try await pool.wait([0, 1, 2, 3], see: .alive, [0, 1, 2, 3])
        for index in 0..<4 {
            try await pool.wait(index, holds: pool.share(index, of: blocks, record))
            let client = try await pool.client(index)
            for block in blocks where pool.share(index, of: blocks, record).contains(block.id) {
                #expect(try await client.get(block.id) == block.array)
            }
            #expect(try #require(pool.servers[index]).scrubAll(pool.key.id).isEmpty)
        }
        await pool.stopAll()
    }

    @Test("pass a block on from one to the next, and say who did not take it")
    func chain() async throws {
        // No repair in the way.
        let pool = try await Pool(4, replicas: 3) { $0.repair.rate = 1 }
        try await pool.introduce(pool.record())
        try await pool.wait([0, 1, 2, 3], see: .alive, [0, 1, 2, 3])
        let client = try await pool.client(0)
        var random = SplitMix64(seed: 8)
        func pass(_ block: TestBlock, to servers: [Int], as name: BlockID? = nil) async throws -> Response {
            let request = Request.pass(
                block: name ?? block.id, length: UInt32(block.bytes.readableBytes), gcEpoch: 7,
                to: servers.map { pool.ids[$0] })
            return try await client.connection.call(request, payload: block.bytes).response
        }
        // Links that were made before both knew each other may still wait for their turn.
        let probe = TestBlock(10, &random)
        _ = try await eventually { try await pass(probe, to: [1, 2, 3]) == .done ? true : nil }
        let blocks = (0..<12).map { TestBlock($0 % 2 == 0 ? 1_000_000 : 300, &random) }
        try await withThrowingTaskGroup(of: Response.self) { group in
            for block in blocks {
                let request = Request.pass(
                    block: block.id, length: UInt32(block.bytes.readableBytes), gcEpoch: 7, to: Array(pool.ids[2...]))
                group.addTask { try await client.connection.call(request, payload: block.bytes).response }
            }
            for try await response in group { #expect(response == .done) }
        }
        for index in [0, 2, 3] {
            let held = try await pool.held(index)
            #expect(Set(held.map(\.block)) == Set(blocks.map(\.id) + [probe.id]))
            #expect(held.allSatisfy { $0.gcEpoch == 7 })
            #expect(try await pool.client(index).get(blocks[0].id) == blocks[0].array)
        }
        // A flush behind it vouches for it.
        let last = TestBlock(500_000, &random)
        let answer = client.send(
            .pass(block: last.id, length: 500_000, gcEpoch: 7, to: [pool.ids[1]]), payload: last.bytes)
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        #expect(try await pool.held(0).contains { $0.block == last.id })
        #expect(try await answer.response() == .done)
        // Nobody is called that who is no member, or away; those behind it get it all the same.
        await pool.stop(2)
        let late = TestBlock(20_000, &random)
        let response = try await client.connection.call(
            .pass(block: late.id, length: 20_000, gcEpoch: 7, to: [.zero, pool.ids[2], pool.ids[3]]),
            payload: late.bytes
        ).response
        if response == .passed(failed: [.zero, pool.ids[2], pool.ids[3]]) {
            // It was just leaving.
            #expect(try await pass(late, to: [2, 3]) == .passed(failed: [pool.ids[2]]))
        } else {
            #expect(response == .passed(failed: [.zero, pool.ids[2]]))
        }
        #expect(try await pool.held(3).contains { $0.block == late.id })
        // B1, by each of them.
        guard case .passed(let failed) = try await pass(late, to: [3], as: last.id) else { throw Unexpected() }
        #expect(Set(failed) == [pool.ids[0], pool.ids[3]])
        await pool.stopAll()
    }

    @Test("a witness takes no blocks, from clients or servers, and votes")
    func witness() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder) { $0.isWitness = true }
        let client = try await TestClient.open(server)
        var random = SplitMix64(seed: 7)
        let block = TestBlock(100, &random)
        #expect(try await client.put(block).reason == .full)
        let status = try await client.status()
        #expect(status.capacity == 0 && status.free == 0)
        #expect(try await RegisterDriver.create(client, keeper: server.identity).reason == nil)
        await server.stop()
    }
}

extension Server {
    func scrubAll(_ volume: VolumeID) throws -> [BlockID] {
        try #require(volumes[volume]).maintain(scrubbing: 2)
    }
}

/// Changes the block where it lies.
func flipByte(of block: TestBlock, in folder: TemporaryFolder) throws {
    let piece = Array(block.array.prefix(64))
    for path in try allFiles(folder.path.string) where path.hasSuffix(".seg") {
        let file = FilePath(path)
        let bytes = try #require(try PrivateFile.read(file, limit: 1 << 30, secret: false))
        guard
            let start = (0..<max(0, bytes.count - 64)).first(where: {
                bytes[$0] == piece[0] && Array(bytes[$0..<$0 + 64]) == piece
            })
        else { continue }
        let descriptor = open(path, O_WRONLY)
        defer { close(descriptor) }
        var byte = bytes[start] ^ 1
        try #require(pwrite(descriptor, &byte, 1, off_t(start)) == 1)
        return
    }
    throw Unexpected()
}

private func allFiles(_ folder: String) throws -> [String] {
    var found: [String] = []
    let directory = try #require(opendir(folder))
    defer { closedir(directory) }
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name == "." || name == ".." { continue }
        let path = folder + "/" + name
        if entry.pointee.d_type == UInt8(DT_DIR) { found += try allFiles(path) } else { found.append(path) }
    }
    return found
}

extension Response {
    var tags: [UInt64] {
        if case .listed(let blocks) = self { blocks.map(\.gcEpoch) } else { [] }
    }
}
