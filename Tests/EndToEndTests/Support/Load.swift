import Glibc
import Synchronization
import TestSupport

/// Work in rounds, on a thread of its own, until it is told to stop or a round fails.
final class Load: Sendable {
    private struct State {
        var rounds = 0
        var isStopped = false
        var error: (any Error)?
        var hasEnded = false
    }

    let name: String
    private let state = Mutex(State())

    init(_ name: String, pause: UInt32 = 0, _ round: @escaping @Sendable (Int) throws -> Void) {
        self.name = name
        onThread { [self] in
            do {
                while !state.withLock({ $0.isStopped }) {
                    try round(rounds)
                    state.withLock { $0.rounds += 1 }
                    usleep(pause)
                }
            } catch {
                state.withLock { $0.error = error }
            }
            state.withLock { $0.hasEnded = true }
        }
    }

    /// Those that are done.
    var rounds: Int { state.withLock { $0.rounds } }

    var failure: Failure? {
        state.withLock { state in state.error.map { Failure("\(name), round \(state.rounds): \($0)") } }
    }

    func askToStop() { state.withLock { $0.isStopped = true } }

    /// How many rounds there were; throws what failed.
    func stop() throws -> Int {
        askToStop()
        guard eventually(.seconds(120), every: 20_000, { state.withLock { $0.hasEnded } }) else {
            throw Failure("\(name) hangs in round \(rounds)")
        }
        if let failure { throw failure }
        return rounds
    }
}

/// Tells how much time this process did not get, so that a machine that pauses everything is not blamed on the mount.
final class Metronome: Sendable {
    private let missed = Mutex(Duration.zero)
    private let isStopped = Atomic(false)

    init() {
        onThread { [self] in
            while !isStopped.load(ordering: .relaxed) {
                let start = ContinuousClock.now
                usleep(20_000)
                let late = ContinuousClock.now - start - .milliseconds(20)
                if late > .milliseconds(200) { missed.withLock { $0 += late } }
            }
        }
    }

    /// How long `body` takes, less what everybody missed meanwhile.
    func time(_ body: () throws -> Void) rethrows -> Duration {
        let (start, before) = (ContinuousClock.now, missed.withLock { $0 })
        try body()
        let time = ContinuousClock.now - start
        if time > .seconds(1) { usleep(50_000) }
        return time - (missed.withLock { $0 } - before)
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }
}

/// Reads and writes 4 KiB again and again, and keeps how long the longest took.
final class Prober: Sendable {
    private static let size = 4096
    private static let slots = 256
    /// Much more than the mount may cache.
    private static let coldSize = 48 << 20
    private static let piece = 1 << 16

    private struct State {
        var longestRead = Duration.zero
        var longestWrite = Duration.zero
        /// What was synced last at each place.
        var synced = [UInt64](repeating: 0, count: Prober.slots)
    }

    private let folder: String
    private let seed: UInt64
    private let metronome = Metronome()
    private let state = Mutex(State())
    /// A stall is told when it is over.
    private let tell: @Sendable (String) -> Void

    var longest: (read: Duration, write: Duration) { state.withLock { ($0.longestRead, $0.longestWrite) } }

    init(folder: String, seed: UInt64, tell: @escaping @Sendable (String) -> Void) throws {
        self.folder = folder
        self.seed = seed
        self.tell = tell
        try check(mkdir(folder, 0o755))
        try writeFile(folder + "/written", [UInt8](repeating: 0, count: Self.slots * Self.size), sync: true)
        try withFile(folder + "/cold", O_WRONLY | O_CREAT) { file in
            for number in 0..<Self.coldSize / Self.piece { try writeAll(file, cold(number)[...]) }
            try check(fsync(file))
        }
    }

    private func cold(_ piece: Int) -> [UInt8] { randomBytes(Self.piece, seed: seed &+ UInt64(piece)) }

    func start() -> [Load] {
        [
            Load("the read probe", pause: 20_000) { [self] in try read(random($0)) },
            Load("the write probe", pause: 20_000) { [self] in try write(UInt64($0 + 1), random($0)) },
        ]
    }

    private func random(_ round: Int) -> SplitMix64 { SplitMix64(seed: seed &+ UInt64(round)) }

    private func read(_ random: SplitMix64) throws {
        var random = random
        let offset = random.below(Self.coldSize / Self.size) * Self.size
        let time = try withFile(folder + "/cold", O_RDONLY) { file in
            posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
            posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM)
            return try metronome.time {
                let bytes = try EndToEndTests.read(file, at: offset, upTo: Self.size)
                let start = offset % Self.piece
                guard bytes[...] == cold(offset / Self.piece)[start..<start + Self.size] else {
                    throw Failure("the bytes at \(offset) are wrong")
                }
            }
        }
        state.withLock { $0.longestRead = max($0.longestRead, time) }
        if time > .seconds(1) { tell("a read took \(time)") }
    }

    private func write(_ number: UInt64, _ random: SplitMix64) throws {
        var random = random
        let slot = random.below(Self.slots)
        let time = try withFile(folder + "/written", O_WRONLY) { file in
            try metronome.time {
                try writeAll(file, randomBytes(Self.size, seed: number)[...], at: slot * Self.size)
                try check(fsync(file))
            }
        }
        state.withLock { state in
            state.synced[slot] = number
            state.longestWrite = max(state.longestWrite, time)
        }
        if time > .seconds(2) { tell("a write took \(time)") }
    }

    /// Everything that was synced is there, and what was only to be read as well.
    func requireWhole() throws {
        let bytes = try contents(folder + "/written")
        for (slot, number) in state.withLock({ $0.synced }).enumerated() {
            let expected = number == 0 ? [UInt8](repeating: 0, count: Self.size) : randomBytes(Self.size, seed: number)
            guard bytes[(slot * Self.size)..<(slot + 1) * Self.size] == expected[...] else {
                throw Failure("record \(number), which was synced, is not at place \(slot)")
            }
        }
        try withFile(folder + "/cold", O_RDONLY) { file in
            for number in 0..<Self.coldSize / Self.piece {
                guard try EndToEndTests.read(file, at: number * Self.piece, upTo: Self.piece) == cold(number) else {
                    throw Failure("piece \(number) of the cold file is wrong")
                }
            }
        }
    }

    deinit { metronome.stop() }
}
