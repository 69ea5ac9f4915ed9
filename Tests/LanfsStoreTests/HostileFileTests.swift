import LanfsProtocol
import SystemPackage
import TestSupport
import Testing

@testable import LanfsStore

@Suite("Hostile bytes on disk")
struct HostileFileTests {
    @Test(
        "random damage to any files never traps, and no block is ever served with wrong bytes after a scrub",
        arguments: 1...60 as ClosedRange<UInt64>)
    func damagedStore(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let folder = try TemporaryFolder("fuzz")
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        let store = try BlockStore.open(folder.path, options: options)
        let blocks = (0..<14).map { TestBlock($0, size: [10, 5000, 300_000][Int($0 % 3)]) }
        for block in blocks { try store.put(block, gcEpoch: 3) }
        try store.free(blocks[0..<4].map(\.id), gcEpoch: 3)
        _ = try store.touch([blocks[1].id], gcEpoch: 4)
        _ = store.reclaimEarly(1)
        if seed % 2 == 0 { try store.close() } else { try store.flush() }
        let segments = folder.path.appending("segments")
        let names = try Disk.list(segments).map { segments.appending($0) } + [folder.path.appending("index.log")]
        for _ in 0..<Int.random(in: 1...5, using: &generator) {
            let file = names[Int.random(in: 0..<names.count, using: &generator)]
            var bytes = try TemporaryFolder.read(file)
            damage(&bytes, using: &generator)
            try TemporaryFolder.write(bytes, to: file)
        }
        do {
            let again = try BlockStore.open(folder.path, options: options)
            try use(again, blocks)
            let third = try BlockStore.open(folder.path, options: options)
            try use(third, blocks)
        } catch let error as StoreError {
            guard case .damaged = error else {
                Issue.record("seed \(seed): \(error)")
                return
            }
        }
    }

    private func use(_ store: BlockStore, _ blocks: [TestBlock]) throws {
        var cursor = ScrubCursor()
        #expect(try store.scrub(&cursor, budget: .max).isComplete)
        for block in blocks where store.contains(block.id) { #expect(store.has(block)) }
        for block in blocks { try store.put(block, gcEpoch: 6) }
        try store.flush()
        try store.maintain()
        for block in blocks { #expect(store.has(block)) }
        try store.rewriteLog()
    }

    @Test("decoders refuse random bytes, and bytes that lie about lengths", arguments: 1...20 as ClosedRange<UInt64>)
    func decoders(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        // A hash that agrees with everything lets every other check be reached.
        let agreeable: BlockHash = { _ in .zero }
        for _ in 0..<400 {
            var bytes = (0..<Int.random(in: 0...300, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            func start(_ value: some FixedWidthInteger) {
                withUnsafeBytes(of: value.bigEndian) { bytes.replaceSubrange(0..<min($0.count, bytes.count), with: $0) }
            }
            let isChecksumZero = Bool.random(using: &generator)
            if isChecksumZero, bytes.count >= 8 {
                bytes.replaceSubrange(bytes.count - 8..<bytes.count, with: repeatElement(0, count: 8))
            }
            start(RecordHeader.magic)
            _ = RecordHeader(bytes, segment: 1, page: 1, volume: testVolume, hash: agreeable)
            start(LogRecord.magic)
            _ = LogRecord(bytes[...], generation: 0, volume: testVolume, hash: agreeable)
            start(Layout.logMagic)
            _ = LogHeader(bytes, volume: testVolume, hash: agreeable)
            start(Layout.sidecarMagic)
            _ = Sidecar(bytes, volume: testVolume, segment: 1, hash: agreeable)
            var reader = ByteReader(bytes)
            while reader.remaining > 0 { guard (try? StateChange(from: &reader)) != nil else { break } }
            var page = bytes + [UInt8](repeating: 0, count: 4096 - bytes.count)
            page.replaceSubrange(0..<4, with: [0x6c, 0x66, 0x4a, 0x4e])
            page.replaceSubrange(24..<32, with: repeatElement(0, count: 8))
            if let slot = JournalSlot(page[...], volume: testVolume, hash: agreeable) {
                #expect(slot.payload.count <= JournalSlot.payloadSize)
            }
        }
    }

    @Test("a sidecar that is sound but lies is not believed further than it can be checked")
    func lyingSidecar() throws {
        let folder = try TemporaryFolder()
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        let store = try BlockStore.open(folder.path, options: options)
        let blocks = (0..<12).map { TestBlock($0, size: 200_000) }
        for block in blocks { try store.put(block) }
        try store.close()
        let path = folder.path.appending("segments").appending("00000001.idx")
        let sidecar = try #require(try Sidecar.read(path, volume: testVolume, segment: 1, hash: testHash))
        for (length, page, time) in [(10, 1, 0), (Limits.blockSize, 1, 9), (200_000, 3, UInt64.max)]
            as [(Int, UInt32, UInt64)]
        {
            var lie = sidecar
            lie.entries[0].length = UInt32(length)
            lie.entries[0].page = page
            lie.entries[1].state = .swept
            lie.entries[1].time = time
            lie.entries.append(lie.entries[2])
            try TemporaryFolder.write(lie.encode(hash: testHash), to: path)
            let again = try BlockStore.open(folder.path, options: options)
            var cursor = ScrubCursor()
            _ = try again.scrub(&cursor, budget: .max)
            for block in blocks where again.contains(block.id) { #expect(again.has(block)) }
        }
        for covered in [0, 4096, UInt64.max, UInt64.max - 4095] {
            var lie = sidecar
            lie.covered = covered
            try TemporaryFolder.write(lie.encode(hash: testHash), to: path)
            let again = try BlockStore.open(folder.path, options: options)
            for block in blocks { #expect(again.has(block), "covered \(covered)") }
        }
    }
}
