/// All locks of a volume, and who waits for which: a value without clock or task, so that it can be kept wherever the
/// holder of the volume is.
public struct LockTable: Equatable, Sendable {
    /// Names a request that waits.
    public typealias Ticket = UInt64

    /// A request that waits for others to let go.
    public struct Waiting: Equatable, Sendable {
        public let ticket: Ticket
        public let place: Place
        public let lock: FileLock
    }

    /// Locks of one space on one inode compete with each other.
    public struct Place: Hashable, Sendable {
        public let space: FileLockSpace
        public let inode: InodeNumber

        public init(space: FileLockSpace, inode: InodeNumber) {
            self.space = space
            self.inode = inode
        }
    }

    public enum Answer: Equatable, Sendable {
        case granted
        /// Somebody else's lock is in the way: EAGAIN, or wait.
        case refused(by: FileLock)
        case waiting(Ticket)
        /// Whoever holds it waits, directly or not, for the one who asks: EDEADLK.
        case deadlock
    }

    /// Of each place, by start; no entry when there is none. Never iterated where the order could be seen.
    private(set) var held: [Place: [FileLock]] = [:]
    /// In the order they came.
    private var queue: [Waiting] = []
    private var nextTicket: Ticket = 1

    public init() {}

    public var isEmpty: Bool { held.isEmpty && queue.isEmpty }
    public var waiting: [Waiting] { queue }

    public func locks(at place: Place) -> [FileLock] { held[place] ?? [] }

    /// The first lock in the way of this one (F_GETLK).
    public func conflict(with lock: FileLock, at place: Place) -> FileLock? {
        held[place]?.first { $0.conflicts(with: lock) }
    }

    /// Whoever holds or waits for something.
    public var sessions: Set<Incarnation> {
        var sessions = Set(queue.map(\.lock.owner.session))
        for locks in held.values { sessions.formUnion(locks.map(\.owner.session)) }
        return sessions
    }

    /// Whether its owner holds all of this, or more.
    public func covers(_ lock: FileLock, at place: Place) -> Bool {
        var next = lock.start
        for held in locks(at: place) where held.owner == lock.owner && held.kind.rawValue >= lock.kind.rawValue {
            guard held.start <= next, next <= held.end else { continue }
            if held.end >= lock.end { return true }
            next = held.end + 1
        }
        return false
    }

    /// Takes a lock, in place of what its owner holds of the range; or says who is in the way, and changes nothing. Whoever
    /// wants to make a lock of flock(2) stronger and cannot has none any more, as on Linux: two that share it would else be in
    /// each other's way for ever.
    ///
    /// After a lock went or was made weaker others may go on: ``grantWaiting()``.
    public mutating func lock(_ lock: FileLock, at place: Place) -> Answer {
        if let other = conflict(with: lock, at: place) {
            if place.space == .whole { clear(lock.start...lock.end, of: lock.owner, at: place) }
            return .refused(by: other)
        }
        put(lock, at: place)
        return .granted
    }

    /// The same, and waits behind whoever is in the way (F_SETLKW).
    public mutating func lockOrWait(_ lock: FileLock, at place: Place) -> Answer {
        guard case .refused = self.lock(lock, at: place) else { return .granted }
        // flock(2) knows no EDEADLK: its locks belong to open files, and anyone may close one.
        if place.space == .range, wouldDeadlock(lock, at: place) { return .deadlock }
        let ticket = nextTicket
        nextTicket += 1
        queue.append(Waiting(ticket: ticket, place: place, lock: lock))
        return .waiting(ticket)
    }

    /// Takes a lock that was granted elsewhere.
    public mutating func put(_ lock: FileLock, at place: Place) {
        clear(lock.start...lock.end, of: lock.owner, at: place)
        insert(lock, at: place)
    }

    /// The one who waits was interrupted.
    public mutating func cancel(_ ticket: Ticket) {
        queue.removeAll { $0.ticket == ticket }
    }

    public mutating func cancelRequests(of session: Incarnation, where isOver: (Ticket) -> Bool) {
        queue.removeAll { $0.lock.owner.session == session && isOver($0.ticket) }
    }

    public mutating func unlock(_ range: ClosedRange<UInt64>, of owner: FileLockOwner, at place: Place) {
        clear(range, of: owner, at: place)
    }

