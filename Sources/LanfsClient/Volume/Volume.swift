import LanfsCrypto
import LanfsFileSystem
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
    let register: RootRegister
    let options: VolumeOptions
    let log: Logger

    private let state: Mutex<VolumeState>
    let committer: Committer
    let sealer: Sealer

    init(
        key: VolumeKey, blocks: BlockPool, register: RootRegister, options: VolumeOptions, state: consuming sending VolumeState,
        log: Logger
    ) throws(VolumeError) {
        guard let id = VolumeID(key.volumeID) else { throw .damaged("the volume key's public half") }
        self.id = id
        self.key = key
        self.blocks = blocks
        self.register = register
        self.options = options
        self.log = log
        self.state = Mutex(state)
        self.committer = Committer()
        self.sealer = Sealer()
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

    /// Runs `body` on memory and, when it has to pause, hands back the rest to be awaited.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (inout VolumeState) throws(Pause) -> Value
    ) -> Outcome<Value> {
        switch attempt(body) {
        case .success(let value): .done(value)
        case .failure(.failed(let errno)): .failed(errno)
        case .failure(let pause): .later { await self.resume(body, after: pause) }
        }
    }

    /// Runs `body` until it does not have to pause.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable (inout VolumeState) throws(Pause) -> Value
    ) async throws(Errno) -> Value {
        switch attempt(body) {
        case .success(let value): return value
        case .failure(let pause): return try await resume(body, after: pause).get()
        }
    }

    func resume<Value: Sendable>(
        _ body: @Sendable (inout VolumeState) throws(Pause) -> Value, after pause: Pause
    ) async -> Result<Value, Errno> {
        var pause = pause
        while true {
            do throws(Errno) {
                try await resolve(pause)
            } catch {
                return .failure(error)
            }
            switch attempt(body) {
            case .success(let value): return .success(value)
            case .failure(.failed(let errno)): return .failure(errno)
            case .failure(let next): pause = next
            }
        }
    }

    /// Brings what a paused operation waits for.
    private func resolve(_ pause: Pause) async throws(Errno) {
        do throws(VolumeError) {
            switch pause {
            case .failed(let errno): throw errno
            case .node(let missing): try await loadNode(missing)
            case .frames(let frames): try await loadFrames(frames)
            case .lease: try await acquireLease()
            case .room: try await makeRoom()
            case .inodes: try await reserveInodeNumbers()
            }
        } catch let error as VolumeError {
            log.error("\(error)")
            throw error.errno
        } catch let error as Errno {
            throw error
        } catch {
            throw .ioError
        }
    }
}

/// What the person who mounts can choose.
public struct VolumeOptions: Sendable {
    /// Bytes of memory for tree nodes and file data together.
    public var memory: Int = 256 << 20
    public var readOnly = false
    /// How long an operation waits for servers that are away; `nil` is for ever.
    public var timeout: Duration?
    /// Unsaved work is committed after this long without anybody asking.
    public var commitInterval: Duration = .seconds(1)

    public init() {}
}
