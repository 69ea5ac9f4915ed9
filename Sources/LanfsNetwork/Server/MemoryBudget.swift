import NIOCore
import Synchronization

/// Bytes that all connections of a listener together may hold for requests that are not answered yet.
final class MemoryBudget: Sendable {
    private struct State {
        var used = 0
        var waiting = CircularBuffer<@Sendable () -> Void>()
    }

    let limit: Int
    private let state = Mutex(State())

    init(limit: Int) { self.limit = limit }

    var used: Int { state.withLock { $0.used } }

    /// Takes `count` bytes, or calls `wake` once some were given back. `isGuaranteed` takes them in any case: a
    /// connection that holds nothing always gets its one request, so that greedy others cannot stop it.
    func take(_ count: Int, isGuaranteed: Bool, orElse wake: @escaping @Sendable () -> Void) -> Bool {
        state.withLock { state in
            guard isGuaranteed || state.used + count <= limit else {
                state.waiting.append(wake)
                return false
            }
            state.used += count
            return true
        }
    }

    func giveBack(_ count: Int) {
        let woken = state.withLock { state in
            state.used -= count
            var woken = CircularBuffer<@Sendable () -> Void>(initialCapacity: 0)
            // All of them: who finds nothing left waits again.
            if state.used < limit { swap(&woken, &state.waiting) }
            return woken
        }
        for wake in woken { wake() }
    }
}
