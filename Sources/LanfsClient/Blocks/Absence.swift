import Logging
import Synchronization

/// What people are told of reads that wait for servers that are away: one line for all of them.
final class Absence: Sendable {
    static let patience = Duration.seconds(2)

    private struct State {
        var waiting = 0
        var isTold = false
    }

    private let state = Mutex(State())

    func begin() { state.withLock { $0.waiting += 1 } }

    func end() {
        state.withLock { state in
            state.waiting -= 1
            if state.waiting == 0 { state.isTold = false }
        }
    }

    func tell(of names: String, _ log: Logger) {
        let isNews = state.withLock { state in
            defer { state.isTold = true }
            return !state.isTold
        }
        guard isNews else { return }
        log.warning(
            "reading waits: a block that is needed is on none of the servers that can be reached. It goes on when one of those comes back that may have it",
            metadata: ["away": "\(names)"])
    }
}
