import Glibc
import LanfsProtocol
import SystemPackage
import Testing

@testable import LanfsStore

@Suite("On a full disk")
struct FullDiskTests {
    /// A small file system of our own; nil where that is not allowed.
    private func mountSmall(_ folder: FilePath, size: String) -> Bool {
        let result = folder.withPlatformString { mount("lanfs-test", $0, "tmpfs", 0, "size=\(size)") }
        if result != 0 { print("skipped: mounting a tmpfs needs root (\(Errno(rawValue: errno)))") }
        return result == 0
    }

    @Test("puts are refused, flushed blocks stay, deleting helps", arguments: [0, 1 << 20] as [UInt64])
    func full(reserveSize: UInt64) throws {
        let folder = try TemporaryFolder("full")
        guard mountSmall(folder.path, size: "12m") else { return }
        defer { _ = folder.path.withPlatformString { umount2($0, Int32(MNT_DETACH)) } }
        let clock = TestClock()
        let space = Space(folder: folder.path, keepFree: 0, reserveSize: reserveSize)
        var options = BlockStore.Options()
        options.segmentSize = 4 << 20
        let store = try BlockStore.open(folder.path.appending("v"), options: options, space: space, clock: clock)
        let journals = (folder.path.appending("a"), folder.path.appending("b"))
        let journal = try KeeperJournal(folders: journals, volume: testVolume, hash: testHash) { _, _ in }

        var stored: [TestBlock] = []
        var refusal: StoreError?
        for number in 0..<200 as Range<UInt64> {
            do {
                let block = TestBlock(number, size: 100_000)
                try store.put(block)
                stored.append(block)
                if number % 8 == 7 { try store.flush() }
            } catch let error as StoreError {
                refusal = error
                break
            }
        }
        guard case .full(.fileSystem, _, _, _) = refusal else {
            Issue.record("\(String(describing: refusal))")
            return
        }
        #expect(stored.count > 50)
        for number in 500..<600 as Range<UInt64> { _ = try? store.put(TestBlock(number, size: 100)) }
        let filler = try OpenFile(folder.path.appending("filler"), O_WRONLY | O_CREAT)
        var position: UInt64 = 0
        while (try? filler.write([UInt8](repeating: 1, count: 4096), at: position)) != nil { position += 4096 }
        try store.flush()
        for block in stored { #expect(store.has(block)) }

        // With not one byte left the register goes on, and so do deletions.
        for round in 0..<300 { try journal.append([UInt8](repeating: UInt8(round % 250), count: 3000)) }
        try store.free(stored[0..<20].map(\.id), gcEpoch: 1)
        _ = try store.touch(stored[20...].map(\.id), gcEpoch: 5)
        clock.advance(48 * 3600)
        let report = try store.maintain()
        #expect(report.reclaimedBytes == 20 * RecordHeader.span(100_000))
        try store.put(TestBlock(1000, size: 100_000))
        try store.flush()
        let again = try BlockStore.open(
            folder.path.appending("v"), options: options,
            space: Space(folder: folder.path, keepFree: 0, reserveSize: 0),
            clock: clock)
        for block in stored[20...] { #expect(again.has(block)) }
        for block in stored[..<20] { #expect(!again.contains(block.id)) }
        #expect(again.has(TestBlock(1000, size: 100_000)))
        #expect(again.everything().first { $0.block == stored[30].id }?.gcEpoch == 5)
        #expect(
            try KeeperJournal.recover(journals, volume: testVolume, hash: testHash)
                == .state([UInt8](repeating: 49, count: 3000)))
    }

    /// Puts blocks until one is refused; says how many fit, and what was short.
    private func fill(
        _ store: BlockStore, size: Int, from first: UInt64, by source: BlockStore.BlockSource = .client
    ) throws -> (count: UInt64, shortage: StoreError.Shortage) {
        for number in 0..<1000 as Range<UInt64> {
            let block = TestBlock(first + number, size: size)
            do {
                _ = try block.bytes.withUnsafeBytes { try store.put(block.id, $0, gcEpoch: 1, from: source) }
            } catch StoreError.full(let shortage, _, _, _) {
                return (number, shortage)
            }
        }
        throw StoreError.tooLong(length: 1000, limit: 1000)
    }

    @Test("when all is full each volume still gets its share of the reserve, in small blocks, again and again")
    func reserveOfCapacity() throws {
        let folder = try TemporaryFolder()
        var options = StoreDirectory.Options()
        options.capacity = 8 << 20
        options.keepFree = 0
        options.reserveSize = 0
        let directory = try StoreDirectory(
            folder.path, options: options, hash: testHash, clock: TestClock().clock, logger: quietLogger)
        let greedy = try directory.volume(testVolume, create: true)
        let other = try directory.volume(VolumeID(word0: 9, word1: 9, word2: 9, word3: 9), create: true)
        let (reserve, small) = (Space.reserve(of: 8 << 20), RecordHeader.span(4000))
        #expect(reserve == 512 << 10)
        let share = reserve / 2 / small

        for round in 0..<3 as Range<UInt64> {
            let base = round * 100_000
            let large = try fill(greedy, size: 200_000, from: base)
            #expect(large.count >= 1 && large.shortage == .capacity)
            // What is left of the ordinary room, and then what is held back: of that it gets half, and so does the other.
            let rest = try fill(greedy, size: 4000, from: base + 10_000)
            #expect(rest.shortage == .capacity && rest.count >= share)
            #expect(directory.space.used > options.capacity - reserve && directory.room() == 0)
            #expect(try fill(other, size: 200_000, from: base + 20_000).count == 0)
            #expect(try fill(other, size: 4000, from: base + 30_000, by: .member).count == 0, "a copy can wait")
            #expect(try fill(other, size: 4000, from: base + 40_000).count == share)
            #expect(directory.space.used <= options.capacity)

            // It gives back what it drew, and has it again.
            let drawn = (0..<share).map { TestBlock(base + 40_000 + $0, size: 4000).id }
            #expect(try other.free(Array(drawn.prefix(5)), gcEpoch: 1) == 5)
            #expect(try fill(other, size: 4000, from: base + 50_000).count == 5)

            // The greedy one deletes: there is ordinary room again, and the reserve is whole.
            let ids = greedy.everything().map(\.block)
            #expect(try greedy.free(ids, gcEpoch: 1) == ids.count)
            try greedy.put(TestBlock(base + 60_000, size: 200_000))
            _ = try other.free(other.everything().map(\.block), gcEpoch: 1)
        }
    }

    @Test("the last part of a quota is for small blocks")
    func reserveOfQuota() throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.quota = 2 << 20
        let store = try BlockStore.open(folder.path, options: options)
        let large = try fill(store, size: 200_000, from: 0)
        #expect(large.count > 0 && large.shortage == .quota)
        #expect(store.room() < RecordHeader.span(200_000))
        #expect(try fill(store, size: 4000, from: 1000).count >= Space.reserve(of: options.quota) / RecordHeader.span(4000))
        #expect(store.status().usedBytes <= options.quota && store.room() == 0)
    }

    @Test("a part of what is kept free on the disk is for small blocks")
    func reserveOfDisk() throws {
        let folder = try TemporaryFolder("kept")
        guard mountSmall(folder.path, size: "16m") else { return }
        defer { _ = folder.path.withPlatformString { umount2($0, Int32(MNT_DETACH)) } }
        let kept: UInt64 = 4 << 20
        let space = Space(folder: folder.path, keepFree: kept, reserveSize: 0)
        let store = try BlockStore.open(folder.path.appending("v"), space: space)
        let reserve = Space.reserve(of: kept)
        #expect(reserve > 0)
        for base in [0, 100_000] as [UInt64] {
            let large = try fill(store, size: 200_000, from: base)
            #expect(large.count > 0 && large.shortage == .fileSystem)
            try store.flush()
            // Logs grow as well.
            let rest = try fill(store, size: 4000, from: base + 10_000)
            #expect(rest.shortage == .fileSystem && rest.count >= reserve / 2 / RecordHeader.span(4000))
            try store.flush()
            #expect(try Disk.space(folder.path).free >= kept - reserve - (1 << 20))
            #expect(try fill(store, size: 200_000, from: base + 20_000).count == 0)
            let ids = (base..<base + large.count).map { TestBlock($0, size: 200_000).id }
            #expect(try store.free(ids, gcEpoch: 1) == ids.count)
        }
    }
}
