import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage

/// Everything a mounted volume holds in memory, under one lock. What is here is the truth of this client: the chosen
/// root, the operations acknowledged since, and the file data not yet sealed. No I/O happens in here.
struct VolumeState {
    // MARK: The tree and what was done to it
    var tree: Tree
    private let guarded: GuardedNodes
    var nodes: NodeCache { guarded.cache }
    /// Changes since the last commit was cut, newest value of each key.
    var pending: [Key: [UInt8]?] = [:]
    /// Operations acknowledged so far; a commit covers a prefix of them (T1).
    var operations: UInt64 = 0
    /// The newest operation that is in a chosen root.
    var committedOperations: UInt64 = 0
    /// Those in between, to be done again should the lease be lost with them (L6).
    var log = OperationLog()
    /// That under way, and how often it was done.
    var redo: Redo?
    var redone = 0
    /// How often what was acknowledged here came to something else on another client's root (L6).
    var contests = 0
    /// Blocks that the tree named since the commit before the last, and that were not stored then.
    var adopted: Set<BlockID> = []
    /// How often in a row a commit was made anew that did not fit.
    var madeAnew = 0
    /// Grows with every change of the tree.
    private(set) var revision: UInt64 = 0

    // MARK: File data
    var frames: FrameCache
    var dirty: [InodeNumber: DirtyFile] = [:]
    var dirtyBytes = 0
    /// Unsaved file data kept in memory at most; writers wait beyond it.
    let dirtyLimit: Int
    var dirtyVersion: UInt64 = 0
    /// Chunk groups that are full and wait to be sealed in the background.
    var sealRequests: [SealRequest] = []
    /// Closed files with unsealed data, in the order they were closed: they are packed together.
    var closedDirty: [InodeNumber] = []
    var closedDirtyBytes = 0

    // MARK: What the kernel holds
    var handles = HandleTable()
    var lookups: [InodeNumber: UInt64] = [:]
    var locks: SharedLocks

    // MARK: Standing
    var chain: CommitChain
    /// Grows whenever the tree is replaced by what another client chose.
    var loads = 0
    /// What others changed can be read here, and whoever has to hear of it (`tellOfForeignChanges`) has not heard yet.
    var tellings = 0
    /// The tree has changes that were never chosen and never will be.
    var hasDropped = false
    /// A commit under way, or one whose outcome is not known yet (P5).
    var prepared: PreparedCommit?
    /// What was prepared is chosen, and perhaps not on the disks of W servers yet (B2).
    var owesFlush = false
    /// This client may change the volume until then (L1); checked at every change.
    var leaseEnd: ContinuousClock.Instant?
    var turn = Turn(since: .now)
    var readOnly: Bool
    var inodeNumbers: Range<InodeNumber> = 0..<0
    var room = Room()
    var houseKeptAt = ContinuousClock.now
    var commitsSinceHouseKept = 0

    /// The next commit makes it.
    var membership: MembershipChange?

    // MARK: Garbage
    var sparse = SparseBlocks()
    /// G4: the next commit raises the gcEpoch.
    var raisesGCEpoch = false
    /// What that commit made, for the audit that asked for it.
    var auditedRoot: AuditedRoot?
    var isAuditing = false
    /// Somebody wants to walk the root that the next commit makes, and this is it.
    var wantsNextRoot = false
    var nextRoot: AuditedRoot?
    /// While there are any, nothing is freed: what the roots reach that they walk stays readable.
    var walkers = 0
    var isRewriting = false
    /// The tree is that of a pinned root, whatever the volume's own root is by now.
    var showsSnapshot = false

    // MARK: Its end
    /// Set once what was acknowledged can no longer be saved: everything that would change the volume fails with this.
    var failure: Errno?
    /// The unsaved work is kept on this machine: nothing is committed any more.
    var isSetAside = false
    /// When an earlier session's unsaved work was last found too large for the servers.
    var tookUpInVain: ContinuousClock.Instant?
    /// Files that are open here and that another client removed, and the tree that has them still: their blocks stay readable
    /// for as long as servers keep what was freed (G7).
    var ghosts: [InodeNumber: Tree] = [:]
    /// Files that the kernel appended to elsewhere than it thinks.
    var movedEnds: Set<InodeNumber> = []
    var changedElsewhere = ForeignChanges()
    var renamedElsewhere = ForeignNames()

    /// `frameMemory`: bytes of file data, unsaved ones included.
    init(chain: CommitChain, session: Incarnation, nodeMemory: Int, frameMemory: Int, readOnly: Bool) {
        self.chain = chain
        self.locks = SharedLocks(session: session)
        self.tree = Tree(root: chain.contents.tree)
        self.guarded = GuardedNodes(cache: NodeCache(limitBytes: nodeMemory))
        self.dirtyLimit = min(32 << 20, frameMemory / 3)
        self.frames = FrameCache(limit: frameMemory - dirtyLimit)
        self.readOnly = readOnly
    }

