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
    /// close(2): what it waits for goes on without it.
    case closing
}

/// The requests whose answers are being worked on by tasks. Each is answered once: by its task, by an interrupt or by
/// the end of the mount, whoever takes it first.
final class PendingRequests: Sendable {
    private struct Waiting: Sendable {
        let request: Request
        /// Who waits for the answer. Kept here: the request may be answered, and gone, while somebody looks.
        let thread: pid_t
        let rule: WaitRule
        let since: MonotonicTime
        var interrupted: MonotonicTime?
        var task: Task<Void, Never>?
        var cancelled = false
    }

    private struct State {
        var next: UInt64 = 1
        var waiting: [UInt64: Waiting] = [:]
        /// Interrupted, and not given up yet.
        var interrupted: [UInt64] = []
        /// Somebody was interrupted since the last look.
        var fresh = false
        /// The watching thread sleeps until it is woken: nothing has waited for a while.
        var idle = true
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
        let thread = request.thread
        let (id, wakes) = state.withLock { state -> (UInt64?, Bool) in
            guard !state.closed else { return (nil, false) }
            let id = state.next
            state.next += 1
            state.waiting[id] = Waiting(request: request, thread: thread, rule: rule, since: .now)
            defer { state.idle = false }
            return (id, state.idle)
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
        let isClosed = state.withLock { state in
            state.replying -= 1
            return state.closed
        }
        // Only `close` waits for that.
        if isClosed { state.change { _ in } }
        return true
    }

    var count: Int { state.withLock { $0.waiting.count + $0.replying } }

    /// Called by libfuse on the thread that read the interrupt.
    func interrupt(_ id: UInt64) {
        state.change { state in
            guard state.waiting[id] != nil, state.waiting[id]?.interrupted == nil else { return }
            state.waiting[id]?.interrupted = .now
            state.interrupted.append(id)
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
            state.interrupted = []
            return left
        }
        for waiting in left.values {
            waiting.request.fail(error)
            waiting.task?.cancel()
        }
        _ = state.wait { $0.replying == 0 ? true : nil }
    }

    // MARK: watching

    /// How often the interrupted are looked at, and all others. The kernel tells of no signal when a process waits for
    /// a page, for direct I/O, or in exit(2): there only /proc tells that nobody wants the answer any more.
    private static let interruptedTick = Duration.milliseconds(50)
    private static let tick = Duration.seconds(1)

    private enum Step { case end, look }

    /// Runs on a thread of its own until `close`.
    func watch() {
        var nextScan = MonotonicTime.now
        // Going to sleep and being woken for each request would cost more than most requests.
        var wasEmpty = false
        while true {
            let (isIdle, hasInterrupted) = state.withLock { state in
                state.idle = wasEmpty && state.waiting.isEmpty
                wasEmpty = state.waiting.isEmpty
                return (state.idle, !state.interrupted.isEmpty)
            }
            let step = state.wait(upTo: isIdle ? nil : hasInterrupted ? Self.interruptedTick : Self.tick) { state in
                if state.closed { return Step.end }
                guard state.fresh || isIdle && !state.idle else { return nil }
                state.fresh = false
                return .look
            }
            if step == .end { return }
            lookAtInterrupted()
            if MonotonicTime.now >= nextScan {
                lookForTheDead()
                nextScan = MonotonicTime.now.adding(Self.tick)
            }
        }
    }

    private func lookAtInterrupted() {
        let now = MonotonicTime.now
        for id in state.withLock({ $0.interrupted }) {
            if let waiting = state.withLock({ $0.waiting[id] }) {
                let due =
                    waiting.rule == .lock || now >= (waiting.interrupted ?? now).adding(patience)
                    || CallerState.of(waiting.thread) == .killed
                guard due else { continue }
                giveUp(id, waiting)
            }
            state.withLock { state in state.interrupted.removeAll { $0 == id } }
        }
    }

    private func lookForTheDead() {
        let now = MonotonicTime.now
        let old = state.withLock { state in
            state.waiting.filter { now >= $0.value.since.adding(Self.tick) && !$0.value.cancelled }
        }
        for (id, waiting) in old {
            switch CallerState.of(waiting.thread) {
            case .killed: giveUp(id, waiting)
            // It ended by itself, and its last close waits: so long, but not for ever.
            case .exiting where waiting.rule == .closing && now >= waiting.since.adding(patience): giveUp(id, waiting)
            case .exiting, .alive, .unknown: break
            }
        }
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
