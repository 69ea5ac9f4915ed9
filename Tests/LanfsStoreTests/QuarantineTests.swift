import LanfsProtocol
import SystemPackage
import Testing

@testable import LanfsStore

@Suite("Freed blocks")
struct QuarantineTests {
    private static let day: Int64 = 24 * 3600

    private func used(_ folder: FilePath) throws -> UInt64 {
        try segmentFiles(folder).reduce(0) { try $0 + OpenFile($1, 0).information().allocated }
    }

    @Test("stay a day, then go, and the disk gets its space back")
    func timing() throws {
        let folder = try TemporaryFolder()
        let clock = TestClock()
        let store = try BlockStore.open(folder.path, clock: clock)
        let blocks = (0..<10).map { TestBlock($0, size: 500_000) }
        for block in blocks { try store.put(block) }
        try store.flush()
        let before = try used(folder.path)
        #expect(try store.free(blocks[0..<5].map(\.id), gcEpoch: 1) == 5)
        #expect(store.everything().count == 5)
        #expect(store.status().quarantinedBlocks == 5)
        clock.advance(Self.day - 1)
        try store.maintain()
        for block in blocks { #expect(store.has(block)) }
        clock.advance(1)
        #expect(try store.maintain().reclaimedBytes == 5 * RecordHeader.span(500_000))
        #expect(store.status().quarantinedBlocks == 0)
        for block in blocks[0..<5] { #expect(!store.contains(block.id)) }
        for block in blocks[5...] { #expect(store.has(block)) }
        #expect(try used(folder.path) + 5 * 500_000 <= before)
        let again = try BlockStore.open(folder.path, clock: clock)
        for block in blocks[0..<5] { #expect(!again.contains(block.id)) }
        for block in blocks[5...] { #expect(again.has(block)) }
        #expect(again.issues.isEmpty)
    }

    @Test("a crash between the log and the hole costs no space: the next start punches it")
    func crashBeforePunch() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let blocks = (0..<10).map { TestBlock($0, size: 500_000) }
        for block in blocks { try store.put(block) }
        try store.flush()
        let file = try #require(try segmentFiles(folder.path).first)
        let whole = try TemporaryFolder.read(file)
        try store.free(blocks[0..<5].map(\.id), gcEpoch: 1)
        #expect(store.reclaimEarly(.max) == 5 * RecordHeader.span(500_000))
        // As if the holes had not been made.
        try TemporaryFolder.write(whole, to: file)
        let before = try used(folder.path)
        let again = try BlockStore.open(folder.path)
        #expect(try used(folder.path) + 5 * 500_000 <= before)
        #expect(again.status().blocks == 5 && again.issues.isEmpty)
        for block in blocks[5...] { #expect(again.has(block)) }
    }

    @Test("a block put again right after its reclaim and a crash is not taken for the one that is gone")
    func placeIsNotUsedTwice() throws {
        let folder = try TemporaryFolder()
        var store = try BlockStore.open(folder.path)
        let (first, last) = (TestBlock(1, size: 5000), TestBlock(2, size: 5000))
        try store.put(first)
        try store.put(last)
        try store.flush()
        for round in 0..<3 {
            try store.free([last.id], gcEpoch: 1)
            #expect(store.reclaimEarly(1) > 0)
            store = try BlockStore.open(folder.path)
            #expect(!store.contains(last.id))
            #expect(try store.put(last) == .stored)
            try store.flush()
            store = try BlockStore.open(folder.path)
            #expect(store.has(first) && store.has(last), "round \(round)")
        }
    }

    @Test("come back with a put or a touch, also after a restart", arguments: [false, true], [false, true])
    func revived(byTouch: Bool, restart: Bool) throws {
        let folder = try TemporaryFolder()
        let clock = TestClock()
        var store = try BlockStore.open(folder.path, clock: clock)
        let block = TestBlock(1, size: 100)
        try store.put(block)
        try store.free([block.id], gcEpoch: 1)
        if restart { store = try BlockStore.open(folder.path, clock: clock) }
        #expect(store.everything().isEmpty)
        if byTouch {
            #expect(try store.touch([block.id], gcEpoch: 2).isEmpty)
        } else {
            #expect(try store.put(block, gcEpoch: 2) == .present)
            try store.flush()
        }
        if restart { store = try BlockStore.open(folder.path, clock: clock) }
        clock.advance(3 * Self.day)
        try store.maintain()
        #expect(store.has(block))
        #expect(store.everything().map(\.gcEpoch) == [2])
        // Freed again it waits its full time again.
        try store.free([block.id], gcEpoch: 2)
        clock.advance(Self.day - 1)
        try store.maintain()
        #expect(store.has(block))
        clock.advance(Self.day)
        try store.maintain()
        #expect(!store.contains(block.id))
    }

    @Test("a free spares blocks with a newer tag, and unknown ones")
    func newerTag() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let (old, new, unknown) = (TestBlock(1, size: 9), TestBlock(2, size: 9), TestBlock(3, size: 9))
        try store.put(old, gcEpoch: 4)
        try store.put(new, gcEpoch: 5)
        #expect(try store.free([old.id, new.id, unknown.id, old.id], gcEpoch: 4) == 1)
        #expect(store.everything().map(\.block) == [new.id])
    }

    @Test("a sweep obeys its cutoff, and an older sweep is refused, also after a restart")
    func sweeps() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let blocks = (1...4).map { TestBlock($0, size: 9) }
        for (number, block) in blocks.enumerated() { try store.put(block, gcEpoch: UInt64(number + 1)) }
        #expect(try store.sweep(blocks.map(\.id), gcEpoch: 4, cutoff: 2) == 2)
        #expect(Set(store.everything().map(\.gcEpoch)) == [3, 4])
        #expect(try store.sweep(blocks.map(\.id), gcEpoch: 4, cutoff: 2) == 0, "the same collection goes on")
        #expect(throws: StoreError.staleSweep(gcEpoch: 3, newest: 4)) {
            try store.sweep(blocks.map(\.id), gcEpoch: 3, cutoff: 1)
        }
        let again = try BlockStore.open(folder.path)
        #expect(throws: StoreError.staleSweep(gcEpoch: 3, newest: 4)) { try again.sweep([], gcEpoch: 3, cutoff: 1) }
        #expect(again.status().quarantinedBlocks == 2)
        try again.rewriteLog()
        #expect(throws: StoreError.staleSweep(gcEpoch: 3, newest: 4)) {
            try BlockStore.open(folder.path).sweep([], gcEpoch: 3, cutoff: 1)
        }
    }

    @Test("go early when room is short, oldest first, but never those of a sweep")
    func early() throws {
        let folder = try TemporaryFolder()
        let clock = TestClock()
        var options = BlockStore.Options()
        options.quota = 4 * 8192
        let store = try BlockStore.open(folder.path, options: options, clock: clock)
        let blocks = (0..<8).map { TestBlock($0, size: 5000) }
        for block in blocks[0..<4] { try store.put(block) }
        try store.sweep([blocks[0].id], gcEpoch: 3, cutoff: 1)
        try store.free([blocks[2].id], gcEpoch: 1)
        clock.advance(Self.day / 2)
        try store.free([blocks[1].id], gcEpoch: 1)
        try store.put(blocks[4])
        #expect(store.contains(blocks[1].id) && !store.contains(blocks[2].id))
        try store.put(blocks[5])
        #expect(!store.contains(blocks[1].id))
        #expect(throws: StoreError.self) { try store.put(blocks[6]) }
        #expect(store.has(blocks[0]))
        for block in [blocks[3], blocks[4], blocks[5]] { #expect(store.has(block)) }
    }

    @Test("a jumping wall clock deletes nothing early while running, and half a day early at most across a restart")
    func clockJumps() throws {
        let folder = try TemporaryFolder()
        let clock = TestClock()
        var store = try BlockStore.open(folder.path, clock: clock)
        let block = TestBlock(1, size: 9)
        try store.put(block)
        try store.free([block.id], gcEpoch: 1)
        clock.jumpWall(1000 * Self.day)
        try store.maintain()
        #expect(store.has(block))
        store = try BlockStore.open(folder.path, clock: clock)
        try store.maintain()
        #expect(store.has(block))
        clock.advance(Self.day / 2 - 1)
        try store.maintain()
        #expect(store.has(block))
        clock.jumpWall(-2000 * Self.day)
        try store.close()
        store = try BlockStore.open(folder.path, clock: clock)
        try store.maintain()
        #expect(store.has(block))
        clock.advance(Self.day)
        try store.maintain()
        #expect(!store.contains(block.id))
    }

    @Test("the time goes on across restarts")
    func restartKeepsTime() throws {
        let folder = try TemporaryFolder()
        let clock = TestClock()
        var store = try BlockStore.open(folder.path, clock: clock)
        let block = TestBlock(1, size: 9)
        try store.put(block)
        try store.free([block.id], gcEpoch: 1)
        for step in 1...4 {
            clock.advance(Self.day / 4 - 1)
            try store.maintain()
            #expect(store.has(block), "step \(step)")
            if step % 2 == 0 { try store.rewriteLog() }
            store = try BlockStore.open(folder.path, clock: clock)
        }
        clock.advance(Self.day / 8)
        try store.maintain()
        #expect(!store.contains(block.id))
    }

    @Test("a segment in which everything is dead is deleted; its number is not used again")
    func deadSegments() throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        let store = try BlockStore.open(folder.path, options: options)
        let blocks = (0..<30).map { TestBlock($0, size: 200_000) }
        for block in blocks { try store.put(block) }
        try store.flush()
        #expect(try segmentFiles(folder.path).count == 3)
        try store.free(blocks.map(\.id), gcEpoch: 1)
        #expect(store.reclaimEarly(.max) == 30 * RecordHeader.span(200_000))
        #expect(try segmentFiles(folder.path).count == 1)
        try store.rewriteLog()
        for file in try segmentFiles(folder.path) { try Disk.remove(file) }
        let again = try BlockStore.open(folder.path, options: options)
        try again.put(blocks[0])
        #expect(try segmentFiles(folder.path).map { $0.lastComponent?.string } == ["00000004.seg"])
    }

    @Test("without holes, mostly dead segments are rewritten", arguments: [true, false])
    func rewriting(punches: Bool) throws {
        let folder = try TemporaryFolder()
        let clock = TestClock()
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        options.punchesHoles = punches
        var store = try BlockStore.open(folder.path, options: options, clock: clock)
        let blocks = (0..<40).map { TestBlock($0, size: 100_000) }
        for block in blocks { try store.put(block, gcEpoch: 3) }
        try store.flush()
        // One of each segment stays, one waits in quarantine.
        let kept = [blocks[0], blocks[25]]
        let waiting = [blocks[1], blocks[26]]
        let dead = blocks[0..<38].filter { block in !(kept + waiting).contains { $0.id == block.id } }
        try store.free(dead.map(\.id), gcEpoch: 3)
        clock.advance(Self.day / 2)
        try store.sweep(waiting.map(\.id), gcEpoch: 9, cutoff: 3)
        _ = try store.touch([blocks[0].id], gcEpoch: 8)
        clock.advance(Self.day / 2)
        let report = try store.maintain()
        #expect(report.deletedSegments >= (punches ? 0 : 1))
        #expect(report.rotten.isEmpty)
        for round in 0..<3 {
            for block in kept + waiting + blocks[38...] { #expect(store.has(block), "round \(round)") }
            #expect(store.status().quarantinedBlocks == 2)
            #expect(store.everything().count == 4)
            #expect(store.everything().first { $0.block == blocks[0].id }?.gcEpoch == 8)
            #expect(try used(folder.path) < 2_500_000)
            if round == 1 { try store.rewriteLog() }
            store = try BlockStore.open(folder.path, options: options, clock: clock)
            #expect(store.issues.isEmpty)
        }
        clock.advance(Self.day)
        try store.maintain()
        #expect(store.status().quarantinedBlocks == 0 && store.status().blocks == 4)
    }
}
