import Synchronization

/// Whether anybody uses the volume here. While nobody does, this session is not known to the keepers: whoever writes elsewhere is
/// alone then (L4), and closes files without waiting for a commit. The first operation after that looks for the newest root, which
/// makes the session known again.
final class Attention: Sendable {
    /// After the last operation.
    static let patience = Duration.seconds(10)

    private let isUsed = Atomic(true)
    private let isLost = Atomic(false)
    private let lastUse = Mutex(ContinuousClock.now)

    /// The keepers were told that this session is gone.
    var isAway: Bool { isLost.load(ordering: .acquiring) }

    /// To be called with each operation; returns whether it has to look for the newest root.
    func note() -> Bool {
        if !isUsed.load(ordering: .relaxed) { isUsed.store(true, ordering: .relaxed) }
        return isAway
    }

    /// To be asked now and then.
    func isIdle() -> Bool {
        lastUse.withLock { lastUse in
            if isUsed.exchange(false, ordering: .relaxed) { lastUse = .now }
            return ContinuousClock.now - lastUse >= Self.patience
        }
    }

    func leave() { isLost.store(true, ordering: .releasing) }
    func comeBack() { isLost.store(false, ordering: .releasing) }
}
