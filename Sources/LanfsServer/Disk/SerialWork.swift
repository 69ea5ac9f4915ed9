import Synchronization

/// Work that is done one piece after the other, by whichever worker finds nobody at it; the others leave theirs and go on.
///
/// For long writes to one file: the kernel lets in one at a time, and the next in line spins on its processor
/// (`rwsem_spin_on_owner`), which the hash of the next block, or a client on the same machine, could use.
final class SerialWork: Sendable {
    private struct State {
        var waiting: [@Sendable () -> Void] = []
        var isRunning = false
    }

    private let state = Mutex(State())

    /// Runs `body` before it returns, or leaves it to the thread that is at it.
    func run(_ body: @escaping @Sendable () -> Void) {
        let starts = state.withLock { state in
            state.waiting.append(body)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard starts else { return }
        while true {
            let batch = state.withLock { state in
                var batch: [@Sendable () -> Void] = []
                swap(&batch, &state.waiting)
                if batch.isEmpty { state.isRunning = false }
                return batch
            }
            if batch.isEmpty { return }
            for body in batch { body() }
        }
    }
}
