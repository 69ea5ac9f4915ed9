import Synchronization

/// Carries the name of a wait from where it begins to the cancellation handler.
final class OneToken: Sendable {
    private let value = Atomic<UInt64>(0)

    func set(_ token: UInt64) { value.store(token, ordering: .releasing) }

    /// `nil` before `set`: whoever sets then looks at `Task.isCancelled` again.
    func get() -> UInt64? {
        let token = value.load(ordering: .acquiring)
        return token == 0 ? nil : token
    }
}
