import LanfsCrypto
import LanfsProtocol
import NIOCore
import TestSupport
import Testing

@testable import LanfsServer

@Suite("Blocks") struct BlockTests {
    @Test(
        "what was put is got back, whole and in parts",
        arguments: [0, 1, 4095, 4096, 4097, 32 * 1024, 1 << 20, Limits.blockSize])
    func putAndGet(size: Int) async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        var random = SplitMix64(seed: UInt64(size))
        let block = TestBlock(size, &random)
        #expect(try await client.put(block) == .done)
        #expect(try await client.get(block.id) == block.array)
        if size > 1 {
            let rest = try await client.get(block.id, offset: 1, length: UInt32(size - 1))
            #expect(rest == Array(block.array.dropFirst()))
            #expect(try await client.get(block.id, offset: UInt32(size - 1), length: 1) == [block.array[size - 1]])
            #expect(try await client.get(block.id, offset: UInt32(size / 2)) == Array(block.array[(size / 2)...]))
        }
        let tooMuch = try await client.ask(.get(block: block.id, offset: 1, length: UInt32(size)))
        #expect(tooMuch.reason == .notFound)
        let farAway = try await client.ask(.get(block: block.id, offset: .max, length: .max))
        #expect(farAway.reason != nil)
        await server.stop()
    }

    @Test("a block that is not there is said to be not there")
    func missing() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        #expect(try await client.ask(.get(block: .zero, offset: 0, length: 10)).reason == .notFound)
        #expect(try await client.ask(.get(block: .zero, offset: 0, length: 0)).reason == .notFound)
        await server.stop()
    }

    @Test("bytes that do not hash to the name are refused, and the next flush says so once", arguments: [5000, 200_000])
    func wrongHash(size: Int) async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        var random = SplitMix64(seed: 1)
        let good = TestBlock(size, &random)
        let other = TestBlock(size, &random)
        let puts = [
            client.send(good.request(), payload: good.bytes), client.send(other.request(), payload: good.bytes),
        ]
        let flush = client.send(.flush(expecting: []))
        #expect(try await puts[0].response() == .done)
        #expect(try await puts[1].response().reason == .wrongHash)
        #expect(try await flush.response().reason == .wrongHash)
        #expect(try await client.ask(.flush(expecting: [good.id, other.id])) == .missing([other.id]))
        #expect(try await client.get(other.id) == nil)
        #expect(try await client.get(good.id) == good.array)
        await server.stop()
    }

    @Test("flushed blocks are there after a restart, at the same port")
    func restart() async throws {
        let folder = try TemporaryFolder()
        var random = SplitMix64(seed: 2)
        let blocks = (0..<20).map { TestBlock(1 + $0 * 7001, &random) }
        let key = VolumeKey.generate()
        let first = try await startServer(in: folder)
        let client = try await TestClient.open(first, key: key)
        for block in blocks { #expect(try await client.put(block) == .done) }
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        await first.stop()

        let second = try await startServer(in: folder)
        #expect(second.port == first.port)
        #expect(second.identity == first.identity)
        let again = try await TestClient.open(second, key: key)
        for block in blocks { #expect(try await again.get(block.id) == block.array) }
        await second.stop()
    }

    @Test("a quota refuses what is too much and keeps what is there")
    func quota() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let quota: UInt64 = 3 << 20
        let server = try await startServer(in: folder) {
            $0.allow = [ServerConfiguration.Allowance(volume: key.id, quota: quota)]
        }
        let client = try await TestClient.open(server, key: key)
        var random = SplitMix64(seed: 3)
        var stored: [TestBlock] = []
        var refused = 0
        for _ in 0..<4 {
            let block = TestBlock(1 << 20, &random)
            let response = try await client.put(block)
            if response == .done { stored.append(block) } else { refused += response.reason == .full ? 1 : 0 }
        }
        #expect((2...3).contains(stored.count))
        #expect(refused == 4 - stored.count)
        #expect(try await client.ask(.flush(expecting: [])).reason == .full)
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        for block in stored { #expect(try await client.get(block.id) == block.array) }
        let status = try await client.status()
        #expect(status.capacity == quota)
        #expect(status.usedByVolume <= quota)
        await server.stop()
    }

    @Test("status counts what the volume uses")
    func status() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        let before = try await client.status()
        #expect(before.blocks == 0)
        #expect(before.usedByVolume == 0)
        #expect(before.capacity > 0 && before.capacity <= 1 << 30)
        var random = SplitMix64(seed: 4)
        for _ in 0..<3 { #expect(try await client.put(TestBlock(100_000, &random)) == .done) }
        let after = try await client.status()
        #expect(after.blocks == 3)
        #expect(after.usedByVolume >= 300_000 && after.usedByVolume < 330_000)
        #expect(after.free < before.free)
        await server.stop()
    }

    @Test("freed blocks are listed no more, and touched ones come back")
    func freeAndTouch() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        var random = SplitMix64(seed: 5)
        let blocks = (0..<4).map { _ in TestBlock(3000, &random) }
        for block in blocks { #expect(try await client.put(block, gcEpoch: 1) == .done) }
        let all = blocks.map { StoredBlock(block: $0.id, length: 3000, gcEpoch: 1) }.sorted { $0.block < $1.block }
        #expect(try await client.ask(.list(after: nil)) == .listed(all))
        #expect(try await client.ask(.list(after: all[1].block)) == .listed(Array(all[2...])))

        let ids = all.map(\.block)
        #expect(try await client.ask(.free(blocks: Array(ids.prefix(2)), gcEpoch: 1)) == .done)
        #expect(try await client.ask(.list(after: nil)) == .listed(Array(all[2...])))
        #expect(try await client.ask(.touch(blocks: [ids[0], .zero], gcEpoch: 2)) == .missing([.zero]))
        guard case .listed(let listed) = try await client.ask(.list(after: nil)) else { throw Unexpected() }
        #expect(listed.map(\.block) == [ids[0], ids[2], ids[3]])
        #expect(listed[0].gcEpoch == 2)
        #expect(try await client.status().blocks == 3)
        await server.stop()
    }

    @Test("a sweep takes old tags only, and an older sweep comes too late")
    func sweep() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        var random = SplitMix64(seed: 6)
        let old = TestBlock(10, &random)
        let young = TestBlock(10, &random)
        #expect(try await client.put(old, gcEpoch: 1) == .done)
        #expect(try await client.put(young, gcEpoch: 4) == .done)
        #expect(try await client.ask(.sweep(blocks: [old.id, young.id], gcEpoch: 5, cutoff: 3)) == .done)
        let left = [StoredBlock(block: young.id, length: 10, gcEpoch: 4)]
        #expect(try await client.ask(.list(after: nil)) == .listed(left))
        #expect(try await client.ask(.sweep(blocks: [young.id], gcEpoch: 4, cutoff: 4)).reason == .staleSweep)
        await server.stop()
    }

    @Test("many connections at once: every flush that is answered vouches for what came before it")
    func many() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder)
        let flushed = try await withThrowingTaskGroup(of: [TestBlock].self) { group in
            for seed in 0..<UInt64(6) {
                group.addTask {
                    let client = try await TestClient.open(server, key: key)
                    var random = SplitMix64(seed: seed)
                    var blocks: [TestBlock] = []
                    for _ in 0..<5 {
                        let longest = Bool.random(using: &random) ? 20_000 : 200_000
                        let batch = (0..<Int.random(in: 0..<12, using: &random)).map { _ in
                            TestBlock(Int.random(in: 1...longest, using: &random), &random)
                        }
                        let puts = batch.map { client.send($0.request(), payload: $0.bytes) }
                        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
                        for put in puts { #expect(try await put.response() == .done) }
                        blocks += batch
                        if let any = blocks.randomElement(using: &random) {
                            #expect(try await client.get(any.id) == any.array, "seed \(seed)")
                        }
                    }
                    return blocks
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        let status = try await TestClient.open(server, key: key).status()
        #expect(status.blocks == UInt64(flushed.count))
        await server.stop()
    }

    @Test("volumes do not see each other's blocks")
    func separation() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let one = try await TestClient.open(server)
        let other = try await TestClient.open(server)
        var random = SplitMix64(seed: 7)
        let block = TestBlock(500, &random)
        #expect(try await one.put(block) == .done)
        #expect(try await other.get(block.id) == nil)
        #expect(try await other.ask(.list(after: nil)) == .listed([]))
        await server.stop()
    }
}
