/// What a lock keeps others from: a shared one from writing, an exclusive one from reading too.
public enum FileLockKind: UInt8, Sendable {
    case shared = 1
    case exclusive
}

/// fcntl(2)'s locks of byte ranges and flock(2)'s of whole files: the two do not see each other.
public enum FileLockSpace: UInt8, Sendable {
    case range = 1
    case whole
}

/// Who holds locks: an open file or a process, as the client's kernel numbers them.
public struct FileLockOwner: Hashable, Comparable, Sendable {
    public var session: Incarnation
    public var number: UInt64

    public init(session: Incarnation, number: UInt64) {
        self.session = session
        self.number = number
    }

    public static func < (left: Self, right: Self) -> Bool {
        (left.session, left.number) < (right.session, right.number)
    }
}

/// A lock, held or asked for.
public struct FileLock: Hashable, Sendable {
    public var owner: FileLockOwner
    public var kind: FileLockKind
    /// Bytes of the file, both inclusive; `UInt64.max` is the end of the file whatever its size.
    public var start: UInt64
    public var end: UInt64
    /// For F_GETLK to show; has no say in anything.
    public var pid: UInt32

    public init(owner: FileLockOwner, kind: FileLockKind, start: UInt64 = 0, end: UInt64 = .max, pid: UInt32) {
        self.owner = owner
        self.kind = kind
        self.start = start
        self.end = end
        self.pid = pid
    }

    func overlaps(_ other: FileLock) -> Bool { start <= other.end && other.start <= end }

    /// Whether both cannot be held at once.
    public func conflicts(with other: FileLock) -> Bool {
        owner != other.owner && (kind == .exclusive || other.kind == .exclusive) && overlaps(other)
    }

    /// Whether the two are one lock: touching, and the same but for where.
    func continues(_ other: FileLock) -> Bool {
        guard owner == other.owner, kind == other.kind, pid == other.pid else { return false }
        return overlaps(other) || (other.end < .max && other.end + 1 == start) || (end < .max && end + 1 == other.start)
    }
}
