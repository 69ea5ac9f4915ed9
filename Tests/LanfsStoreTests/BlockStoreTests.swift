import Glibc
import LanfsProtocol
import Synchronization
import SystemPackage
import Testing

@testable import LanfsStore

@Suite("Putting and reading blocks")
struct BlockStoreTests {
    @Test("what is in the page cache is read without waiting, and nothing else is")
    func readAtOnce() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let block = TestBlock(1, size: 40_000)
        try store.put(block)
        try store.flush()
        store.state.withLock { state in for segment in state.segments.values { segment.file = nil } }
        func read(_ id: BlockID, _ range: Range<Int>) -> [UInt8]? {
            var bytes = [UInt8](repeating: 0, count: range.count)
            return bytes.withUnsafeMutableBytes { store.readAtOnce(id, offset: range.lowerBound, into: $0) } ? bytes : nil
        }
        #expect(read(block.id, 0..<100) == nil, "nobody has opened the segment for reading")
        let location = try #require(try store.locate(block.id))
        var probe: UInt8 = 0
        let isSupported = withUnsafeMutableBytes(of: &probe) { location.file.readCached(at: 0, into: $0) }
        guard isSupported else { return print("reading at once is not tested: the file system of /tmp cannot do it") }
        #expect(read(block.id, 0..<40_000) == block.bytes)
        #expect(read(block.id, 777..<39_999) == Array(block.bytes[777..<39_999]))
        #expect(read(block.id, 39_999..<40_001) == nil && read(TestBlock(2, size: 10).id, 0..<1) == nil)
        store.state.withLock { _ in #expect(read(block.id, 0..<100) == nil, "another thread has the lock") }
        #expect(posix_fadvise(location.descriptor, 0, 0, POSIX_FADV_DONTNEED) == 0)
        // Most file systems have dropped it now; what is read is right in any case.
        if let bytes = read(block.id, 0..<40_000) { #expect(bytes == block.bytes) }
        #expect(store.has(block))
    }

    @Test("what passes once comes back as well, and leaves the page cache to others")
    func once() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        func putOnce(_ seeds: Range<UInt64>) throws -> [TestBlock] {
            let blocks = seeds.map { TestBlock($0, size: 600_000 + Int($0)) }
            for block in blocks {
                _ = try block.bytes.withUnsafeBytes { try store.put(block.id, $0, gcEpoch: 1, from: .client, once: true) }
            }
            try store.flush()
            return blocks
        }
        var blocks = try putOnce(0..<20)
        let file = try #require(try store.locate(blocks[0].id)).file
        func atOnce(_ block: TestBlock) -> Bool {
            var bytes = [UInt8](repeating: 0, count: 4096)
            return bytes.withUnsafeMutableBytes { store.readAtOnce(block.id, offset: 300_000, into: $0) }
        }
        func readOnce(_ block: TestBlock) throws -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: block.bytes.count)
            try bytes.withUnsafeMutableBytes { try store.read(block.id, offset: 0, into: $0, once: true) }
            return bytes
        }
        if file.lacksPassing.load(ordering: .relaxed) {
            print("that the page cache is left alone is not tested: this kernel has no RWF_DONTCACHE for /tmp")
        } else {
            // The kernel keeps pages that it was already writing back for another reason: it may need more than one try.
            for round in 1..<5 where blocks.filter(atOnce).count >= blocks.count / 2 {
                blocks = try putOnce(UInt64(round) * 20..<UInt64(round) * 20 + 20)
            }
            #expect(blocks.filter(atOnce).count < blocks.count / 2)
        }
        for block in blocks { #expect(try readOnce(block) == block.bytes) }
        for block in blocks { #expect(store.has(block)) }
        // What was there before stays: somebody else reads it again.
        let before = blocks.filter(atOnce).count
        for block in blocks { #expect(try readOnce(block) == block.bytes) }
        #expect(blocks.filter(atOnce).count >= before)
    }

    static let sizes = [
        0, 1, 4023, 4024, 4025, 8191, 8192, 8193, Limits.sealedChunkSize, (1 << 20) - 1, 1 << 20, Limits.blockSize,
    ]

    @Test("a block comes back byte for byte, before and after a restart", arguments: sizes)
    func roundTrip(size: Int) throws {
        let folder = try TemporaryFolder()
        let block = TestBlock(1, size: size)
        let store = try BlockStore.open(folder.path)
        #expect(!store.contains(block.id))
        #expect(try store.put(block) == .stored)
        #expect(store.has(block))
        try store.flush()
        let crashed = try BlockStore.open(folder.path)
        #expect(crashed.has(block) && crashed.issues.isEmpty)
        try crashed.close()
        let closed = try BlockStore.open(folder.path)
        #expect(closed.has(block) && closed.issues.isEmpty)
        #expect(closed.status().usedBytes == RecordHeader.span(size))
    }

    @Test("putting again stores nothing and keeps the highest gcEpoch")
    func idempotent() throws {
        let folder = try TemporaryFolder()
        let block = TestBlock(1, size: 100)
        let store = try BlockStore.open(folder.path)
        #expect(try store.put(block, gcEpoch: 5) == .stored)
        #expect(try store.put(block, gcEpoch: 7) == .present)
        #expect(try store.put(block, gcEpoch: 6) == .present)
        #expect(store.everything().map(\.gcEpoch) == [7])
        try store.flush()
        #expect(try BlockStore.open(folder.path).everything().map(\.gcEpoch) == [7])
    }

    @Test("a range is read, and one outside the block is refused")
    func ranges() throws {
        let folder = try TemporaryFolder()
        let block = TestBlock(3, size: 10_000)
        let store = try BlockStore.open(folder.path)
        try store.put(block)
        for (offset, length) in [(0, 0), (0, 1), (9_999, 1), (10_000, 0), (4_000, 5_000), (0, 10_000)] {
            var bytes = [UInt8](repeating: 0, count: length)
            try bytes.withUnsafeMutableBytes { try store.read(block.id, offset: offset, into: $0) }
            #expect(bytes == Array(block.bytes[offset..<offset + length]))
        }
        for (offset, length) in [(0, 10_001), (10_000, 1), (10_001, 0), (-1, 1), (Int.max, 1)] {
            var bytes = [UInt8](repeating: 0, count: length)
            #expect(throws: StoreError.self, "\(offset) \(length)") {
                try bytes.withUnsafeMutableBytes { try store.read(block.id, offset: offset, into: $0) }
            }
        }
        #expect(throws: StoreError.notFound(TestBlock(4, size: 1).id)) { try store.read(TestBlock(4, size: 1).id) }
    }

    @Test("the caller can read through the descriptor itself")
    func location() throws {
        let folder = try TemporaryFolder()
        let block = TestBlock(3, size: 5_000)
        let store = try BlockStore.open(folder.path)
        try store.put(block, gcEpoch: 4)
        let location = try #require(try store.locate(block.id))
        #expect(location.length == 5_000 && location.gcEpoch == 4 && store.confirm(location))
        #expect(try location.file.read(at: UInt64(location.fileOffset), count: location.length) == block.bytes)
        try store.free([block.id], gcEpoch: 4)
        #expect(store.confirm(location), "quarantined blocks can still be read")
        #expect(store.reclaimEarly(1) > 0)
        #expect(!store.confirm(location))
        #expect(try store.locate(block.id) == nil)
    }

    @Test("what no sound client sends is refused")
    func refusals() throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        #expect(throws: StoreError.tooLong(length: Limits.blockSize + 1, limit: Limits.blockSize)) {
            try store.put(TestBlock(1, size: Limits.blockSize + 1))
        }
        #expect(throws: StoreError.epochTooHigh(.max)) { try store.put(TestBlock(1, size: 1), gcEpoch: .max) }
        #expect(throws: StoreError.epochTooHigh(.max)) { try store.touch([], gcEpoch: .max) }
        #expect(throws: StoreError.epochTooHigh(.max)) { try store.sweep([], gcEpoch: .max, cutoff: 0) }
        try store.close()
        #expect(throws: StoreError.closed(path: folder.path)) { try store.put(TestBlock(1, size: 1)) }
    }

    @Test("segments fill, are sealed, and a restart reads their sidecars", arguments: [false, true])
    func manySegments(closed: Bool) throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        options.openFiles = 2
        let store = try BlockStore.open(folder.path, options: options)
        let blocks = (0..<60).map { TestBlock($0, size: 200_000) }
        for block in blocks { try store.put(block) }
        try store.flush()
        #expect(store.status().segments == 6)
        #expect(try Disk.list(folder.path.appending("segments")).filter { $0.hasSuffix(".idx") }.count == 5)
        if closed { try store.close() }
        let again = try BlockStore.open(folder.path, options: options)
        for block in blocks { #expect(again.has(block)) }
        #expect(again.status().usedBytes == store.status().usedBytes)
        #expect(again.issues.isEmpty)
        try again.put(TestBlock(1000, size: 10))
        #expect(again.status().segments == 6, "the last segment goes on")
    }

    @Test("the quota and the capacity are refused before anything is written")
    func quotas() throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.quota = 3 * 8192
        let space = Space(folder: folder.path, capacity: 5 * 8192, keepFree: 0, reserveSize: 0)
        let store = try BlockStore.open(folder.path.appending("a"), options: options, space: space)
        for number in 0..<3 { try store.put(TestBlock(UInt64(number), size: 5000)) }
        #expect(store.room() == 0)
        #expect(throws: StoreError.full(.quota, needed: 8192, available: 0, path: store.folder)) {
            try store.put(TestBlock(3, size: 5000))
        }
        #expect(try store.put(TestBlock(2, size: 5000)) == .present)
        store.setQuota(.max)
        for number in 3..<5 { try store.put(TestBlock(UInt64(number), size: 5000)) }
        #expect(throws: StoreError.full(.capacity, needed: 8192, available: 0, path: store.folder)) {
            try store.put(TestBlock(6, size: 5000))
        }
        #expect(store.status().usedBytes == 5 * 8192 && space.used == 5 * 8192)
        // A freed block makes room at once when room is short.
        try store.free([TestBlock(0, size: 5000).id], gcEpoch: 1)
        try store.put(TestBlock(6, size: 5000))
        #expect(!store.contains(TestBlock(0, size: 5000).id))
    }

    @Test("the reserve of the file system is kept free")
    func keepFree() throws {
        let folder = try TemporaryFolder()
        let space = Space(folder: folder.path, keepFree: .max, reserveSize: 0)
        let store = try BlockStore.open(folder.path.appending("a"), space: space)
        #expect(throws: StoreError.full(.fileSystem, needed: 8192, available: 0, path: store.folder)) {
            try store.put(TestBlock(1, size: 1))
        }
        #expect(try segmentFiles(store.folder).isEmpty)
    }

    @Test("many threads put, read, touch and flush at once")
    func concurrency() throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        options.openFiles = 1
        let store = try BlockStore.open(folder.path, options: options)
        let failures = Mutex<[String]>([])
        onThreads(8) { thread in
            do {
                var mark = store.mark()
                for number in 0..<60 {
                    // Every block is put by two threads.
                    let block = TestBlock(UInt64((thread / 2) * 1000 + number), size: 1 + number * 1500)
                    try store.put(block, gcEpoch: UInt64(thread))
                    if number % 7 == 0 { try store.flush(&mark) }
                    if !store.has(block) { throw StoreError.notFound(block.id) }
                    if try !store.touch([block.id], gcEpoch: UInt64(number)).isEmpty {
                        throw StoreError.notFound(block.id)
                    }
                }
                try store.flush(&mark)
            } catch {
                failures.withLock { $0.append("\(error)") }
            }
        }
        #expect(failures.withLock { $0 } == [])
        #expect(store.status().blocks == 240)
        let again = try BlockStore.open(folder.path, options: options)
        #expect(again.status().blocks == 240 && again.issues.isEmpty)
        #expect(again.status().usedBytes == store.status().usedBytes)
        for thread in 0..<4 {
            for number in 0..<60 {
                #expect(again.has(TestBlock(UInt64(thread * 1000 + number), size: 1 + number * 1500)))
            }
        }
    }
}
