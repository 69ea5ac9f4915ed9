import Glibc
import LanfsProtocol
import SystemPackage
import TestSupport
import Testing

@testable import LanfsStore

@Suite("After a crash")
struct CrashTests {
    /// A store with flushed blocks in two segments, some freed, and one block that was not flushed.
    private func prepare(_ folder: FilePath) throws -> (flushed: [TestBlock], unflushed: TestBlock) {
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        let store = try BlockStore.open(folder, options: options)
        let flushed = (0..<12).map { TestBlock($0, size: $0 < 4 ? 600_000 : 3000 + Int($0) * 700) }
        for block in flushed { try store.put(block, gcEpoch: 2) }
        try store.free([flushed[0].id], gcEpoch: 2)
        _ = try store.touch([flushed[1].id], gcEpoch: 7)
        try store.flush()
        let unflushed = TestBlock(100, size: 9000)
        try store.put(unflushed)
        return (flushed, unflushed)
    }

    private func open(_ folder: FilePath) throws -> BlockStore {
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        return try BlockStore.open(folder, options: options)
    }

    @Test("every prefix of the last record leaves everything before it, and the store goes on")
    func tornRecord() throws {
        let folder = try TemporaryFolder()
        let (flushed, unflushed) = try prepare(folder.path)
        let last = try #require(try segmentFiles(folder.path).last)
        let whole = try TemporaryFolder.read(last)
        let lastUsed = try #require(whole.lastIndex { $0 != 0 })
        let start = lastUsed / 4096 * 4096 - 2 * 4096
        var cuts: [Int] = []
        for length in stride(from: 0, through: 9072, by: 500) { cuts.append(start + length) }
        for length in [71, 72, 73, 4095, 4096, 4097, 9071, 9072] { cuts.append(start + length) }
        for cut in cuts {
            for zeros in [false, true] {
                var bytes = Array(whole[..<cut])
                if zeros { bytes += [UInt8](repeating: 0, count: whole.count - cut) }
                try TemporaryFolder.write(bytes, to: last)
                let store = try open(folder.path)
                for block in flushed { #expect(store.has(block), "cut at \(cut)") }
                #expect(store.contains(unflushed.id) == (cut >= start + 9072), "cut at \(cut)")
                #expect(store.everything().count == (cut >= start + 9072 ? 12 : 11))
                #expect(store.issues.isEmpty, "a torn tail is no damage")
                #expect(store.everything().first { $0.block == flushed[1].id }?.gcEpoch == 7)
                try store.put(unflushed)
                try store.put(TestBlock(200, size: 10))
                try store.flush()
                let again = try open(folder.path)
                #expect(again.has(unflushed) && again.has(TestBlock(200, size: 10)) && again.issues.isEmpty)
            }
        }
    }

    @Test("a bad record with good ones behind it is reported and costs only itself", arguments: [0, 40, 71, 72, 5000])
    func rotInTheMiddle(offset: Int) throws {
        let folder = try TemporaryFolder()
        let store = try BlockStore.open(folder.path)
        let blocks = (0..<5).map { TestBlock($0, size: 9000) }
        for block in blocks { try store.put(block) }
        try store.flush()
        let file = try #require(try segmentFiles(folder.path).first)
        var bytes = try TemporaryFolder.read(file)
        bytes[4096 + 2 * 12288 + offset] ^= 0x10
        try TemporaryFolder.write(bytes, to: file)
        let again = try BlockStore.open(folder.path)
        for (number, block) in blocks.enumerated() { #expect(again.has(block) == (number != 2)) }
        #expect(!again.contains(blocks[2].id))
        #expect(again.issues.contains { $0.offset == UInt64(4096 + 2 * 12288) && $0.length >= 4096 })
        #expect(try again.put(blocks[2]) == .stored)
        try again.flush()
        #expect(try BlockStore.open(folder.path).has(blocks[2]))
    }

    @Test("any flipped bit in any file loses at most the block it is in", arguments: 1...40 as ClosedRange<UInt64>)
    func bitFlips(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let folder = try TemporaryFolder()
        let (flushed, _) = try prepare(folder.path)
        if seed % 2 == 0 { try open(folder.path).close() }
        let segments = folder.path.appending("segments")
        let names = try Disk.list(segments).map { segments.appending($0) } + [folder.path.appending("index.log")]
        let file = names[Int.random(in: 0..<names.count, using: &generator)]
        var bytes = try TemporaryFolder.read(file)
        let isSidecarOrLog = file.extension != "seg"
        // Not into what was allocated ahead.
        let used = bytes.lastIndex { $0 != 0 } ?? 0
        let position = Int.random(in: 0...used, using: &generator)
        bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        try TemporaryFolder.write(bytes, to: file)
        let store = try open(folder.path)
        let lost = flushed.filter { !store.has($0) }
        #expect(lost.count <= (isSidecarOrLog ? 0 : 1), "seed \(seed): \(file) at \(position)")
        // Silent rot in a sealed segment is found by a scrub, and then no longer served.
        var cursor = ScrubCursor()
        let report = try store.scrub(&cursor, budget: .max)
        #expect(report.isComplete)
        for block in lost {
            #expect(report.rotten.contains(block.id) || !store.contains(block.id))
            #expect(!store.contains(block.id))
            try store.put(block)
        }
        try store.flush()
        let again = try open(folder.path)
        for block in flushed { #expect(again.has(block), "seed \(seed)") }
    }

    @Test("a damaged log never lets a sweep take what it would have spared, nor brings punched blocks back")
    func damagedLog() throws {
        for damage in 0..<3 {
            let folder = try TemporaryFolder()
            var options = BlockStore.Options()
            options.segmentSize = 2 << 20
            let store = try BlockStore.open(folder.path, options: options)
            let blocks = (0..<25).map { TestBlock($0, size: 200_000) }
            for block in blocks { try store.put(block, gcEpoch: 3) }
            try store.flush()
            _ = try store.touch([blocks[1].id], gcEpoch: 9)
            try store.free([blocks[0].id], gcEpoch: 3)
            #expect(store.reclaimEarly(1) > 0)
            _ = try store.touch([blocks[2].id], gcEpoch: 8)
            let log = folder.path.appending("index.log")
            var bytes = try TemporaryFolder.read(log)
            switch damage {
            case 0: bytes[20] ^= 1
            case 1: bytes[4096 + 50] ^= 1
            default: bytes = []
            }
            try TemporaryFolder.write(bytes, to: log)
            for _ in 0..<2 {
                let again = try BlockStore.open(folder.path, options: options)
                #expect(!again.contains(blocks[0].id), "damage \(damage)")
                for block in blocks[1...] { #expect(again.has(block)) }
                try again.sweep([blocks[1].id], gcEpoch: 20, cutoff: damage == 1 ? 7 : 2)
                #expect(again.everything().count == 24)
            }
            #expect(try BlockStore.open(folder.path, options: options).issues.isEmpty, "the log was written anew")
        }
    }

    @Test("a failed flush: what can be proven is saved in another segment, and the old one is never used again")
    func failedFlush() throws {
        let folder = try TemporaryFolder()
        let faulty = folder.path.appending("segments").appending("00000001.seg")
        var options = BlockStore.Options()
        options.syncFault = { $0 == faulty ? .ioError : nil }
        let store = try BlockStore.open(folder.path, options: options)
        let blocks = (0..<5).map { TestBlock($0, size: 9000) }
        for block in blocks { try store.put(block, gcEpoch: 4) }
        try store.free([blocks[4].id], gcEpoch: 4)
        try store.flush()
        for block in blocks { #expect(store.has(block)) }
        #expect(try store.locate(blocks[0].id)?.segment == 2)
        try Disk.remove(faulty)
        let again = try BlockStore.open(folder.path)
        for block in blocks { #expect(again.has(block)) }
        #expect(again.status().quarantinedBlocks == 1)
    }

    @Test("a disk on which every flush fails: everybody is told once, nothing unflushed is served, reading goes on")
    func allFlushesFail() throws {
        let folder = try TemporaryFolder()
        let first = try BlockStore.open(folder.path)
        let old = TestBlock(1, size: 100)
        try first.put(old)
        try first.close()
        var options = BlockStore.Options()
        options.syncFault = { $0.extension == "seg" ? .ioError : nil }
        let store = try BlockStore.open(folder.path, options: options)
        var (one, two, idle) = (store.mark(), store.mark(), store.mark())
        let new = TestBlock(2, size: 100)
        try store.put(new)
        #expect(throws: StoreError.self) { try store.flush(&one) }
        #expect(!store.contains(new.id) && store.has(old))
        #expect(throws: StoreError.self) { try store.flush(&two) }
        #expect(throws: StoreError.self) { try store.flush(&idle) }
        try store.flush(&one)
        #expect(store.status().usedBytes == 4096)
        let again = try BlockStore.open(folder.path)
        #expect(again.has(old) && !again.contains(new.id))
    }

    @Test("a log whose flush fails is written anew; if that fails the store stops writing and goes on reading")
    func failedLog() throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.syncFault = { $0.lastComponent?.string == "index.log" ? .ioError : nil }
        let store = try BlockStore.open(folder.path, options: options)
        let block = TestBlock(1, size: 10)
        try store.put(block, gcEpoch: 1)
        try store.flush()
        #expect(try store.touch([block.id], gcEpoch: 5).isEmpty)
        try store.sweep([], gcEpoch: 7, cutoff: 5)
        let again = try BlockStore.open(folder.path)
        #expect(again.everything().map(\.gcEpoch) == [5])
        #expect(throws: StoreError.self) { try again.sweep([], gcEpoch: 6, cutoff: 4) }
    }
}
