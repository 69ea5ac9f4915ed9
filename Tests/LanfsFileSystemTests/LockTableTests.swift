import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsFileSystem

private let place = LockTable.Place(space: .range, inode: 7)
private let session = Incarnation(high: 1, low: 1)

private func owner(_ number: Int) -> FileLockOwner { FileLockOwner(session: session, number: UInt64(number)) }

private func lock(_ number: Int, _ kind: FileLockKind, _ range: ClosedRange<UInt64> = 0...(.max)) -> FileLock {
    FileLock(
        owner: owner(number), kind: kind, start: range.lowerBound, end: range.upperBound, pid: UInt32(number))
}

@Suite("Locks")
struct LockTableTests {
    /// For each byte, who holds it how.
    private struct ByteMap {
        var bytes = [[FileLockOwner: FileLockKind]](repeating: [:], count: 40)

        func conflicts(_ lock: FileLock) -> Bool {
            bytes[Int(lock.start)...Int(lock.end)].contains { holders in
                holders.contains { $0.key != lock.owner && (lock.kind == .exclusive || $0.value == .exclusive) }
            }
        }
    }

    @Test("of ranges are what a map of bytes says", arguments: 1...10)
    func equalAByteMap(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        var table = LockTable()
        var map = ByteMap()
        for step in 0..<600 {
            let start = generator.below(40)
            let range = UInt64(start)...UInt64(start + generator.below(40 - start))
            let asked = lock(generator.below(4), generator.chance(50) ? .shared : .exclusive, range)
            let moment = Comment(rawValue: "seed \(seed), step \(step)")
            if generator.chance(30) {
                table.unlock(range, of: asked.owner, at: place)
                for byte in range { map.bytes[Int(byte)][asked.owner] = nil }
            } else {
                let isFree = !map.conflicts(asked)
                try #require((table.conflict(with: asked, at: place) == nil) == isFree, moment)
                let before = table
                let answer = table.lock(asked, at: place)
                if isFree {
                    try #require(answer == .granted, moment)
                    for byte in range { map.bytes[Int(byte)][asked.owner] = asked.kind }
                } else {
                    try #require(answer != .granted && table == before, moment)
                }
            }
            try compare(table, map, moment)
        }
        table.release(session: session)
        #expect(table.isEmpty)
    }

    private func compare(_ table: LockTable, _ map: ByteMap, _ moment: Comment) throws {
        var found = ByteMap()
        let locks = table.locks(at: place)
        for lock in locks {
            for byte in lock.start...lock.end {
                try #require(found.bytes[Int(byte)].updateValue(lock.kind, forKey: lock.owner) == nil, moment)
            }
        }
        try #require(found.bytes == map.bytes, moment)
        for (index, lock) in locks.enumerated() {
            try #require(index == 0 || locks[index - 1].start <= lock.start, moment)
            let touching = locks[(index + 1)...].contains {
                $0.owner == lock.owner && $0.kind == lock.kind && $0.start == lock.end + 1
            }
            try #require(!touching, "neighbours are one lock")
        }
    }

    @Test("reach to the end of the file whatever its size")
    func toTheEnd() {
        var table = LockTable()
        #expect(table.lock(lock(1, .exclusive, 100...(.max)), at: place) == .granted)
        table.unlock(200...300, of: owner(1), at: place)
        #expect(table.locks(at: place).map(\.end) == [199, .max])
        #expect(table.lock(lock(1, .exclusive, 0...(.max)), at: place) == .granted)
        #expect(table.locks(at: place).count == 1)
        table.unlock(.max...(.max), of: owner(1), at: place)
        #expect(table.locks(at: place).map(\.end) == [.max - 1])
    }

    @Test("say who is in the way")
    func conflict() {
        var table = LockTable()
        _ = table.lock(lock(1, .shared, 5...9), at: place)
        #expect(table.conflict(with: lock(2, .shared, 0...20), at: place) == nil)
        #expect(table.conflict(with: lock(2, .exclusive, 0...20), at: place)?.pid == 1)
        #expect(table.lock(lock(2, .exclusive, 9...9), at: place) == .refused(by: lock(1, .shared, 5...9)))
        #expect(table.lock(lock(2, .exclusive, 10...10), at: place) == .granted)
        #expect(table.lock(lock(1, .exclusive, 5...9), at: place) == .granted, "one's own lock is never in the way")
    }

