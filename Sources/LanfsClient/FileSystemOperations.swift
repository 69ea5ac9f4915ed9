import LanfsFileSystem
import LanfsNetwork
import SystemPackage

/// What an operation came to. Most are answered from memory, on the thread that asked; one that has to fetch or to wait
/// hands back the work to be awaited elsewhere.
public enum Outcome<Value: Sendable>: Sendable {
    case done(Value)
    case failed(Errno)
    /// `on`: where the work's task is best run; `nil` where it computes much.
    ///
    /// When nobody waits any more (interrupted, killed, unmounted) the work's task is cancelled: it should end soon, with
    /// `.interrupted` if it changed nothing. A result that comes too late is taken back by the bridge: lookups are
    /// forgotten, handles released.
    case later(@Sendable () async -> Result<Value, Errno>, on: EventLoopExecutor? = nil)
}

extension Outcome {
    /// Goes on with what it came to.
    public func followed<Next: Sendable>(
        on executor: EventLoopExecutor? = nil,
        by next: @escaping @Sendable (Value) async -> Result<Next, Errno>
    ) -> Outcome<Next> {
        switch self {
        case .failed(let errno): .failed(errno)
        case .done(let value): .later({ await next(value) }, on: executor)
        case .later(let work, let place):
            .later({
                switch await work() {
                case .success(let value): await next(value)
                case .failure(let errno): .failure(errno)
                }
            }, on: place)
        }
    }
}

extension Result where Failure == Errno {
    /// Of waiting until something that was done is saved. Who hears of an interruption does it once more, so that is not said.
    public var ofWhatIsDone: Self { mapError { $0 == .interrupted ? .ioError : $0 } }
}

/// An open file or directory of one client; the number goes to the kernel and back.
public typealias Handle = UInt64

public struct LockRange: Equatable, Sendable {
    public enum Kind: UInt8, Sendable { case shared, exclusive, unlock }

    public var kind: Kind
    public var start: UInt64
    /// Inclusive, as the kernel gives it; `UInt64.max` is the end of the file whatever its size.
    public var end: UInt64
    public var pid: UInt32

    public init(kind: Kind, start: UInt64, end: UInt64, pid: UInt32) {
        self.kind = kind
        self.start = start
        self.end = end
        self.pid = pid
    }
}

/// A mounted volume as the kernel bridge sees it: the operations of the kernel's protocol, one function each.
///
/// Lookup counts (+1 for each successful lookup, create, make, symlink, link and directory-plus entry) are the volume's
/// business: `forget` gives them back. Permission bits are checked by the kernel (`default_permissions`); set-user-id and
/// set-group-id are the volume's to clear, when a file is given away, and when others than root write to it or cut it.
public protocol FileSystemOperations: Sendable {
    /// - Parameter thread: of the kernel's, which opens what it has looked up.
    func lookup(_ name: [UInt8], in parent: InodeNumber, by thread: Int32) -> Outcome<Attributes>
    func forget(_ inode: InodeNumber, lookups: UInt64)
    func attributes(of inode: InodeNumber) -> Outcome<Attributes>
    /// - Parameter byName: as truncate(2) does it, and not ftruncate(2).
    func setAttributes(of inode: InodeNumber, to changes: AttributeChanges, byName: Bool, by caller: Caller)
        -> Outcome<Attributes>
    /// Whether others may change names at any moment: then the kernel has to ask each time.
    var isShared: Bool { get }
    /// Whether the kernel may have pages of it from before another client's change.
    func hasOldPages(_ inode: InodeNumber) -> Bool

    func readLink(_ inode: InodeNumber) -> Outcome<[UInt8]>
    func makeSymlink(_ name: [UInt8], in parent: InodeNumber, to target: [UInt8], by caller: Caller)
        -> Outcome<Attributes>
    func makeNode(
        _ name: [UInt8], in parent: InodeNumber, type: InodeType, permissions: UInt16, device: UInt32, by caller: Caller
    ) -> Outcome<Attributes>
    func makeDirectory(_ name: [UInt8], in parent: InodeNumber, permissions: UInt16, by caller: Caller)
        -> Outcome<Attributes>
    func link(_ inode: InodeNumber, to name: [UInt8], in parent: InodeNumber, by caller: Caller) -> Outcome<Attributes>
    func unlink(_ name: [UInt8], in parent: InodeNumber, by caller: Caller) -> Outcome<Void>
    func removeDirectory(_ name: [UInt8], in parent: InodeNumber, by caller: Caller) -> Outcome<Void>
    func rename(
        _ name: [UInt8], in parent: InodeNumber, to newName: [UInt8], in newParent: InodeNumber, mode: RenameMode,
        by caller: Caller
    ) -> Outcome<Void>

