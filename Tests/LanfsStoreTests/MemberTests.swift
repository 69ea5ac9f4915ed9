import LanfsProtocol
import Synchronization
import SystemPackage
import Testing

@testable import LanfsStore

@Suite("What other servers ask of a store")
struct MemberTests {
    @Test("raising tags takes nothing out of quarantine, is on disk, and says what is held")
    func raise() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let blocks = (0..<3).map { TestBlock($0, size: 5000) }
        for block in blocks { try store.put(block, gcEpoch: 5) }
        try store.free([blocks[1].id], gcEpoch: 5)
        let stranger = TestBlock(9, size: 10)
        let tags = [(blocks[0].id, UInt64(9)), (blocks[1].id, 9), (blocks[2].id, 2), (stranger.id, 9)]
        #expect(try store.raise(tags) == [true, false, true, false])
        #expect(store.localCopy(blocks[0].id) == .live(gcEpoch: 9))
        #expect(store.localCopy(blocks[1].id) == .quarantined(gcEpoch: 5))
        #expect(store.localCopy(blocks[2].id) == .live(gcEpoch: 5))
        #expect(store.localCopy(stranger.id) == .absent)
        // A tag that cannot be kept is not claimed to be.
        #expect(try store.raise([(blocks[0].id, BlockStore.epochLimit + 1)]) == [false])
        // Killed now.
        let copy = try TemporaryFolder()
        try TemporaryFolder.copy(folder.path, to: copy.path)
        let again = try BlockStore.open(copy.path)
        #expect(again.localCopy(blocks[0].id) == .live(gcEpoch: 9))
        #expect(again.localCopy(blocks[1].id) == .quarantined(gcEpoch: 5))
    }

    @Test("a block is dropped at once and for good, but not under another tag or out of quarantine")
    func drop() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let blocks = (0..<4).map { TestBlock($0, size: 200_000) }
        for block in blocks { try store.put(block, gcEpoch: 5) }
        try store.flush()
        try store.free([blocks[2].id], gcEpoch: 5)
        let before = store.status().usedBytes
        #expect(try store.drop(blocks[0].id, gcEpoch: 5))
        #expect(try !store.drop(blocks[0].id, gcEpoch: 5))
        #expect(try !store.drop(blocks[1].id, gcEpoch: 4))
        #expect(try !store.drop(blocks[2].id, gcEpoch: 5))
        #expect(store.status().usedBytes == before - RecordHeader.span(200_000))
        #expect(!store.has(blocks[0]) && store.has(blocks[1]))
        let copy = try TemporaryFolder()
        try TemporaryFolder.copy(folder.path, to: copy.path)
        let again = try BlockStore.open(copy.path)
        #expect(!again.contains(blocks[0].id) && again.has(blocks[1]))
        // It is welcome again with any tag.
        #expect(try store.put(blocks[0], gcEpoch: 1) == .stored)
        try store.flush()
        #expect(store.localCopy(blocks[0].id) == .live(gcEpoch: 1))
        try store.close()
        #expect(try BlockStore.open(folder.path).localCopy(blocks[0].id) == .live(gcEpoch: 1))
    }

    @Test("the list for others has only what is on disk: nothing that the flush for it has lost")
    func listOnDisk() throws {
        let folder = try TemporaryFolder()
        let broken = Broken()
        var options = BlockStore.Options()
        options.syncFault = { _ in broken.isSet.load(ordering: .relaxed) ? .ioError : nil }
        let store = try BlockStore.open(folder.path, options: options)
        let blocks = (0..<6).map { TestBlock($0, size: 3000) }.sorted { $0.id < $1.id }
        for block in blocks[..<3] { try store.put(block) }
        #expect(try store.listOnDisk(after: nil, limit: 2).map(\.block) == blocks[..<2].map(\.id))
        #expect(try store.listOnDisk(after: blocks[1].id, limit: 2).map(\.block) == [blocks[2].id])
        #expect(try store.listOnDisk(after: blocks[2].id, limit: 2).isEmpty)
        for block in blocks[3...] { try store.put(block) }
        broken.isSet.store(true, ordering: .relaxed)
        let listed = (try? store.listOnDisk(after: nil, limit: 10)) ?? []
        #expect(Set(listed.map(\.block)).isSubset(of: blocks[..<3].map(\.id)))
    }
}

private final class Broken: Sendable {
    let isSet = Atomic<Bool>(false)
}