    @Test("of ranges and of whole files do not see each other, nor do inodes")
    func spaces() {
        var table = LockTable()
        let whole = LockTable.Place(space: .whole, inode: 7)
        let other = LockTable.Place(space: .range, inode: 8)
        #expect(table.lock(lock(1, .exclusive), at: place) == .granted)
        #expect(table.lock(lock(2, .exclusive), at: whole) == .granted)
        #expect(table.lock(lock(3, .exclusive), at: other) == .granted)
    }

    @Test("that wait are granted in the order they came")
    func waiting() throws {
        var table = LockTable()
        _ = table.lock(lock(1, .exclusive, 0...10), at: place)
        guard case .waiting(let second) = table.lockOrWait(lock(2, .shared, 0...5), at: place),
            case .waiting(let third) = table.lockOrWait(lock(3, .exclusive, 3...5), at: place),
            case .waiting(let fourth) = table.lockOrWait(lock(4, .shared, 0...1), at: place)
        else {
            Issue.record("all have to wait")
            return
        }
        #expect(table.grantWaiting().isEmpty)
        table.unlock(0...10, of: owner(1), at: place)
        #expect(table.grantWaiting().map(\.ticket) == [second, fourth])
        #expect(table.waiting.map(\.ticket) == [third])
        table.unlock(0...10, of: owner(2), at: place)
        #expect(table.grantWaiting().map(\.ticket) == [third])
        #expect(table.locks(at: place).count == 2)
    }

    @Test("that were given up are not granted")
    func cancelled() {
        var table = LockTable()
        _ = table.lock(lock(1, .exclusive), at: place)
        guard case .waiting(let ticket) = table.lockOrWait(lock(2, .exclusive), at: place) else {
            Issue.record("it has to wait")
            return
        }
        table.cancel(ticket)
        table.unlock(0...(.max), of: owner(1), at: place)
        #expect(table.grantWaiting().isEmpty && table.isEmpty)
    }

    @Test("that would wait for each other for ever are refused", arguments: [2, 3, 10])
    func deadlock(owners: Int) {
        var table = LockTable()
        let bytes = (0..<owners).map { UInt64($0)...UInt64($0) }
        for number in 0..<owners { _ = table.lock(lock(number, .exclusive, bytes[number]), at: place) }
        for number in 1..<owners {
            guard case .waiting = table.lockOrWait(lock(number, .exclusive, bytes[number - 1]), at: place) else {
                Issue.record("\(number) has to wait")
                return
            }
        }
        #expect(table.lockOrWait(lock(0, .exclusive, bytes[owners - 1]), at: place) == .deadlock)
        #expect(table.waiting.count == owners - 1)
        table.cancel(table.waiting[0].ticket)
        guard case .waiting = table.lockOrWait(lock(0, .exclusive, bytes[owners - 1]), at: place) else {
            Issue.record("the ring is broken: it waits")
            return
        }
    }

    @Test("of whole files may wait in a ring: flock knows no EDEADLK")
    func wholeFiles() {
        var table = LockTable()
        let first = LockTable.Place(space: .whole, inode: 1)
        let second = LockTable.Place(space: .whole, inode: 2)
        _ = table.lock(lock(1, .exclusive), at: first)
        _ = table.lock(lock(2, .exclusive), at: second)
        _ = table.lockOrWait(lock(1, .exclusive), at: second)
        #expect(table.lockOrWait(lock(2, .exclusive), at: first) == .waiting(2))
    }

