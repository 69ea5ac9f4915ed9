import LanfsCrypto
import LanfsFileSystem
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import LanfsTree
import Logging
import Synchronization
import SystemPackage

/// One open volume: the session of this client with the servers that hold it.
///
/// Operations run on memory under one lock and never wait there. What is missing (a tree node, file data, the lease) is
/// fetched outside the lock, and the operation runs again from the start (architecture.md section 4, habit 2).
public final class Volume: Sendable {
    public let id: VolumeID
    let key: VolumeKey
    let blocks: BlockPool
    var executor: EventLoopExecutor { servers.executor }
    let register: RootRegister
    let watch: RootWatch
    let servers: Servers
    let memory: RootMemory
    let directories: UserDirectories
    let options: VolumeOptions
    let log: Logger

    private let state: Mutex<VolumeState>
    let foreignChangesListener = Mutex(ForeignChangesListener())
    let committer = Committer()
    let sealer = Sealer()
    let fetcher = FrameFetcher()
    let leaseLock = AsyncLock()
    /// One reservation of inode numbers at a time (T4).
    let reserving = AsyncLock()
    /// Held while room on full servers is looked for.
    let findingSpace = AsyncLock()
    /// Held while servers are asked for their room.
    let askingRoom = AsyncLock()
    /// One attempt at a time to go on from another client's root (L6).
    let goingOn = AsyncLock()
    let isClosed = Atomic<Bool>(false)
    let lockWatch = Mutex(LockWatch())
    let attention = Attention()
    /// Too few keepers answered to say which root is the newest, when servers had come and gone so many times; else `.max`.
    let outOfReach = Atomic<UInt64>(.max)
    /// This life of this client: names its commits (T5) and the unnamed files it keeps open.
    let incarnation: UInt128
    var orphanage: Incarnation { Incarnation(incarnation) }
    /// Tells later sessions on this machine that this one may still have files open; `nil` when it changes nothing.
    let lifeSign: LifeSign?

    init(
        id: VolumeID, key: VolumeKey, incarnation: UInt128, lifeSign: LifeSign?, servers: Servers,
        directories: UserDirectories, blocks: BlockPool,
        register: RootRegister, memory: RootMemory, options: VolumeOptions, state: consuming sending VolumeState,
        log: Logger
    ) {
        self.id = id
        self.servers = servers
        self.directories = directories
        self.memory = memory
        self.key = key
        self.blocks = blocks
        self.register = register
        watch = RootWatch(register, on: servers.eventLoop)
        self.options = options
        self.log = log
        self.incarnation = incarnation
        self.lifeSign = lifeSign
        self.state = Mutex(state)
    }

    /// Who hears of what other clients changed, once it reads as they left it; one, which must not block.
    public func tellOfForeignChanges(_ listener: @escaping @Sendable (InodeNumber) -> Void) {
        foreignChangesListener.withLock { $0.tell = listener }
    }

    /// Runs `body` on memory. Work that it asked for (sealing full groups) starts once the lock is free.
    func attempt<Value: Sendable>(
        _ body: (inout VolumeState) throws(Pause) -> Value
    ) -> Result<Value, Pause> {
        var requests: [SealRequest] = []
        var changed = false
        let result = state.withLock { state -> Result<Value, Pause> in
            let before = state.operations
            let result = Result { () throws(Pause) in try body(&state) }
            changed = state.operations != before
            if !state.sealRequests.isEmpty {
                requests = state.sealRequests
                state.sealRequests = []
            }
            return result
        }
        for request in requests { sealer.start(request, for: self) }
        if changed { committer.noteChange(self) }
        return result
    }