    /// As `read`, of an inode that may be removed elsewhere.
    func read<Value>(
        of inode: InodeNumber, _ body: (inout Transaction) throws(Interruption) -> Value
    ) throws(Pause) -> Value {
        guard let ghost = ghosts[inode] else { return try read(body) }
        var transaction = Transaction(reading: ghost, nodes: nodes)
        do throws(Interruption) {
            return try body(&transaction)
        } catch {
            throw Pause(error)
        }
    }

    /// Runs a function of the file system that only reads.
    func read<Value>(
        _ body: (inout Transaction) throws(Interruption) -> Value
    ) throws(Pause) -> Value {
        var transaction = Transaction(reading: tree, nodes: nodes)
        do throws(Interruption) {
            return try body(&transaction)
        } catch {
            throw Pause(error)
        }
    }

    /// Runs a function of the file system and keeps what it changed, all of it or nothing.
    mutating func change<Value>(
        _ body: (inout Transaction) throws(Interruption) -> Value
    ) throws(Pause) -> Value {
        let value = try changeUncounted(body)
        operations += 1
        turn.changed(.now)
        return value
    }

    /// Like `change` for our own housekeeping, which nobody waits to see committed.
    mutating func changeUncounted<Value>(
        _ body: (inout Transaction) throws(Interruption) -> Value
    ) throws(Pause) -> Value {
        let value = try tree.change(nodes, &pending, body)
        revision += 1
        return value
    }

    /// What somebody asked for: done, and noted so that it can be done again on another root (L6).
    ///
    /// - Parameter before: see ``versionBefore(changing:)``.
    mutating func execute<Value>(
        by caller: Caller, before: ContentVersion? = nil,
        _ body: (inout Transaction) throws(Interruption) -> (Value, Operation?)
    ) throws(Pause) -> Value {
        try requireWritable()
        guard inodeNumbers.count > Self.numbersForCopies else { throw .inodes }
        let (value, operation) = try change(body)
        if let operation { log.append(operation, number: operations, by: caller, before: before) }
        return value
    }

    /// To be said of the first change of a file's contents in each commit.
    func versionBefore(changing inode: InodeNumber) throws(Pause) -> ContentVersion? {
        guard log.needsVersion(of: inode) else { return nil }
        return try read { (transaction) throws(Interruption) in try transaction.version(of: inode) }
    }

    /// Every operation that changes the volume starts with this.
    func requireWritable() throws(Pause) {
        if readOnly { throw .failed(.readOnlyFileSystem) }
        if let failure { throw .failed(failure) }
        guard hasLease else { throw .lease }
    }

    /// L1.
    var hasLease: Bool { leaseEnd.map { ContinuousClock.now < $0 } ?? false }

    /// Numbers that only conflicts may use: when there is one, none can be reserved first.
    static let numbersForCopies = 1 << 10

    /// Takes a number no inode has had (T4).
    mutating func takeInodeNumber() throws(Pause) -> InodeNumber {
        guard inodeNumbers.count > Self.numbersForCopies, let number = inodeNumbers.first else { throw .inodes }
        inodeNumbers = number + 1..<inodeNumbers.upperBound
        return number
    }

    /// Acknowledged and not known to be in a chosen root.
    var hasUnsavedWork: Bool { operations > committedOperations || prepared != nil }

    /// That, and our own housekeeping, which the next commit takes along and which nobody misses when it is dropped.
    var hasUncommittedWork: Bool {
        hasUnsavedWork || !pending.isEmpty || raisesGCEpoch || membership != nil || (locks.isChanged && !readOnly)
    }
}

/// The node cache as part of the state.
///
/// `@unchecked Sendable`: this reference is the only one (made in the initializer of the state, handed out only to code that
/// has the state), and the state lives in a mutex, so one thread at a time reaches the cache.
private struct GuardedNodes: @unchecked Sendable {
    let cache: NodeCache
}

/// How much the servers can still take, so that a write that would not fit fails with ENOSPC instead of being
/// acknowledged and lost.
struct Room {
    /// Kept free for the records that deletions and commits themselves need.
    static let reserve: UInt64 = 16 << 20

    var capacity: UInt64 = 0
    var usedByVolume: UInt64 = 0
    /// As the servers last said.
    private(set) var free: UInt64 = .max
    /// Acknowledged or sent since they said so.
    private(set) var promised: UInt64 = 0
    /// How often room was looked for because a write did not fit.
    var searches = 0

    /// Bytes that applications may still use.
    var left: UInt64 {
        let taken = promised + Self.reserve
        return free == .max ? 0 : free > taken ? free - taken : 0
    }

    func has(_ bytes: Int) -> Bool {
        let taken = promised &+ UInt64(bytes) &+ Self.reserve
        return free == .max || taken <= free
    }

    mutating func promise(_ bytes: Int) { promised += UInt64(max(0, bytes)) }

    /// `outstanding`: acknowledged bytes that the servers do not hold yet.
    mutating func learn(capacity: UInt64, free: UInt64, outstanding: Int) {
        self.capacity = capacity
        self.free = free
        promised = UInt64(max(0, outstanding))
    }
}