    /// `exclusive`: O_EXCL. Without it an existing file is opened (and emptied when `truncate`).
    func create(
        _ name: [UInt8], in parent: InodeNumber, permissions: UInt16, flags: OpenFlags, by caller: Caller
    ) -> Outcome<(Attributes, OpenFile)>
    /// A file without a name (O_TMPFILE).
    func createUnnamed(in parent: InodeNumber, permissions: UInt16, flags: OpenFlags, by caller: Caller)
        -> Outcome<(Attributes, OpenFile)>
    func open(_ inode: InodeNumber, flags: OpenFlags, by caller: Caller) -> Outcome<OpenFile>
    /// close(2) of one descriptor; errors of earlier writes are reported here and by `sync`. Gives up the owner's range
    /// locks on the file: the kernel sends no unlock for them.
    func flush(_ handle: Handle, lockOwner: UInt64) -> Outcome<Void>
    /// The last descriptor is closed. Gives up the handle's whole-file lock.
    func release(_ handle: Handle)
    func read(_ handle: Handle, offset: UInt64, count: Int) -> Outcome<FileBytes>
    /// `data` is only valid during the call; everything is taken in before it returns.
    /// `appends`: at the end of the file (O_APPEND), which the kernel takes to be at `offset`; another client may have moved it.
    func write(
        _ handle: Handle, offset: UInt64, appends: Bool, data: UnsafeRawBufferPointer, by caller: Caller
    ) -> Outcome<Int>
    func sync(_ handle: Handle, dataOnly: Bool) -> Outcome<Void>
    func allocate(_ handle: Handle, mode: Int32, offset: UInt64, length: UInt64, by caller: Caller) -> Outcome<Void>
    /// `whence` SEEK_DATA or SEEK_HOLE.
    func seek(_ handle: Handle, offset: UInt64, whence: Int32) -> Outcome<UInt64>
    func copyRange(
        from source: Handle, offset: UInt64, to target: Handle, offset targetOffset: UInt64, count: UInt64,
        by caller: Caller
    ) -> Outcome<Int>

    func openDirectory(_ inode: InodeNumber) -> Outcome<Handle>
    /// Up to `limit` entries from position `offset` on (0 is the start), `.` and `..` included. With `attributes` each
    /// entry but `.` and `..` counts as a lookup: the bridge gives back (`forget`) those its buffer had no room for.
    func readDirectory(_ handle: Handle, offset: UInt64, limit: Int, attributes: Bool) -> Outcome<[ListedEntry]>
    func releaseDirectory(_ handle: Handle)
    func syncDirectory(_ handle: Handle) -> Outcome<Void>
    /// Everything acknowledged until now is on disk when it returns.
    func save() async -> Result<Void, Errno>

    func usage() -> Outcome<VolumeUsage>

    /// `flags`: XATTR_CREATE, XATTR_REPLACE.
    func setExtendedAttribute(_ name: [UInt8], of inode: InodeNumber, to value: [UInt8], flags: Int32, by caller: Caller)
        -> Outcome<Void>
    func extendedAttribute(_ name: [UInt8], of inode: InodeNumber) -> Outcome<[UInt8]>
    func extendedAttributes(of inode: InodeNumber) -> Outcome<[[UInt8]]>
    func removeExtendedAttribute(_ name: [UInt8], of inode: InodeNumber, by caller: Caller) -> Outcome<Void>

    func testLock(_ handle: Handle, owner: UInt64, range: LockRange) -> Outcome<LockRange?>
    /// `wait`: block until granted (F_SETLKW). The task is cancelled when the caller is interrupted.
    func setLock(_ handle: Handle, owner: UInt64, range: LockRange, wait: Bool) -> Outcome<Void>
    func setWholeFileLock(_ handle: Handle, owner: UInt64, kind: LockRange.Kind, wait: Bool) -> Outcome<Void>
}

/// open(2)'s flags as far as a file system sees them.
public struct OpenFlags: OptionSet, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let read = OpenFlags(rawValue: 1)
    public static let write = OpenFlags(rawValue: 2)
    public static let append = OpenFlags(rawValue: 4)
    public static let truncate = OpenFlags(rawValue: 8)
    public static let exclusive = OpenFlags(rawValue: 16)
    /// O_SYNC, O_DSYNC: every write is on disk when it returns.
    public static let synchronous = OpenFlags(rawValue: 32)
    /// O_DIRECT: past the kernel's page cache.
    public static let direct = OpenFlags(rawValue: 64)
}

public struct OpenFile: Sendable {
    public var handle: Handle
    /// The kernel may keep the pages it has of this file: its contents have not changed since it read them.
    public var keepCache: Bool
    /// Reads and writes come here as the program makes them. Else the kernel cuts what is written at the edges of its pages, and
    /// what another machine appends gets in between.
    public var isDirect: Bool

    public init(handle: Handle, keepCache: Bool, isDirect: Bool) {
        self.handle = handle
        self.keepCache = keepCache
        self.isDirect = isDirect
    }
}

public struct ListedEntry: Sendable {
    public var entry: DirectoryEntry
    /// Where reading goes on after this entry.
    public var nextOffset: UInt64
    /// Present when attributes were asked for and the entry is not `.` or `..`.
    public var attributes: Attributes?

    public init(entry: DirectoryEntry, nextOffset: UInt64, attributes: Attributes?) {
        self.entry = entry
        self.nextOffset = nextOffset
        self.attributes = attributes
    }
}

/// Bytes of a file in the pieces they are held in, so that the reply can gather them without a copy of ours.
public struct FileBytes: Sendable {
    /// Slices of opened frames, in order.
    public var pieces: [ArraySlice<UInt8>]
    public var count: Int

    public init(pieces: [ArraySlice<UInt8>]) {
        self.pieces = pieces
        self.count = pieces.reduce(0) { $0 + $1.count }
    }

    /// All of it in one piece. Not by `joined()`, which goes byte by byte: 150 us for a chunk.
    public var joined: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        for piece in pieces { bytes.append(contentsOf: piece) }
        return bytes
    }
}