    /// An operation on what is known here, unless nobody asked for anything for long.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (inout VolumeState) throws(Pause) -> Value
    ) -> Outcome<Value> {
        attention.note() ? performOnNewest(body) : performOnKnown(body)
    }

    /// Runs `body` on memory and, when it has to pause, hands back the rest to be awaited.
    func performOnKnown<Value: Sendable>(
        _ body: @escaping @Sendable (inout VolumeState) throws(Pause) -> Value
    ) -> Outcome<Value> {
        switch attempt(body) {
        case .success(let value): .done(value)
        case .failure(.failed(let errno)): .failed(errno)
        case .failure(let pause):
            .later({ await self.resume(body, after: pause) }, on: pause.isShort ? executor : nil)
        }
    }

    /// Runs `body` until it does not have to pause.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable (inout VolumeState) throws(Pause) -> Value
    ) async throws(Errno) -> Value {
        switch attempt(body) {
        case .success(let value): return value
        case .failure(.failed(let errno)): throw errno
        case .failure(let pause): return try await resume(body, after: pause).get()
        }
    }

    func resume<Value: Sendable>(
        _ body: @Sendable (inout VolumeState) throws(Pause) -> Value, after pause: Pause
    ) async -> Result<Value, Errno> {
        var pause = pause
        var isLastTry = false
        while true {
            do throws(VolumeError) {
                try await resolve(pause, &isLastTry)
            } catch {
                // The file system's own answers are nobody's trouble.
                if case .failed = error {} else { log.error("\(error)") }
                return .failure(error.errno)
            }
            switch attempt(body) {
            case .success(let value): return .success(value)
            case .failure(.failed(let errno)): return .failure(errno)
            case .failure(let next): pause = next
            }
        }
    }

    /// Looks at the state.
    func current<Value: Sendable>(_ body: (borrowing VolumeState) -> Value) -> Value {
        state.withLock { body($0) }
    }

    /// Changes the state by what cannot pause.
    @discardableResult
    func update<Value: Sendable>(_ body: (inout VolumeState) -> Value) -> Value {
        state.withLock { body(&$0) }
    }

    /// Like `run`, for our own work, whose errors are told to people.
    func runToEnd<Value: Sendable>(
        _ body: @Sendable (inout VolumeState) throws(Pause) -> Value
    ) async throws(VolumeError) -> Value {
        var isLastTry = false
        while true {
            switch attempt(body) {
            case .success(let value): return value
            case .failure(.failed(let errno)): throw .failed(errno)
            case .failure(let pause): try await resolve(pause, &isLastTry)
            }
        }
    }

    /// Brings what a paused operation waits for.
    ///
    /// - Parameter isLastTry: room on the servers was looked for already, once for each operation.
    private func resolve(_ pause: Pause, _ isLastTry: inout Bool) async throws(VolumeError) {
        switch pause {
        case .failed(let errno): throw .failed(errno)
        case .node(let missing): try await loadNode(missing)
        case .frames(let frames): try await loadFrames(frames)
        case .lease: try await acquireLease()
        case .room: try await makeRoom()
        case .space:
            if isLastTry { throw .failed(.noSpace) }
            try await findSpace()
            isLastTry = true
        case .inodes: try await reserveInodeNumbers()
        }
    }
}

/// What the person who mounts can choose.
public struct VolumeOptions: Sendable {
    /// Bytes of memory for tree nodes and file data together.
    public var memory: Int = 256 << 20
    public var readOnly = false
    /// Files are copied from their first byte to their last: servers need not keep long ones in their page cache.
    public var isTransfer = false
    /// How long an operation waits for servers that are away; `nil` is for ever.
    public var timeout: Duration?
    /// R: the copies of each block, as soon as there are as many servers; `nil` leaves it as it is, and makes it 2 in a
    /// volume that is made.
    public var replicas: Int?
    /// M3: set when too few keepers are enough for this person, who is asked once more.
    public var recovery: (@Sendable (RecoveryNotice) -> Bool)?
    /// The name of a snapshot that is shown instead of the newest root (M3); nothing can be written then.
    public var snapshot: String? { didSet { if snapshot != nil { readOnly = true } } }
    /// Unsaved work is committed after this long without anybody asking.
    public var commitInterval: Duration = .seconds(1)

    public init() {}
}