    /// A session ended: all it held or waited for.
    public mutating func release(session: Incarnation) {
        queue.removeAll { $0.lock.owner.session == session }
        for place in held.keys {
            let left = locks(at: place).filter { $0.owner.session != session }
            held[place] = left.isEmpty ? nil : left
        }
    }

    /// Gives a session what `others` say that it holds, and nothing else.
    public mutating func setHeld(by session: Incarnation, as others: LockTable) {
        let waiting = queue
        release(session: session)
        queue = waiting
        for (place, locks) in others.held {
            for lock in locks where lock.owner.session == session { insert(lock, at: place) }
        }
    }

    /// What a session holds.
    public func held(by session: Incarnation) -> [(place: Place, lock: FileLock)] {
        held.flatMap { place, locks in
            locks.lazy.filter { $0.owner.session == session }.map { (place, $0) }
        }
    }

    /// Tickets given from now on are higher than those of `other`.
    public mutating func continueTickets(of other: LockTable) { nextTicket = max(nextTicket, other.nextTicket) }

    /// As it was written down.
    mutating func add(_ lock: FileLock, at place: Place) { insert(lock, at: place) }

    mutating func add(_ request: Waiting) {
        queue.append(request)
        nextTicket = max(nextTicket, request.ticket < .max ? request.ticket + 1 : .max)
    }

    /// Gives those who wait what is free now, first come first served. To be called after locks went or grew weaker.
    public mutating func grantWaiting() -> [Waiting] {
        var granted: [Waiting] = []
        var remaining: [Waiting] = []
        for waiting in queue {
            guard conflict(with: waiting.lock, at: waiting.place) == nil else {
                remaining.append(waiting)
                continue
            }
            put(waiting.lock, at: waiting.place)
            granted.append(waiting)
        }
        queue = remaining
        return granted
    }
}

// MARK: Ranges

extension LockTable {
    /// Takes a range out of what an owner holds, cutting locks that reach beyond it.
    private mutating func clear(_ range: ClosedRange<UInt64>, of owner: FileLockOwner, at place: Place) {
        guard let locks = held[place] else { return }
        var left: [FileLock] = []
        left.reserveCapacity(locks.count + 1)
        for lock in locks {
            guard lock.owner == owner, lock.start <= range.upperBound, range.lowerBound <= lock.end else {
                left.append(lock)
                continue
            }
            if lock.start < range.lowerBound {
                var before = lock
                before.end = range.lowerBound - 1
                left.append(before)
            }
            if range.upperBound < lock.end {
                var after = lock
                after.start = range.upperBound + 1
                left.append(after)
            }
        }
        // A piece behind the range starts later than it did, maybe later than its neighbours.
        left.sort(by: Self.isBefore)
        held[place] = left.isEmpty ? nil : left
    }

    /// Puts a lock where its owner holds nothing, joined with those of the same kind that it touches.
    private mutating func insert(_ lock: FileLock, at place: Place) {
        var joined = lock
        var locks = held[place] ?? []
        locks.removeAll { other in
            guard other.continues(lock) else { return false }
            joined.start = min(joined.start, other.start)
            joined.end = max(joined.end, other.end)
            return true
        }
        let index = locks.firstIndex { Self.isBefore(joined, $0) } ?? locks.count
        locks.insert(joined, at: index)
        held[place] = locks
    }

    private static func isBefore(_ left: FileLock, _ right: FileLock) -> Bool {
        (left.start, left.owner) < (right.start, right.owner)
    }
}

// MARK: Deadlock

extension LockTable {
    /// Whether one of those who would be waited for waits, over whatever others, for the one who asks.
    private func wouldDeadlock(_ request: FileLock, at place: Place) -> Bool {
        var seen: Set<FileLockOwner> = []
        var open = blockers(of: request, at: place)
        while let owner = open.popLast() {
            if owner == request.owner { return true }
            guard seen.insert(owner).inserted else { continue }
            for waiting in queue where waiting.lock.owner == owner && waiting.place.space == .range {
                open.append(contentsOf: blockers(of: waiting.lock, at: waiting.place))
            }
        }
        return false
    }

    private func blockers(of lock: FileLock, at place: Place) -> [FileLockOwner] {
        locks(at: place).filter { $0.conflicts(with: lock) }.map(\.owner)
    }
}
