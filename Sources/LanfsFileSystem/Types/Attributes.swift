/// A file's number, never used twice in a volume (T4). 1 is the root directory, as the kernel wants it.
public typealias InodeNumber = UInt64

public let rootInode: InodeNumber = 1

/// Seconds and nanoseconds since 1970 UTC, before it too.
public struct Timestamp: Hashable, Comparable, Sendable {
    public var seconds: Int64
    public var nanoseconds: UInt32

    @inlinable
    public init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}

public enum InodeType: UInt8, Sendable {
    case regular = 1
    case directory, symlink, fifo, socket, characterDevice, blockDevice
}

/// What stat(2) shows of an inode.
public struct Attributes: Equatable, Sendable {
    public var inode: InodeNumber
    public var type: InodeType
    /// The low twelve bits: permissions, set-user-id, set-group-id, sticky.
    public var permissions: UInt16
    public var linkCount: UInt32
    public var user: UInt32
    public var group: UInt32
    /// Device number of a device file, as the kernel encodes it.
    public var device: UInt32
    /// Bytes; at most 2^63 - 1.
    public var size: UInt64
    /// Bytes of the file that are backed by data (holes are not).
    public var allocated: UInt64
    public var accessed: Timestamp
    public var modified: Timestamp
    public var changed: Timestamp
    public var created: Timestamp

    public init(
        inode: InodeNumber, type: InodeType, permissions: UInt16, linkCount: UInt32, user: UInt32, group: UInt32,
        device: UInt32, size: UInt64, allocated: UInt64, accessed: Timestamp, modified: Timestamp,
        changed: Timestamp, created: Timestamp
    ) {
        self.inode = inode
        self.type = type
        self.permissions = permissions
        self.linkCount = linkCount
        self.user = user
        self.group = group
        self.device = device
        self.size = size
        self.allocated = allocated
        self.accessed = accessed
        self.modified = modified
        self.changed = changed
        self.created = created
    }
}

/// What setattr changes; `nil` leaves a field as it is.
public struct AttributeChanges: Equatable, Sendable {
    public var permissions: UInt16?
    public var user: UInt32?
    public var group: UInt32?
    public var size: UInt64?
    public var accessed: Timestamp?
    public var modified: Timestamp?
    public var changed: Timestamp?

    public init() {}
}

/// Who asks, and when: every operation is a function of its arguments (T1), the clock included.
public struct Caller: Equatable, Sendable {
    public var user: UInt32
    public var group: UInt32
    public var umask: UInt16
    public var now: Timestamp
    /// Of a program that came by way of the kernel; zero where it is not visible from here.
    public var thread: Int32?

    public init(user: UInt32, group: UInt32, umask: UInt16, now: Timestamp, thread: Int32? = nil) {
        self.user = user
        self.group = group
        self.umask = umask
        self.now = now
        self.thread = thread
    }
}

/// One line of a directory.
public struct DirectoryEntry: Equatable, Sendable {
    /// 1 to 255 bytes in any encoding, without `/` and NUL, neither `.` nor `..`.
    public var name: [UInt8]
    public var inode: InodeNumber
    public var type: InodeType

    public init(name: [UInt8], inode: InodeNumber, type: InodeType) {
        self.name = name
        self.inode = inode
        self.type = type
    }
}

public enum RenameMode: UInt8, Sendable {
    case replace, noReplace, exchange
}

/// statfs(2), in bytes and inodes.
public struct VolumeUsage: Equatable, Sendable {
    public var capacity: UInt64
    public var free: UInt64
    public var files: UInt64

    public init(capacity: UInt64, free: UInt64, files: UInt64) {
        self.capacity = capacity
        self.free = free
        self.files = files
    }
}
