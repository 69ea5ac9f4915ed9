import Glibc
import LanfsProtocol
import Logging
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import LanfsStore

/// A hash good enough for tests: every bit of the input moves every word.
let testHash: BlockHash = { bytes in
    var state = UInt64(bytes.count) &* 0x9e37_79b9_7f4a_7c15
    // A plain pointer, because the checked loads are slow in a debug build and this runs over hundreds of megabytes.
    let words = bytes.count / 8
    if let start = bytes.baseAddress {
        let pointer = start.assumingMemoryBound(to: UInt64.self)
        var index = 0
        while index < words {
            state = (state ^ pointer[index]) &* 0xff51_afd7_ed55_8ccd
            state ^= state >> 29
            index += 1
        }
    }
    for byte in bytes[(words * 8)...] { state = (state ^ UInt64(byte)) &* 0xff51_afd7_ed55_8ccd }
    state ^= state >> 29
    func finish(_ seed: UInt64) -> UInt64 {
        var mixed = (state ^ seed) &* 0xc4ce_b9fe_1a85_ec53
        mixed = (mixed ^ (mixed >> 33)) &* 0xff51_afd7_ed55_8ccd
        return mixed ^ (mixed >> 31)
    }
    return BlockID(
        word0: finish(0x9e37_79b9_7f4a_7c15), word1: finish(0xbf58_476d_1ce4_e5b9),
        word2: finish(0x94d0_49bb_1331_11eb), word3: finish(0x2545_f491_4f6c_dd1d))
}

let testVolume = VolumeID(word0: 1, word1: 2, word2: 3, word3: 4)

let quietLogger: Logger = {
    var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    logger.logLevel = .critical
    return logger
}()

/// A clock that only the test moves; wall and monotonic time can be moved apart.
final class TestClock: Sendable {
    private let wall = Atomic<Int64>(1_700_000_000)
    private let monotonic = Atomic<Int64>(5000)

    func advance(_ seconds: Int64) {
        wall.add(seconds, ordering: .relaxed)
        monotonic.add(seconds, ordering: .relaxed)
    }

    func jumpWall(_ seconds: Int64) { wall.add(seconds, ordering: .relaxed) }

    var clock: StoreClock {
        StoreClock(
            wall: { self.wall.load(ordering: .relaxed) }, monotonic: { self.monotonic.load(ordering: .relaxed) })
    }
}

/// A folder of its own that is deleted when the tests end; not before, because stores may outlive the last use of it.
struct TemporaryFolder: Sendable {
    let path: FilePath
    private static let made = Mutex<[FilePath]>([])

    init(_ name: String = "store", in parent: String = "/tmp") throws {
        var random = SystemRandomNumberGenerator()
        path = FilePath("\(parent)/lanfs-test-\(name)-\(getpid())-\(random.next() as UInt64)")
        try Disk.createDirectory(path)
        TemporaryFolder.made.withLock { made in
            if made.isEmpty {
                atexit { for path in TemporaryFolder.made.withLock({ $0 }) { TemporaryFolder.delete(path) } }
            }
            made.append(path)
        }
    }

    static func delete(_ path: FilePath) {
        for name in (try? Disk.list(path)) ?? [] {
            let child = path.appending(name)
            if child.withPlatformString({ unlink($0) }) != 0 { delete(child) }
        }
        _ = path.withPlatformString { rmdir($0) }
    }

    static func copy(_ source: FilePath, to target: FilePath) throws {
        try Disk.createDirectory(target)
        for name in try Disk.list(source) {
            let (from, to) = (source.appending(name), target.appending(name))
            var information = stat()
            guard from.withPlatformString({ stat($0, &information) }) == 0 else { continue }
            if information.st_mode & S_IFMT == S_IFDIR {
                try copy(from, to: to)
            } else {
                try write(try read(from), to: to)
            }
        }
    }

    static func read(_ path: FilePath) throws -> [UInt8] {
        let file = try OpenFile(path, O_RDONLY)
        return try file.read(at: 0, count: Int(try file.information().size))
    }

    static func write(_ bytes: [UInt8], to path: FilePath) throws {
        try OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC).write(bytes, at: 0)
    }
}

/// A block whose content follows from a number.
struct TestBlock {
    let bytes: [UInt8]
    let id: BlockID

    init(_ number: UInt64, size: Int) {
        var generator = SplitMix64(seed: number &* 7919 &+ UInt64(size))
        var bytes = [UInt8](repeating: 0, count: size)
        bytes.withUnsafeMutableBytes { buffer in
            var position = 0
            while position + 8 <= size {
                buffer.storeBytes(of: generator.next(), toByteOffset: position, as: UInt64.self)
                position += 8
            }
            while position < size {
                buffer[position] = UInt8(truncatingIfNeeded: generator.next())
                position += 1
            }
        }
        self.bytes = bytes
        id = bytes.withUnsafeBytes(testHash)
    }
}

extension BlockStore {
    static func open(
        _ folder: FilePath, options: Options = Options(), space: Space? = nil, clock: TestClock = TestClock()
    ) throws -> BlockStore {
        try BlockStore(
            folder: folder, volume: testVolume, options: options,
            space: space ?? Space(folder: "/tmp", keepFree: 0, reserveSize: 0), hash: testHash, clock: clock.clock,
            logger: quietLogger)
    }

    @discardableResult
    func put(_ block: TestBlock, gcEpoch: UInt64 = 1) throws -> PutOutcome {
        var result: Result<PutOutcome, StoreError>?
        block.bytes.withUnsafeBytes { bytes in
            do throws(StoreError) {
                result = .success(try put(block.id, bytes, gcEpoch: gcEpoch))
            } catch {
                result = .failure(error)
            }
        }
        return try #require(result).get()
    }

    /// Whether the block is there with exactly its bytes.
    func has(_ block: TestBlock) -> Bool {
        (try? read(block.id)) == block.bytes
    }

    func everything() -> [StoredBlock] {
        var found: [StoredBlock] = []
        while true {
            let page = list(after: found.last?.block, limit: 7)
            if page.isEmpty { return found }
            found += page
        }
    }
}

func segmentFiles(_ folder: FilePath) throws -> [FilePath] {
    let segments = folder.appending("segments")
    return try Disk.list(segments).filter { $0.hasSuffix(".seg") }.map { segments.appending($0) }
}

/// Runs `body` on so many threads of its own and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    final class Job: Sendable {
        let number: Int
        let body: @Sendable (Int) -> Void

        init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
            self.number = number
            self.body = body
        }
    }
    var threads: [pthread_t] = []
    for number in 0..<count {
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let job = Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
                job.body(job.number)
                return nil
            }, Unmanaged.passRetained(Job(number, body)).toOpaque())
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
}
