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
}
