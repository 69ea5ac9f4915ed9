import Glibc
import Synchronization
import SystemPackage
import TestSupport

/// What the clients of one volume do at the same time, noted as histories: files written and read whole, names made and removed,
/// a counter under a lock.
final class SharedLoad: Sendable {
    private static let keys = 6

    let registers = Recorder<RegisterModel>()
    let names = Recorder<NameModel>()
    let counters = Recorder<CounterModel>()
    private let value = Atomic(0)
    private let folders: [String]
    private let seed: UInt64
    /// When a client could not reach the keepers: then it reads what it knows.
    private let partitions = Mutex<[(client: Int, time: Range<ContinuousClock.Instant>)]>([])
    /// What went wrong in a way that no fault explains.
    private let surprises = Mutex<[String]>([])

    /// - Parameter mounts: of the volume, which has none of the names used here. What is made lies in a folder of it: where a
    ///   mount is gone nothing is found.
    init(mounts: [String], seed: UInt64) throws {
        folders = mounts.map { $0 + "/work" }
        self.seed = seed
        try check(mkdir(folders[0], 0o755))
        for key in 0..<Self.keys {
            for name in ["register", "counter"] { try writeFile("\(folders[0])/\(name) \(key)", Self.bytes(0), sync: true) }
        }
        let last = "/counter \(Self.keys - 1)"
        guard eventually(.seconds(10), { folders.allSatisfy { exists($0 + last) } }) else { throw Failure("a mount sees nothing") }
    }

    /// Two threads for each client.
    func start() -> [Load] {
        folders.indices.flatMap { client in
            (0..<2).map { thread in
                let random = Mutex(SplitMix64(seed: seed &+ UInt64(client * 2 + thread)))
                return Load("client \(client), thread \(thread)", pause: 3_000) { [self] _ in
                    let (choice, key) = random.withLock { ($0.below(10), $0.below(Self.keys)) }
                    switch choice {
                    case 0..<3: write(client, key)
                    case 3..<6: read(client, key)
                    case 6: make(client, key)
                    case 7: remove(client, key)
                    default: count(client, key % 2)
                    }
                }
            }
        }
    }

    func requireLinearizable() throws {
        if let surprise = surprises.withLock({ $0.first }) { throw Failure(surprise) }
        registers.change(dropUnpromised)
        try registers.requireLinearizable("file")
        try names.requireLinearizable("folder")
        try counters.requireLinearizable("counter")
    }

    /// What this client read then, or partly then, is not checked.
    func notePartition(of client: Int, _ time: Range<ContinuousClock.Instant>) {
        partitions.withLock { $0.append((client, time)) }
    }

    /// On its own machine a write is seen before its file is closed; what others see by then is not promised. Nor is the newest
    /// to who cannot ask for it.
    private func dropUnpromised(_ history: inout History<RegisterModel>) {
        let partitions = partitions.withLock { $0 }
        var writes: [Int: History<RegisterModel>.Operation] = [:]
        var read: Set<Int> = []
        for operation in history.operations {
            switch operation.action {
            case .write(let value): writes[value] = operation
            case .read(let value): read.insert(value)
            }
        }
        // What may have been written and nobody ever read explains nothing.
        history.remove { $0.end == nil && !read.contains($0.action.value) }
        history.remove { read in
            guard case .read(let value) = read.action else { return false }
            // Also one that was begun before, and could not ask any more.
            let isCutOff = partitions.contains { partition in
                partition.client == read.client && read.start < partition.time.upperBound
                    && read.end.map { partition.time.lowerBound < $0 } ?? true
            }
            if isCutOff { return true }
            guard let write = writes[value], write.client == read.client else { return false }
            return write.end.map { read.start < $0 } ?? true
        }
    }

    // MARK: One operation each

    private func write(_ client: Int, _ key: Int) {
        let value = self.value.add(1, ordering: .relaxed).newValue
        let start = ContinuousClock.now
        var isBegun = false
        let isDone = attempt(client) {
            try Self.withClosed("\(folders[client])/register \(key)", O_WRONLY) { file in
                isBegun = true
                // More than goes with the votes: such a commit waits for its blocks, and may lose the lease meanwhile.
                if value % 4 == 0 { try writeAll(file, [UInt8](repeating: UInt8(value & 0xff), count: 200_000)[...], at: 4096) }
                try writeAll(file, Self.bytes(value)[...], at: 0)
            }
        }
        guard isBegun else { return }
        registers.note(key, .init(client: client, action: .write(value), start: start, end: isDone ? .now : nil))
    }

