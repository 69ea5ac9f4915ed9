import Synchronization

/// Waits for work that others share, but no longer than the caller wants to: until it is cancelled (its process was
/// interrupted) or `timeout` is over. The work itself goes on.
///
/// - Returns: `nil` when the caller gave up.
func patiently<Value: Sendable>(
    upTo timeout: Duration?, on executor: (any TaskExecutor)?, _ work: @escaping @Sendable () async -> Value
) async -> Value? {
    let wait = OneWait<Value>()
    Task.detached(executorPreference: executor) { wait.finish(await work()) }
    if let timeout {
        Task.detached(executorPreference: executor) {
            try? await Task.sleep(for: timeout)
            wait.finish(nil)
        }
    }
    return await wait.value
}

extension Volume {
    /// Waits for such work as long as the person who mounted wants to (`--timeout`).
    ///
    /// - Throws: what the work throws; `.interrupted` or `.timedOut` when the caller gave up.
    func asLongAsWanted(
        _ work: @escaping @Sendable () async throws(VolumeError) -> Void
    ) async throws(VolumeError) {
        let outcome = await patiently(upTo: options.timeout, on: executor) {
            () async -> Result<Void, VolumeError> in
            do throws(VolumeError) {
                return .success(try await work())
            } catch {
                return .failure(error)
            }
        }
        guard let outcome else { throw Task.isCancelled ? .failed(.interrupted) : .timedOut }
        try outcome.get()
    }
}

/// One continuation, resumed by whoever comes first.
final class OneWait<Value: Sendable>: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<Value?, Never>)
        case over(Value?)
    }

    private let state = Mutex(State.idle)

    /// Asked for once. `nil` when the asking task was cancelled before there was a value.
    var value: Value? {
        get async {
            await withTaskCancellationHandler {
                await withCheckedContinuation { begin($0) }
            } onCancel: {
                finish(nil)
            }
        }
    }

    private func begin(_ continuation: CheckedContinuation<Value?, Never>) {
        let result = state.withLock { state -> Value?? in
            if case .over(let value) = state { return .some(value) }
            state = .waiting(continuation)
            return nil
        }
        if let result { continuation.resume(returning: result) }
    }

    func finish(_ value: Value?) {
        let continuation = state.withLock { state -> CheckedContinuation<Value?, Never>? in
            switch state {
            case .over: return nil
            case .idle:
                state = .over(value)
                return nil
            case .waiting(let continuation):
                state = .over(value)
                return continuation
            }
        }
        continuation?.resume(returning: value)
    }
}
