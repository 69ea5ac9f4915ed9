import LanfsFileSystem
import SystemPackage

/// Names exclude each other between machines: who was told that it made, moved or removed one is the only one. So that is in a
/// chosen root before it is answered, as what is closed is (L4); unless this session is solo, when nobody else can tell.
extension Volume {
    /// As `perform`, for what others must not be able to do as well.
    ///
    /// - Parameter undo: takes back what the kernel would count on and never hears of.
    func performExclusively<Value: Sendable>(
        undo: @escaping @Sendable (Value) -> Void = { _ in },
        _ body: @escaping @Sendable (inout VolumeState) throws(Pause) -> Value
    ) -> Outcome<Value> {
        let outcome = perform { (state) throws(Pause) in (value: try body(&state), contests: state.contests) }
        switch outcome {
        case .failed(let errno): return .failed(errno)
        case .done(let done):
            guard isShared else { return .done(done.value) }
            return .later({ await self.saved(done.value, done.contests, undo) }, on: executor)
        case .later(let work, let place):
            return .later(
                {
                    switch await work() {
                    case .failure(let errno): .failure(errno)
                    case .success(let done):
                        self.isShared ? await self.saved(done.value, done.contests, undo) : .success(done.value)
                    }
                }, on: place)
        }
    }

    /// However long that takes: by then another machine may have had the lease, and done the same. What was done again on its root,
    /// and may have come to something else there, is not known to have been done (L6).
    private func saved<Value: Sendable>(
        _ value: Value, _ contests: Int, _ undo: @Sendable (Value) -> Void
    ) async -> Result<Value, Errno> {
        let outcome = await save()
        let isSame = current { $0.contests } == contests
        if case .success = outcome, isSame { return .success(value) }
        undo(value)
        return outcome.ofWhatIsDone.flatMap { .failure(.ioError) }
    }
}
