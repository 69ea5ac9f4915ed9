import Glibc
import LanfsProtocol
import SystemPackage
import Testing

@testable import LanfsStore

@Suite("The data directory")
struct StoreDirectoryTests {
    private func open(_ path: FilePath, capacity: UInt64 = .max, clock: TestClock = TestClock()) throws
        -> StoreDirectory
    {
        var options = StoreDirectory.Options()
        options.keepFree = 0
        options.reserveSize = 4096
        options.capacity = capacity
        return try StoreDirectory(path, options: options, hash: testHash, clock: clock.clock, logger: quietLogger)
    }

    @Test("only one at a time; the second is told who has it")
    func lock() throws {
        let folder = try TemporaryFolder()
        var first: StoreDirectory? = try open(folder.path.appending("data"))
        #expect(throws: StoreError.inUse(path: folder.path.appending("data"), pid: getpid())) {
            try open(folder.path.appending("data"))
        }
        #expect("\(StoreError.inUse(path: "/d", pid: 7))".contains("pid 7"))
        try first?.close()
        first = nil
        _ = try open(folder.path.appending("data"))
    }

    @Test("volumes are made on admission, kept apart, and found again")
    func volumes() throws {
        let folder = try TemporaryFolder()
        let (one, two) = (testVolume, VolumeID(word0: 9, word1: 9, word2: 9, word3: 9))
        let block = TestBlock(1, size: 100)
        var directory: StoreDirectory? = try open(folder.path)
        #expect(throws: StoreError.unknownVolume(one)) { try directory?.volume(one, create: false) }
        #expect(directory?.known() == [])
        try directory?.volume(one, create: true).put(block)
        #expect(try directory?.volume(two, create: true).contains(block.id) == false)
        #expect(try directory?.volume(one, create: false) === directory?.volume(one, create: true))
        #expect(directory?.known() == [one, two])
        try directory?.close()
        directory = nil
        let again = try open(folder.path)
        #expect(again.known() == [one, two])
        #expect(again.space.used >= 4096, "counted before it is opened")
        #expect(try again.volume(one, create: false).has(block))
        #expect(again.space.used < 16384 && again.space.used >= 4096)
        // Another volume's segment is not taken for ours.
        try again.close()
    }

    @Test("one capacity for all: quarantined blocks of any volume make room")
    func capacity() throws {
        let folder = try TemporaryFolder()
        let directory = try open(folder.path, capacity: 10 * 8192)
        let one = try directory.volume(testVolume, quota: 8 * 8192, create: true)
        let two = try directory.volume(VolumeID(word0: 9, word1: 9, word2: 9, word3: 9), create: true)
        for number in 0..<8 as Range<UInt64> { try one.put(TestBlock(number, size: 5000)) }
        #expect(directory.room(for: testVolume) == 0 && directory.room() == 2 * 8192)
        #expect(throws: StoreError.self) { try one.put(TestBlock(8, size: 5000)) }
        for number in 0..<2 as Range<UInt64> { try two.put(TestBlock(number, size: 5000)) }
        #expect(throws: StoreError.self) { try two.put(TestBlock(2, size: 5000)) }
        try one.free([TestBlock(0, size: 5000).id], gcEpoch: 1)
        try two.put(TestBlock(2, size: 5000))
        #expect(!one.contains(TestBlock(0, size: 5000).id))
        for (_, result) in directory.maintain() { _ = try result.get() }
    }

    @Test("journals that were there and are gone are amnesia")
    func journals() throws {
        let folder = try TemporaryFolder()
        let directory = try open(folder.path)
        #expect(try directory.journal(for: testVolume).recovered == .empty)
        #expect(try directory.journal(for: testVolume).recovered == .empty)
        try directory.journal(for: testVolume).append([1, 2, 3])
        #expect(try directory.journal(for: testVolume).recovered == .state([1, 2, 3]))
        let volume = folder.path.appending("volumes").appending(testVolume.hex)
        TemporaryFolder.delete(volume.appending("keeper-a"))
        #expect(try directory.journal(for: testVolume).recovered == .state([1, 2, 3]), "one is enough")
        TemporaryFolder.delete(volume.appending("keeper-a"))
        TemporaryFolder.delete(volume.appending("keeper-b"))
        #expect(throws: StoreError.self) { try directory.journal(for: testVolume) }
    }
}
