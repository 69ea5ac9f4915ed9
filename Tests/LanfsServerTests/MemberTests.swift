import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import NIOCore
import NIOPosix
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
}

extension Response {
    var tags: [UInt64] {
        if case .listed(let blocks) = self { blocks.map(\.gcEpoch) } else { [] }
    }
}