    private func read(_ client: Int, _ key: Int) {
        let start = ContinuousClock.now
        var value: Int?
        let isDone = attempt(client) {
            try withFile("\(folders[client])/register \(key)", O_RDONLY) { file in
                let bytes = try EndToEndTests.read(file, at: 0, upTo: 24)
                value = Self.value(bytes)
                if value == nil { surprise("client \(client) read \(bytes.count) bytes, which nobody wrote, from file \(key)") }
            }
        }
        // What was not answered changed nothing.
        if isDone, let value { registers.note(key, .init(client: client, action: .read(value), start: start, end: .now)) }
    }

    private func make(_ client: Int, _ key: Int) { change(client, key, .made) { mkdir($0, 0o755) } }
    private func remove(_ client: Int, _ key: Int) { change(client, key, .removed) { rmdir($0) } }

    private func change(_ client: Int, _ key: Int, _ action: NameModel.Action, _ call: (String) -> Int32) {
        let start = ContinuousClock.now
        var isAnswered = false
        let isDone = attempt(client) {
            do {
                try check(call("\(folders[client])/folder \(key)"))
            } catch let errno as Errno where [.fileExists, .noSuchFileOrDirectory].contains(errno) {
                isAnswered = true
            }
        }
        // The kernel may know of a name for a second: only what succeeded is checked.
        if isDone, isAnswered { return }
        names.note(key, .init(client: client, action: action, start: start, end: isDone ? .now : nil))
    }

    /// Reads a number and writes the next, under a lock on the same file: who lost the lock cannot write.
    private func count(_ client: Int, _ key: Int) {
        var found: Int?
        var start = ContinuousClock.now
        let isDone = attempt(client) {
            try Self.withClosed("\(folders[client])/counter \(key)", O_RDWR) { file in
                try check(flock(file, LOCK_EX))
                start = .now
                let bytes = try EndToEndTests.read(file, at: 0, upTo: 64)
                guard let number = Self.value(bytes) else { return surprise("client \(client) found no number in counter \(key)") }
                found = number
                try writeAll(file, Self.bytes(number + 1)[...], at: 0)
                try check(flock(file, LOCK_UN))
            }
        }
        guard let found else { return }
        counters.note(key, .init(client: client, action: found, start: start, end: isDone ? .now : nil))
    }

    /// As `withFile`; close(2) has to succeed as well.
    private static func withClosed(_ path: String, _ flags: Int32, _ body: (Int32) throws -> Void) throws {
        let file = try check(open(path, flags | O_CLOEXEC, 0o644))
        do {
            try body(file)
        } catch {
            Glibc.close(file)
            throw error
        }
        try check(Glibc.close(file))
    }

    // MARK: What may happen

    /// Whether it was done; what became of it is not known otherwise.
    private func attempt(_ client: Int, _ body: () throws -> Void) -> Bool {
        do {
            try body()
            return true
        } catch let errno as Errno {
            // The mount is gone, or was taken for gone.
            let expected: Set<Errno> = [
                .socketNotConnected, .connectionAbort, .staleNFSFileHandle, .ioError, .noSuchFileOrDirectory, .notPermitted,
            ]
            if !expected.contains(errno) { surprise("client \(client): \(errno)") }
            usleep(50_000)
            return false
        } catch {
            surprise("client \(client): \(error)")
            return false
        }
    }

    private func surprise(_ text: String) { surprises.withLock { $0.append(text) } }

    private static func bytes(_ value: Int) -> [UInt8] {
        let digits = String(value)
        return Array((String(repeating: "0", count: 23 - digits.count) + digits + "\n").utf8)
    }

    private static func value(_ bytes: [UInt8]) -> Int? {
        bytes.count == 24 ? Int(String(decoding: bytes.dropLast(), as: UTF8.self)) : nil
    }
}