    @Test("of whole files go when their owner is refused a stronger one; those of ranges stay")
    func refusedUpgrade() {
        var table = LockTable()
        let whole = LockTable.Place(space: .whole, inode: 7)
        for place in [whole, place] {
            for owner in [1, 2] { #expect(table.lock(lock(owner, .shared), at: place) == .granted) }
            #expect(table.lock(lock(1, .exclusive), at: place) == .refused(by: lock(2, .shared)))
        }
        #expect(table.locks(at: whole) == [lock(2, .shared)])
        #expect(table.locks(at: place) == [lock(1, .shared), lock(2, .shared)])
        // It waits on another thread for a stronger one, and takes a weaker one meanwhile: that stays.
        _ = table.lockOrWait(lock(1, .exclusive), at: whole)
        #expect(table.lock(lock(1, .shared), at: whole) == .granted)
        #expect(table.grantWaiting().isEmpty)
        #expect(table.lock(lock(2, .exclusive), at: whole) == .refused(by: lock(1, .shared)))
        #expect(table.grantWaiting().map(\.lock) == [lock(1, .exclusive)])
    }

    @Test("end with their session, waiting ones too")
    func sessionEnds() {
        var table = LockTable()
        let gone = Incarnation(high: 2, low: 2)
        var theirs = lock(1, .exclusive)
        theirs.owner.session = gone
        _ = table.lock(theirs, at: place)
        _ = table.lockOrWait(lock(1, .exclusive), at: place)
        theirs.owner.number = 2
        _ = table.lockOrWait(theirs, at: place)
        table.release(session: gone)
        #expect(table.grantWaiting().map(\.lock.owner) == [owner(1)])
        #expect(table.waiting.isEmpty)
    }
}

@Suite("Locks in the tree")
struct LockRecordTests {
    private func table(seed: UInt64) -> LockTable {
        var generator = SplitMix64(seed: seed)
        var table = LockTable()
        for _ in 0..<60 {
            let start = UInt64(generator.below(50))
            let lock = FileLock(
                owner: FileLockOwner(
                    session: Incarnation(high: 1, low: UInt64(generator.below(3))), number: UInt64(generator.below(3))),
                kind: generator.chance(50) ? .shared : .exclusive, start: start,
                end: generator.chance(10) ? .max : start + UInt64(generator.below(20)), pid: UInt32(generator.below(9)))
            let place = LockTable.Place(
                space: generator.chance(50) ? .range : .whole, inode: UInt64(1 + generator.below(3)))
            _ = generator.chance(50) ? table.lockOrWait(lock, at: place) : table.lock(lock, at: place)
        }
        return table
    }

    @Test("come back as they were, with those who wait, in order", arguments: 1...30 as ClosedRange<UInt64>)
    func roundTrip(seed: UInt64) throws {
        let table = table(seed: seed)
        let back = try LockTable(table.records)
        #expect(back.waiting == table.waiting)
        #expect(back.records == table.records)
        #expect(back.sessions == table.sessions)
        var (one, other) = (table, back)
        for session in table.sessions.sorted().dropLast() {
            one.release(session: session)
            other.release(session: session)
            #expect(one.grantWaiting() == other.grantWaiting())
        }
        #expect(one.records == other.records)
    }

    @Test("that cannot be read are refused")
    func damaged() {
        for (key, value) in table(seed: 4).records {
            #expect(throws: DecodingError.self) { try LockTable([key: Array(value.dropLast())]) }
            #expect(throws: DecodingError.self) { try LockTable([key: value + [0]]) }
        }
        #expect(throws: DecodingError.self) { try LockTable([RecordKey.superblock.key: []]) }
    }

    @Test("are covered by what their owner holds, in pieces or as more")
    func covering() {
        var table = LockTable()
        _ = table.lock(lock(1, .exclusive, 0...9), at: place)
        _ = table.lock(lock(1, .shared, 10...19), at: place)
        #expect(table.covers(lock(1, .shared, 0...19), at: place))
        #expect(table.covers(lock(1, .exclusive, 3...9), at: place))
        #expect(!table.covers(lock(1, .exclusive, 3...10), at: place))
        #expect(!table.covers(lock(1, .shared, 5...20), at: place))
        #expect(!table.covers(lock(2, .shared, 5...6), at: place))
    }
}
