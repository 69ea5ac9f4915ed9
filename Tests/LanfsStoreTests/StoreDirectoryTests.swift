import Glibc
import LanfsProtocol
import Synchronization
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

    @Test("a power cut takes what no flush had brought to the segments: what the journals carry is put again")
    func powerCut() throws {
        let folder = try TemporaryFolder()
        let (flushed, carried, unflushed) = (TestBlock(1, size: 9000), TestBlock(2, size: 9000), TestBlock(3, size: 9000))
        let segment = folder.path.appending("volumes").appending(testVolume.hex).appending("segments/00000001.seg")
        var directory: StoreDirectory? = try open(folder.path)
        var beforeCut: [UInt8] = []
        do {
            let store = try #require(try directory?.volume(testVolume, create: true))
            let journal = try #require(try directory?.journal(for: testVolume))
            try store.put(flushed)
            try store.flush()
            beforeCut = try TemporaryFolder.read(segment)
            try store.put(carried, gcEpoch: 5)
            try store.put(unflushed)
            try journal.append([7], carrying: [CarriedBlock(id: carried.id, gcEpoch: 5, bytes: carried.bytes)])
        }
        // As after a kill: nothing is closed. Then the segment goes back to what was flushed.
        directory = nil
        for _ in 0..<2 {
            try TemporaryFolder.write(beforeCut, to: segment)
            var again: StoreDirectory? = try open(folder.path)
            #expect(try again?.journal(for: testVolume).recovered == .state([7]))
            let store = try #require(try again?.volume(testVolume, create: false))
            #expect(store.has(flushed) && store.has(carried) && !store.contains(unflushed.id))
            #expect(store.everything().first { $0.block == carried.id }?.gcEpoch == 5)
            // It was flushed: a second cut, before anything else, takes nothing.
            beforeCut = try TemporaryFolder.read(segment)
            again = nil
        }
    }

    @Test("carried blocks that were freed and reclaimed since do not keep a full volume from starting")
    func fullAgain() throws {
        let folder = try TemporaryFolder()
        let carried = (0..<4).map { TestBlock(UInt64($0), size: 5000) }
        do {
            let directory = try open(folder.path)
            let store = try directory.volume(testVolume, quota: 8 * 8192, create: true)
            let journal = try directory.journal(for: testVolume)
            for block in carried {
                try store.put(block)
                try journal.append([1], carrying: [CarriedBlock(id: block.id, gcEpoch: 0, bytes: block.bytes)])
            }
            try store.free(carried.map(\.id), gcEpoch: 1)
            for number in 10..<18 as Range<UInt64> { try store.put(TestBlock(number, size: 5000)) }
            #expect(carried.allSatisfy { !store.contains($0.id) })
            try store.flush()
        }
        do {
            let again = try open(folder.path)
            let store = try again.volume(testVolume, quota: 8 * 8192, create: false)
            let journal = try again.journal(for: testVolume)
            #expect(journal.recovered == .state([1]))
            // What came back nobody refers to: it goes by itself when room is needed, or with the next audit.
            try store.free(carried.map(\.id), gcEpoch: 1)
            try journal.append([2], carrying: [CarriedBlock(id: carried[0].id, gcEpoch: 2, bytes: carried[0].bytes)])
            try journal.settle()
            try again.close()
        }
        let last = try open(folder.path)
        let store = try last.volume(testVolume, create: false)
        let before = store.status().usedBytes
        #expect(try last.journal(for: testVolume).recovered == .state([2]))
        #expect(store.status().usedBytes == before, "what was settled is not asked for again")
    }

    @Test("a log that finds no room does not stop the journal; a name that the bytes do not prove is not believed")
    func fullLog() throws {
        let folder = try TemporaryFolder()
        let failing = Mutex(true)
        var options = StoreDirectory.Options()
        options.keepFree = 0
        options.reserveSize = 4096
        options.blocks.syncFault = { path in
            path.lastComponent?.string == "index.log" && failing.withLock { $0 } ? .noSpace : nil
        }
        let (good, wrong) = (TestBlock(1, size: 300), TestBlock(2, size: 300))
        do {
            let directory = try StoreDirectory(folder.path, options: options, hash: testHash, logger: quietLogger)
            let store = try directory.volume(testVolume, create: true)
            let journal = try directory.journal(for: testVolume)
            try store.put(good, gcEpoch: 1)
            try store.put(good, gcEpoch: 4)
            #expect(throws: StoreError.self) { try store.flush() }
            for number in 0..<300 {
                try journal.append([UInt8(number % 250)], carrying: [CarriedBlock(id: good.id, gcEpoch: 4, bytes: good.bytes)])
            }
            failing.withLock { $0 = false }
            try store.flush()
            try journal.append([7], carrying: [CarriedBlock(id: wrong.id, gcEpoch: 4, bytes: good.bytes)])
        }
        let again = try open(folder.path)
        #expect(try again.journal(for: testVolume).recovered == .state([7]))
        let store = try again.volume(testVolume, create: false)
        #expect(store.has(good) && !store.contains(wrong.id))
    }

    @Test("a keeper that lost its vote gives back the blocks that its journals still have")
    func amnesiacKeeper() throws {
        let folder = try TemporaryFolder()
        let block = TestBlock(1, size: 9000)
        let volume = folder.path.appending("volumes").appending(testVolume.hex)
        do {
            let directory = try open(folder.path)
            let journal = try directory.journal(for: testVolume)
            try journal.append([1], carrying: [CarriedBlock(id: block.id, gcEpoch: 1, bytes: block.bytes)])
            for number in 0..<9 { try journal.append([UInt8(number)]) }
        }
        for (name, page) in [("keeper-a", 9), ("keeper-b", 7)] {
            let file = volume.appending(name).appending("journal.1")
            var bytes = try TemporaryFolder.read(file)
            for index in page * 4096..<12 * 4096 { bytes[index] ^= 1 }
            try TemporaryFolder.write(bytes, to: file)
        }
        let again = try open(folder.path)
        #expect(throws: StoreError.self) { try again.journal(for: testVolume) }
        #expect(try again.volume(testVolume, create: false).has(block))
    }

    @Test("blocks that a failed flush took are put again from what the journal carries")
    func failedFlush() throws {
        let folder = try TemporaryFolder()
        let failing = Mutex(false)
        var options = StoreDirectory.Options()
        options.keepFree = 0
        options.reserveSize = 4096
        options.blocks.syncFault = { path in
            guard path.extension == "seg" else { return nil }
            return failing.withLock { $0 } ? .ioError : nil
        }
        let directory = try StoreDirectory(folder.path, options: options, hash: testHash, logger: quietLogger)
        let store = try directory.volume(testVolume, create: true)
        let journal = try directory.journal(for: testVolume)
        let block = TestBlock(1, size: 9000)
        try store.put(block)
        try journal.append([1], carrying: [CarriedBlock(id: block.id, gcEpoch: 1, bytes: block.bytes)])
        failing.withLock { $0 = true }
        #expect(throws: StoreError.self) { try store.flush() }
        #expect(!store.contains(block.id))
        failing.withLock { $0 = false }
        // Until its pages are to be written over.
        for number in 0..<300 { try journal.append([UInt8(number % 250)]) }
        #expect(store.has(block))
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
        for _ in 0..<2 { #expect(throws: StoreError.self) { try directory.journal(for: testVolume) } }
    }
}
