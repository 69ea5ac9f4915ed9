import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `Garbage of a volume` {
    /// Blocks the server holds and would give out; those in quarantine are not among them.
    private func stored(_ volume: Volume) async throws -> Set<BlockID> {
        var blocks: Set<BlockID> = []
        var after: BlockID?
        while case let page = try await volume.blocks.list(after: after), !page.isEmpty {
            blocks.formUnion(page.map(\.block))
            after = page.last?.block
        }
        return blocks
    }

    /// What a client leaves behind that dies between an upload and its commit.
    private func leaveBehind(_ count: Int, in volume: Volume) async throws -> Set<BlockID> {
        var left: Set<BlockID> = []
        for number in 0..<count {
            let block = SealedBlock(frames: [pattern(1000 + number)])
            try await volume.blocks.upload(block, gcEpoch: volume.current { $0.chain.record.gcEpoch })
            left.insert(block.id)
        }
        try await volume.blocks.flush()
        return left
    }

    @Test func `is found by the audit, and everything that is used stays`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        // A stored tree, change blocks on top of it, small files packed together and a large one.
        for number in 0..<150 {
            try await volume.put(pattern(3000 + number), as: "\(number)")
            if number % 2 == 0 { try await volume.save().get() }
        }
        try await volume.put(pattern(5_000_000), as: "large")
        try await volume.save().get()
        let left = try await leaveBehind(5, in: volume)
        #expect(try await stored(volume).isSuperset(of: left))

        // A block is swept by the second collection after its upload (G5).
        #expect(try await volume.audit().sweptBlocks == 0)
        try await volume.put(pattern(9000), as: "between")
        #expect(try await volume.audit() == AuditReport(sweptBlocks: 5, sweptBytes: UInt64(5010 + 5 * Limits.frameOverhead)))
        #expect(try await stored(volume).isDisjoint(with: left))
        #expect(try await volume.audit().sweptBlocks == 0)

        for number in 0..<150 { #expect(try await volume.contents(of: "\(number)") == pattern(3000 + number)) }
        _ = try await volume.close()
        let again = try await laboratory.open(at: server)
        for number in 0..<150 { #expect(try await again.contents(of: "\(number)") == pattern(3000 + number)) }
        #expect(try await again.contents(of: "large") == pattern(5_000_000))
        #expect(try await again.contents(of: "between") == pattern(9000))
        _ = try await again.close()
        await server.stop()
    }

    @Test func `is gone from several servers, also from one that was away, and while others upload`() async throws {
        let cluster = Cluster(members: .hasty)
        let volume = try await cluster.make(of: 0..<3)
        let servers = (0..<3).map(cluster.identity)
        for number in 0..<40 { try await volume.put(pattern(60_000 + number), as: "\(number)") }
        try await volume.put(pattern(3 << 20), as: "large")
        try await volume.save().get()
        let full = try await cluster.statuses(of: volume, at: servers).map(\.usedByVolume)
        #expect(full.reduce(0, +) > 10_000_000)

        await cluster.stop(2)
        for name in (0..<40).map(String.init) + ["large"] {
            _ = try await volume.unlink(Array(name.utf8), in: rootInode, by: caller).value()
        }
        try await volume.save().get()
        try await cluster.start([2])
        await volume.servers.connect(3, of: servers, until: .now + .seconds(10))
        // A client that dies before its commit, in the middle of a collection.
        async let left = leaveBehind(30, in: volume)
        _ = try await volume.audit()
        #expect(try await left.count == 30)
        // Each block goes with the second collection after its upload.
        for _ in 0..<2 { _ = try await volume.audit() }

        try await eventually {
            try await volume.save().get()
            try await volume.afterCommit()
            let reached = try await reached(volume)
            return try await Set(cluster.copies(of: volume, at: servers).keys).isSubset(of: reached)
        }
        // The tree's root and the changes since it was stored.
        #expect(try await cluster.statuses(of: volume, at: servers).allSatisfy { $0.usedByVolume < 500_000 })
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    /// All blocks that the newest root needs.
    private func reached(_ volume: Volume) async throws -> Set<BlockID> {
        let (chain, tree) = volume.current { ($0.chain, $0.tree) }
        var blocks = Set(chain.changeBlocks.map(\.block))
        for (tree, skipsStored) in [(Tree(root: chain.contents.tree), false), (tree, true)] {
            try await volume.walk(tree, skippingStored: skipsStored) { (nodes) throws(VolumeError) in
                for (place, node) in nodes {
                    if let stored = place.stored { blocks.insert(stored.ref.block) }
                    node.forEachEntry { key, value in
                        if let block = try? blockReferred(by: key, value) { blocks.insert(block) }
                    }
                }
            }
        }
        return blocks
    }

    /// G2, L6: the blocks get a new tag when what they belong to is done again.
    @Test func `is not what a client has sent and could not name before others collected twice`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let wall = try await Wall(before: server.port)
        var options = VolumeOptions()
        options.commitInterval = .seconds(60)
        let stalled = try await laboratory.open(at: server, create: true, through: wall.port, options)
        try await stalled.put(pattern(4000), as: "before")
        try await stalled.save().get()
        try await stalled.put(pattern(12 << 20), as: "sent")
        await stalled.sealer.waitForAll()
        try await stalled.blocks.flush()
        wall.freeze(true)
        #expect(stalled.current(\.hasUnsavedWork))

        let other = try await laboratory.open(at: server)
        var swept = 0
        for number in 0..<3 {
            try await other.put(pattern(5000), as: "\(number)")
            swept += try await other.audit().sweptBlocks
        }
        #expect(swept > 0)
        wall.freeze(false)
        try await stalled.save().get()
        #expect(stalled.current { $0.failure } == nil)
        _ = try await other.audit()
        #expect(try await other.contents(of: "sent") == pattern(12 << 20))
        for _ in 0..<2 { #expect(try await other.audit().sweptBlocks == 0) }
        #expect(try await stalled.contents(of: "2") == pattern(5000))
        _ = try await stalled.close()
        _ = try await other.close()
        await server.stop()
    }

    /// Each audit makes what others have sent older (G2).
    @Test func `is looked for by one machine of those for which it is due at the same time`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let machines = [laboratory] + (0..<2).map { _ in Laboratory(key: laboratory.key) }
        var volumes: [Volume] = []
        for machine in machines { volumes.append(try await machine.open(at: server, create: volumes.isEmpty)) }
        try await volumes[0].put(pattern(4000), as: "file")
        try await volumes[0].save().get()
        let schedules = machines.map { AuditSchedule(volume: volumes[0].id, directories: $0.directories) }
        let before = volumes[0].current { $0.chain.record.gcEpoch }
        // The day begins with the first look.
        for (schedule, volume) in zip(schedules, volumes) {
            try await volume.auditIfDue(by: schedule)
            #expect(try !schedule.isDue(at: .now, before))
        }
        let yesterday = Timestamp(seconds: Timestamp.now.seconds - 24 * 60 * 60, nanoseconds: 0)
        for schedule in schedules { try schedule.note(before, at: yesterday) }
        for (index, volume) in volumes.enumerated() {
            #expect(try schedules[index].isDue(at: .now, before))
            try await volume.auditIfDue(by: schedules[index])
            #expect(volume.current { $0.chain.record.gcEpoch } == before + 1)
            #expect(try !schedules[index].isDue(at: .now, before + 1))
        }
        // Who was not there hears of it from the volume.
        try schedules[2].note(before, at: yesterday)
        try await volumes[2].auditIfDue(by: schedules[2])
        #expect(volumes[2].current { $0.chain.record.gcEpoch } == before + 1)
        for volume in volumes { _ = try await volume.close() }
        await server.stop()
    }

    @Test func `is looked for by an idle client as well, on top of what others committed`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let idle = try await laboratory.open(at: server, create: true)
        try await idle.put(pattern(4000), as: "from-idle")
        try await idle.save().get()
        let busy = try await laboratory.open(at: server)
        for number in 0..<3 {
            try await busy.put(pattern(5000), as: "\(number)")
            try await busy.save().get()
            _ = try await idle.audit()
            #expect(idle.current { $0.failure } == nil)
        }
        try await idle.put(pattern(6000), as: "after")
        #expect(try await idle.close() == nil)
        for number in 0..<3 { #expect(try await busy.contents(of: "\(number)") == pattern(5000)) }
        _ = try await busy.close()
        await server.stop()
    }

    @Test func `is left alone when a part of the volume cannot be read`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        for number in 0..<140 {
            try await volume.put(pattern(5000), as: "\(number)")
            try await volume.save().get()
        }
        let left = try await leaveBehind(3, in: volume)
        _ = try await volume.audit()
        // A root that names a node which is nowhere: what hangs below it cannot be marked.
        volume.update { $0.chain.contents.tree?.block = BlockID(word0: 1, word1: 2, word2: 3, word3: 4) }
        await #expect(throws: VolumeError.self) { _ = try await volume.audit() }
        #expect(try await stored(volume).isSuperset(of: left))
        volume.abandon()
        await server.stop()
    }

    @Test func `in mostly deleted blocks is given back, and what lives in them moves`() async throws {
        let laboratory = Laboratory()
        let server = try await laboratory.startServer()
        let volume = try await laboratory.open(at: server, create: true)
        // Files of different blocks' worth, packed: deleting nine of ten leaves every block with something alive.
        for number in 0..<400 { try await volume.put(pattern(60_000 + number), as: "\(number)") }
        try await volume.save().get()
        for number in 0..<400 where number % 10 != 0 {
            _ = try await volume.unlink(Array("\(number)".utf8), in: rootInode, by: caller).value()
        }
        try await volume.save().get()
        // Of 24 MB 2.4 MB live, in all of the blocks. What does not add up to 8 MiB may stay.
        let deadline = ContinuousClock.now + .seconds(30)
        var bytes = UInt64.max
        while bytes > 12 << 20, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(200))
            bytes = try await volume.blocks.list(after: nil).reduce(0) { $0 + UInt64($1.length) }
        }
        #expect(bytes <= 12 << 20)
        for number in stride(from: 0, to: 400, by: 10) {
            #expect(try await volume.contents(of: "\(number)") == pattern(60_000 + number))
        }
        _ = try await volume.close()
        let again = try await laboratory.open(at: server)
        for number in stride(from: 0, to: 400, by: 10) {
            #expect(try await again.contents(of: "\(number)") == pattern(60_000 + number))
        }
        _ = try await again.close()
        await server.stop()
    }
}
