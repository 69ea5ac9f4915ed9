import Glibc
import LanfsProtocol
import SystemPackage
import Testing

@testable import LanfsStore

@Suite("Scrubbing")
struct ScrubTests {
    @Test("finds rot in sealed and open segments, within its budget, and the block can be put again")
    func rot() throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        let store = try BlockStore.open(folder.path, options: options)
        let blocks = (0..<15).map { TestBlock($0, size: 200_000) }
        for block in blocks { try store.put(block) }
        try store.flush()
        for victim in [blocks[2], blocks[14]] {
            let location = try #require(try store.locate(victim.id))
            try OpenFile(location.file.path, O_RDWR).write(
                [0xff ^ victim.bytes[77]], at: UInt64(location.fileOffset) + 77)
        }
        var cursor = ScrubCursor()
        var rotten: [BlockID] = []
        var steps = 0
        var checked = 0
        while true {
            let report = try store.scrub(&cursor, budget: 300_000)
            rotten += report.rotten
            checked += report.checkedBlocks
            steps += 1
            #expect(report.checkedBytes <= 300_000 + RecordHeader.span(200_000))
            if report.isComplete { break }
        }
        #expect(rotten == [blocks[2].id, blocks[14].id] && checked == 15 && steps >= 8)
        #expect(cursor == ScrubCursor())
        for block in blocks { #expect(store.contains(block.id) == !rotten.contains(block.id)) }
        #expect(try store.put(blocks[2]) == .stored)
        try store.flush()
        let again = try BlockStore.open(folder.path, options: options)
        #expect(again.has(blocks[2]) && !again.contains(blocks[14].id) && again.status().blocks == 14)
    }

    @Test("goes on where an earlier process was, and from the start when that cannot be told")
    func restart() throws {
        let folder = try TemporaryFolder()
        let blocks = (0..<10).map { TestBlock($0, size: 20_000) }
        var store = try BlockStore.open(folder.path)
        for block in blocks { try store.put(block) }
        func checkedUntilComplete() throws -> Int {
            var checked = 0
            while true {
                let report = try store.scrubOn(budget: 1)
                checked += report.checkedBlocks
                if report.isComplete { return checked }
            }
        }
        for _ in 0..<4 { #expect(try store.scrubOn(budget: 1).checkedBlocks == 1) }
        try store.close()
        store = try BlockStore.open(folder.path)
        #expect(try checkedUntilComplete() == 6)
        for _ in 0..<3 { _ = try store.scrubOn(budget: 1) }
        try store.close()
        try TemporaryFolder.write([1, 2, 3], to: ScrubCursor.path(folder.path))
        store = try BlockStore.open(folder.path)
        #expect(try checkedUntilComplete() == 10)
    }

    @Test("its position survives a crash, some steps old")
    func crash() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        for number in UInt64(0)..<3 { try store.put(TestBlock(number, size: 20_000)) }
        for _ in 0..<LastingScrub.stepsPerSave { _ = try store.scrubOn(budget: 1) }
        let position = store.scrubbing.withLock { $0.cursor }
        _ = try store.scrubOn(budget: 1)
        #expect(position != ScrubCursor() && ScrubCursor(restoredFrom: folder.path) == position)
    }

    @Test("a reader's complaint is checked")
    func complaint() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let block = TestBlock(1, size: 5000)
        try store.put(block)
        #expect(try !store.reportRotten(block.id))
        let location = try #require(try store.locate(block.id))
        try OpenFile(location.file.path, O_RDWR).write([0xff ^ block.bytes[0]], at: UInt64(location.fileOffset))
        #expect(try store.reportRotten(block.id))
        #expect(!store.contains(block.id))
        #expect(try !store.reportRotten(block.id))
    }
}
