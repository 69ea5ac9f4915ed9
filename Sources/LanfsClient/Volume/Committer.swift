import Synchronization
import SystemPackage

/// Decides when to commit: one at a time, one for everybody who waits, and within the interval when nobody does.
final class Committer: Sendable {
    private struct State {
        var waiters: [(operations: UInt64, continuation: CheckedContinuation<Result<Void, Errno>, Never>)] = []
        var isRunning = false
        /// L2: another client waits for the lease.
        var handsOver = false
        /// Somebody waits for what is in the next commit to be cut.
        var isHurried = false
        var errors = SaidLately()
    }

    private let state = Mutex(State())
    /// A file that was made and stays open is seen on other machines within a tenth of a second; one that is closed before that
    /// costs no commit of its own.
    private static let nameInterval = Duration.milliseconds(50)

    private let timerIsSet = Atomic<Bool>(false)
    private let nameTimerIsSet = Atomic<Bool>(false)

    /// Something changed: it will be committed within the interval.
    func noteChange(_ volume: Volume) {
        guard !timerIsSet.load(ordering: .relaxed), !timerIsSet.exchange(true, ordering: .acquiringAndReleasing) else {
            return
        }
        Task.detached(executorPreference: volume.executor) {
            try? await Task.sleep(for: volume.options.commitInterval)
            self.timerIsSet.store(false, ordering: .releasing)
            self.start(volume)
        }
    }

    /// A name was made for which nobody waits.
    func noteName(_ volume: Volume) {
        guard !nameTimerIsSet.exchange(true, ordering: .acquiringAndReleasing) else { return }
        Task.detached(executorPreference: volume.executor) {
            try? await Task.sleep(for: Self.nameInterval)
            self.nameTimerIsSet.store(false, ordering: .releasing)
            guard !volume.isClosed.load(ordering: .acquiring) else { return }
            if volume.isShared, volume.current({ $0.hasUnsavedWork }) { self.hurry(volume) }
        }
    }

    /// Somebody waits for what is in the next commit.
    func hurry(_ volume: Volume) {
        state.withLock { $0.isHurried = true }
        start(volume)
    }

    /// Returns once everything acknowledged up to `operations` is in a chosen root.
    func wait(for operations: UInt64, of volume: Volume) async -> Result<Void, Errno> {
        await withCheckedContinuation { continuation in
            state.withLock { $0.waiters.append((operations, continuation)) }
            start(volume)
        }
    }

    /// L2: another client waits. The committer itself gives the lease back, because that must not happen while a commit or
    /// the tidying up after one is under way.
    func handOver(_ volume: Volume) {
        state.withLock { $0.handsOver = true }
        start(volume)
    }

    /// What is acknowledged could not be saved just now; the other client goes on waiting.
    private func handOverLater(_ volume: Volume) {
        Task(executorPreference: volume.executor) {
            try? await Task.sleep(for: .seconds(1))
            if volume.register.isHeld, !volume.isClosed.load(ordering: .acquiring) { self.handOver(volume) }
        }
    }

    private func start(_ volume: Volume) {
        let starts = state.withLock { state in
            guard !state.isRunning else { return false }
            state.isRunning = true
            return true
        }
        guard starts else { return }
        Task.detached(executorPreference: volume.executor) { await self.loop(volume) }
    }

    private func loop(_ volume: Volume) async {
        while true {
            let handsOver = state.withLock { state in
                defer { state.handsOver = false }
                state.isHurried = false
                return state.handsOver
            }
            let outcome: Result<UInt64, Errno>
            do throws(VolumeError) {
                outcome = .success(try await handsOver ? volume.handOver() : volume.commit())
            } catch {
                if state.withLock({ $0.errors.isNews("\(error)") }) { volume.log.error("could not save: \(error)") }
                outcome = .failure(error.errno)
            }
            let released = state.withLock { state in
                let released: [CheckedContinuation<Result<Void, Errno>, Never>]
                switch outcome {
                case .success(let covered):
                    state.errors.forget()
                    released = state.waiters.filter { $0.operations <= covered }.map(\.continuation)
                    state.waiters.removeAll { $0.operations <= covered }
                case .failure:
                    released = state.waiters.map(\.continuation)
                    state.waiters = []
                }
                return released
            }
            for continuation in released { continuation.resume(returning: outcome.map { _ in }) }
            if handsOver, case .failure = outcome { handOverLater(volume) }
            if case .success = outcome, !handsOver {
                do throws(VolumeError) {
                    try await volume.afterCommit()
                } catch {
                    volume.log.warning("tidying up after a commit has to wait: \(error)")
                }
            }
            let goesOn = state.withLock { state in
                state.isRunning = !state.waiters.isEmpty || state.handsOver || state.isHurried
                return state.isRunning
            }
            if !goesOn {
                // A timer that fired while the commit ran found it running: what came after the cut needs another. A
                // failed one is tried again, unless nothing can be saved any more.
                let wantsMore = volume.current {
                    ($0.hasUnsavedWork || ($0.locks.isChanged && $0.hasLease && !$0.locks.otherSessions.isEmpty)) && $0.failure == nil
                }
                if wantsMore, !volume.isClosed.load(ordering: .acquiring) { noteChange(volume) }
                return
            }
        }
    }
}
