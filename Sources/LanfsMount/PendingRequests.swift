import CFuse
import Glibc
import SystemPackage

/// What an interrupt may do to a request that waits.
enum WaitRule: Sendable {
    /// Changes nothing: answered with EINTR in time, whatever its work does.
    case readOnly
    /// Changes something: its work is asked to stop, and says itself what came of it.
    case changing
    /// Waits for somebody else's lock: asked to stop at the first interrupt, as fcntl(2) promises.
    case lock
    /// close(2): what it waits for goes on without it. The kernel sends no interrupt once a process exits.
    case closing
}

/// The requests whose answers are being worked on by tasks. Each is answered once: by its task, by an interrupt or by
/// the end of the mount, whoever takes it first.
final class PendingRequests: Sendable {
    private struct Waiting: Sendable {
        let request: Request
        let rule: WaitRule
        let since: MonotonicTime
        var interrupted: MonotonicTime?
        var task: Task<Void, Never>?
        var cancelled = false
    }

    private struct State {
        var next: UInt64 = 1
        var waiting: [UInt64: Waiting] = [:]
        /// Requests to look at every now and then.
        var watched: [UInt64] = []
        /// Somebody came to be watched since the last look.
        var fresh = false
        /// Taken, and being answered just now.
        var replying = 0
        var closed = false
    }

    private let state = ConditionLock(State())
    /// How long an interrupt is ignored: signals that handlers take are no reason to break a read.
    private let patience: Duration

    init(patience: Duration) { self.patience = patience }

    // MARK: the life of a request

    /// Nil when the mount is ending.
    func add(_ request: Request, _ rule: WaitRule) -> UInt64? {
        let (id, wakes) = state.withLock { state -> (UInt64?, Bool) in
            guard !state.closed else { return (nil, false) }
            let id = state.next
            state.next += 1
            state.waiting[id] = Waiting(request: request, rule: rule, since: .now)
            guard rule == .closing else { return (id, false) }
            let wakes = state.watched.isEmpty
            state.watched.append(id)
            if wakes { state.fresh = true }
            return (id, wakes)
        }
        if wakes { state.change { _ in } }
        return id
    }

    func attach(_ task: Task<Void, Never>, to id: UInt64) {
        let cancel = state.withLock { state in
            state.waiting[id]?.task = task
            // Gone: answered already, by the task itself or by an interrupt.
            return state.waiting[id]?.cancelled ?? true
        }
        if cancel { task.cancel() }
    }

    /// Runs `answer` with the request unless somebody answered it before: then false.
    func take(_ id: UInt64, _ answer: (Request) -> Void) -> Bool {
        let request = state.withLock { state -> Request? in
            guard let waiting = state.waiting.removeValue(forKey: id) else { return nil }
            state.replying += 1
            return waiting.request
        }
        guard let request else { return false }
        answer(request)
        state.change { $0.replying -= 1 }
        return true
    }

    var count: Int { state.withLock { $0.waiting.count + $0.replying } }

    /// Called by libfuse on the thread that read the interrupt.
    func interrupt(_ id: UInt64) {
        state.change { state in
            guard state.waiting[id] != nil, state.waiting[id]?.interrupted == nil else { return }
            state.waiting[id]?.interrupted = .now
            if !state.watched.contains(id) { state.watched.append(id) }
            state.fresh = true
        }
    }

    /// Answers all with `error` and lets no new one in. Returns when no answer is under way any more.
    func close(answering error: Errno) {
        let left = state.change { state in
            state.closed = true
            state.fresh = true
            let left = state.waiting
            state.waiting = [:]
            state.watched = []
            return left
        }
        for waiting in left.values {
            waiting.request.fail(error)
            waiting.task?.cancel()
        }
        _ = state.wait { $0.replying == 0 ? true : nil }
    }

    // MARK: interrupts

    /// Runs on a thread of its own until `close`.
    func watch() {
        var tick: Duration?
        while true {
            let round = state.wait(upTo: tick) { state -> [UInt64]? in
                guard state.fresh else { return nil }
                state.fresh = false
                return state.watched
            }
            if state.withLock({ $0.closed }) { return }
            for id in round ?? state.withLock({ $0.watched }) where !mayWait(id) {
                state.withLock { state in state.watched.removeAll { $0 == id } }
            }
            tick = state.withLock { $0.watched.isEmpty } ? nil : .milliseconds(50)
        }
    }

    /// Whether the request goes on waiting and being watched.
    private func mayWait(_ id: UInt64) -> Bool {
        guard let waiting = state.withLock({ $0.waiting[id] }) else { return false }
        let now = MonotonicTime.now
        if let interrupted = waiting.interrupted {
            let due = waiting.rule == .lock || now >= interrupted.adding(patience)
                || CallerState.of(waiting.request.thread) == .killed
            guard due else { return true }
            giveUp(id, waiting)
            return false
        }
        guard waiting.rule == .closing, now >= waiting.since.adding(.seconds(1)) else {
            return waiting.rule == .closing
        }
        switch CallerState.of(waiting.request.thread) {
        case .killed: break
        case .exiting where now >= waiting.since.adding(patience): break
        case .alive, .exiting, .unknown: return true
        }
        giveUp(id, waiting)
        return false
    }

    private func giveUp(_ id: UInt64, _ waiting: Waiting) {
        switch waiting.rule {
        case .readOnly, .closing:
            _ = take(id) { $0.fail(.interrupted) }
            waiting.task?.cancel()
        case .changing, .lock:
            let task = state.withLock { state in
                state.waiting[id]?.cancelled = true
                return state.waiting[id]?.task
            }
            task?.cancel()
        }
    }
}
