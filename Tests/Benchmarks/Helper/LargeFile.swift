import Glibc
import Synchronization

/// One large file, in order and at random. Arguments: PATH BYTES SEED.
struct LargeFile {
    private static let pieceSize = 1 << 20

    private let path: String
    private let size: Int
    private let pattern: Pattern

    init(_ arguments: inout Arguments) throws(Failure) {
        path = try arguments.text()
        size = try arguments.number()
        pattern = Pattern(seed: try arguments.number())
        guard size > 0, size % Self.pieceSize == 0 else { throw Failure("the size is whole MiB") }
    }

    /// Prints the seconds that writing and fsync took.
    func write() throws(Failure) {
        let start = now()
        let file = try File(path, O_CREAT | O_TRUNC | O_WRONLY)
        try withBuffer(Self.pieceSize) { (buffer) throws(Failure) in
            for offset in stride(from: 0, to: size, by: Self.pieceSize) {
                pattern.fill(buffer, at: offset)
                try file.write(UnsafeRawBufferPointer(buffer), at: offset)
            }
        }
        try file.sync()
        try file.close()
        print(now() - start)
    }

    /// Prints the seconds that reading took.
    func read() throws(Failure) {
        let start = now()
        try readThrough(pattern.looksRight)
        print(now() - start)
    }

    /// Compares the whole file.
    func verify() throws(Failure) { try readThrough(pattern.matches) }

    private func readThrough(_ isRight: (UnsafeRawBufferPointer, Int) -> Bool) throws(Failure) {
        let file = try File(path, O_RDONLY)
        try withBuffer(Self.pieceSize) { (buffer) throws(Failure) in
            for offset in stride(from: 0, to: size, by: Self.pieceSize) {
                let count = try file.read(into: buffer, at: offset)
                guard count == buffer.count, isRight(UnsafeRawBufferPointer(buffer), offset) else {
                    throw Failure("\(path) has wrong bytes at \(offset)")
                }
            }
        }
        try file.close()
    }

    /// Prints reads of 4 KiB per second. Each page is read once at most, so that none comes from the kernel's cache.
    func readAtRandom(threads: Int, seconds: Int) throws(Failure) {
        let file = try File(path, O_RDONLY)
        // What fio and databases tell the kernel: do not read ahead.
        posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_RANDOM)
        var generator = SplitMix64(state: UInt64(threads))
        let pages = Array(0..<size / Pattern.pageSize).shuffled(using: &generator)
        let start = now()
        let work = RandomReads(file: file, pages: pages, pattern: pattern, end: start + Double(seconds))
        let started = (0..<threads).map { _ in startThread { work.run() } }
        for thread in started { pthread_join(thread, nil) }
        let end = now()
        try file.close()
        guard !work.isWrong.load(ordering: .relaxed) else { throw Failure("\(path) has wrong bytes, or cannot be read") }
        print(Double(work.count) / (end - start))
    }

    /// Prints how many times a second 4 KiB at random places can be overwritten and made durable; then looks that the
    /// newest version of each place reads back.
    func overwrite(seconds: Int) throws(Failure) {
        let file = try File(path, O_RDWR)
        var generator = SplitMix64(state: 1)
        var versions: [Int: Int] = [:]
        let patterns = (0..<8).map { Pattern(seed: 1000 + $0) }
        try withBuffer(Pattern.pageSize) { (buffer) throws(Failure) in
            var count = 0
            let start = now()
            while now() < start + Double(seconds) {
                let page = Int.random(in: 0..<size / Pattern.pageSize, using: &generator)
                versions[page] = count % patterns.count
                patterns[count % patterns.count].fill(buffer, at: page * Pattern.pageSize)
                try file.write(UnsafeRawBufferPointer(buffer), at: page * Pattern.pageSize)
                try file.sync()
                count += 1
            }
            print(Double(count) / (now() - start))
            for (page, version) in versions {
                let offset = page * Pattern.pageSize
                guard try file.read(into: buffer, at: offset) == buffer.count,
                    patterns[version].matches(UnsafeRawBufferPointer(buffer), at: offset)
                else { throw Failure("\(path) lost what was written at \(offset)") }
            }
        }
        try file.close()
    }
}

/// What the reading threads share.
private final class RandomReads: Sendable {
    let isWrong = Atomic(false)
    private let next = Atomic(0)
    private let file: File
    private let pages: [Int]
    private let pattern: Pattern
    private let end: Double

    init(file: File, pages: [Int], pattern: Pattern, end: Double) {
        self.file = file
        self.pages = pages
        self.pattern = pattern
        self.end = end
    }

    /// Reads done, once the threads have ended.
    var count: Int { min(next.load(ordering: .relaxed), pages.count) }

    func run() {
        let isRight = try? withBuffer(Pattern.pageSize) { (buffer) throws(Failure) in
            while now() < end {
                let place = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard place < pages.count else { break }
                let offset = pages[place] * Pattern.pageSize
                guard try file.read(into: buffer, at: offset) == buffer.count,
                    pattern.matches(UnsafeRawBufferPointer(buffer), at: offset)
                else { return false }
            }
            return true
        }
        if isRight != true { isWrong.store(true, ordering: .relaxed) }
    }
}
