import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem
import LanfsNetwork
import Synchronization
import SystemPackage

/// Between libfuse's callbacks and the volume: each request is answered on the thread that read it, unless the volume
/// has to fetch or to wait; then a task answers it.
final class Bridge: Sendable {
    /// Concrete types would gain nothing: the room is compiled without the volume's, so that generic code would call
    /// through the same witness table.
    let operations: any FileSystemOperations
    let policy: CachePolicy
    let pending: PendingRequests
    /// What was agreed with the kernel, once it asked.
    let agreement = ConditionLock<Agreement?>(nil)

    let isFirstAnswer = Atomic<Bool>(true)
    private let synchrony: Synchrony

    init(_ operations: any FileSystemOperations, _ options: MountOptions) {
        self.operations = operations
        policy = options.cache
        synchrony = options.synchrony
        pending = PendingRequests(patience: options.interruptAfter)
    }

    /// The session keeps the bridge alive for as long as libfuse can call.
    static func of(_ request: fuse_req_t) -> Bridge? {
        fuse_req_userdata(request).map { Unmanaged<Bridge>.fromOpaque($0).takeUnretainedValue() }
    }

    @inline(__always)
    func settle<Value>(
        _ request: Request, _ outcome: Outcome<Value>, _ rule: WaitRule, as answer: Answer<Value>
    ) {
        switch outcome {
        case .done(let value):
            if answer.send(self, request, value) != 0 { answer.undo(self, value) }
        case .failed(let error):
            answer.fail(self, request, error)
        case .later(let work, let executor):
            wait(request, rule, answer, work, executor)
        }
    }

    /// As `settle`, for a request that changes something: mounted with `sync`, or with `dirsync` if it changes names, the
    /// answer waits for the disk. The kernel asks for fsync(2) after a write by itself, but after nothing else.
    @inline(__always)
    func settleChange<Value>(
        _ request: Request, _ outcome: Outcome<Value>, ofNames: Bool = false, as answer: Answer<Value>
    ) {
        guard synchrony == .everything || ofNames && synchrony == .names else {
            return settle(request, outcome, .changing, as: answer)
        }
        settleSaved(request, outcome, as: answer)
    }

    /// As `settle`, and the answer waits for the disk.
    func settleSaved<Value>(_ request: Request, _ outcome: Outcome<Value>, as answer: Answer<Value>) {
        let saved = outcome.followed { [self] value -> Result<Value, Errno> in
            let result = await operations.save()
            if case .failure = result { answer.undo(self, value) }
            return result.ofWhatIsDone.map { value }
        }
        settle(request, saved, .changing, as: answer)
    }

    private func wait<Value>(
        _ request: Request, _ rule: WaitRule, _ answer: Answer<Value>,
        _ work: @escaping @Sendable () async -> Result<Value, Errno>, _ executor: EventLoopExecutor?
    ) {
        guard let id = pending.add(request, rule) else {
            request.fail(.socketNotConnected)
            return
        }
        // Before the task starts: afterwards the request may be answered, and gone, at any moment. libfuse is given a
        // number, not a pointer: its callback may run while another thread answers.
        fuse_req_interrupt_func(
            request.raw,
            { raw, id in
                if let raw { Bridge.of(raw)?.pending.interrupt(UInt64(UInt(bitPattern: id))) }
            }, UnsafeMutableRawPointer(bitPattern: UInt(id)))

        let start = { [self] in
            let task = Task(executorPreference: executor) { [self] in
                let result = await work()
                let taken = pending.take(id) { request in
                    switch result {
                    case .success(let value):
                        if answer.send(self, request, value) != 0 { answer.undo(self, value) }
                    case .failure(let error):
                        answer.fail(self, request, error)
                    }
                }
                if !taken, case .success(let value) = result { answer.undo(self, value) }
            }
            pending.attach(task, to: id)
        }
        if let executor { executor.startHere(start) } else { start() }
    }

    /// How long attributes stay true, in seconds. A write takes set-user-id and set-group-id away without the kernel
    /// being told, so it asks anew whenever it matters.
    func validity(_ attributes: Attributes) -> Double {
        attributes.type == .regular && attributes.permissions & 0o6000 != 0 ? 0 : policy.attributes.inSeconds
    }

    /// What the kernel remembers of an inode and its name.
    func entry(_ attributes: Attributes) -> fuse_entry_param {
        // Inode numbers are never used twice (T4): one generation is enough.
        fuse_entry_param(
            ino: attributes.inode, generation: 0, attr: stat(attributes), attr_timeout: validity(attributes),
            entry_timeout: operations.isShared ? 0 : policy.entries.inSeconds)
    }
}

/// A name as the kernel hands it over: bytes in any encoding.
func bytes(_ name: UnsafePointer<CChar>?) -> [UInt8] {
    guard let name else { return [] }
    return [UInt8](UnsafeRawBufferPointer(start: name, count: strlen(name)))
}
