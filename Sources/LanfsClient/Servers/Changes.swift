import NIOCore
import Synchronization

/// Something that changes, and those who wait for it to change.
final class Changes: Sendable {
    private struct State {
        var count: UInt64 = 0
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())
    private let eventLoop: any EventLoop

    init(on eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// To be read before what may change is looked at.
    var count: UInt64 { state.withLock { $0.count } }

    func happened() {
        let waiters = state.withLock { state in
            state.count += 1
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns once there was a change later than `count`, or somewhat after `time`.
    func next(after count: UInt64, until time: ContinuousClock.Instant? = nil) async {
        if let time {
            eventLoop.scheduleTask(in: TimeAmount(max(.milliseconds(1), time - .now))) { [weak self] in self?.happened() }
        }
        await withCheckedContinuation { continuation in
            let isNews = state.withLock { state in
                if state.count == count { state.waiters.append(continuation) }
                return state.count != count
            }
            if isNews { continuation.resume() }
        }
    }
}
