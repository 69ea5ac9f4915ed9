import Synchronization

/// Runs all attempts at once and returns the first success, or, when all have failed, the failure that tells a person
/// most. Does not wait for the losers: they are cancelled and end on their own, for a resolver or a TCP connection to
/// an address that swallows packets cannot be stopped half way.
func firstSuccess<Value: Sendable>(
    of attempts: [@Sendable () async -> Result<Value, NetworkError>]
) async throws(NetworkError) -> Value {
    guard !attempts.isEmpty else { throw .cancelled }
    let race = Race<Value>(runners: attempts.count)
    let result = await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
            race.wait(continuation)
            for attempt in attempts {
                race.add(Task { race.finished(await attempt()) })
            }
            if Task.isCancelled { race.end(with: .failure(.cancelled)) }
        }
    } onCancel: {
        race.end(with: .failure(.cancelled))
    }
    return try result.get()
}

private final class Race<Value: Sendable>: Sendable {
    private struct State {
        var continuation: CheckedContinuation<Result<Value, NetworkError>, Never>?
        var running: Int
        var failure: NetworkError?
        var tasks: [Task<Void, Never>] = []
        var isOver = false
    }

    private let state: Mutex<State>

    init(runners: Int) { state = Mutex(State(running: runners)) }

    func wait(_ continuation: CheckedContinuation<Result<Value, NetworkError>, Never>) {
        state.withLock { $0.continuation = continuation }
    }

    func add(_ task: Task<Void, Never>) {
        let isLate = state.withLock { state in
            if !state.isOver { state.tasks.append(task) }
            return state.isOver
        }
        if isLate { task.cancel() }
    }

    func finished(_ result: Result<Value, NetworkError>) {
        switch result {
        case .success: end(with: result)
        case .failure(let error):
            let last: NetworkError? = state.withLock { state in
                state.running -= 1
                if (state.failure?.weight ?? -1) < error.weight { state.failure = error }
                return state.running == 0 ? state.failure : nil
            }
            if let last { end(with: .failure(last)) }
        }
    }

    func end(with result: Result<Value, NetworkError>) {
        let (continuation, losers) = state.withLock { state in
            defer {
                // Before the wait has begun, `firstSuccess` looks at its cancellation once more.
                if state.continuation != nil { state.isOver = true }
                state.continuation = nil
                if state.isOver { state.tasks = [] }
            }
            return (state.continuation, state.continuation == nil ? [] : state.tasks)
        }
        for loser in losers { loser.cancel() }
        continuation?.resume(returning: result)
    }
}

extension NetworkError {
    /// What a person has to act on says more than "no answer" from an old address, and that more than nothing.
    fileprivate var weight: Int {
        switch self {
        case .cancelled: 0
        case .noAddress: 1
        default: isPermanent ? 3 : 2
        }
    }
}
