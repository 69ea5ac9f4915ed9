import Glibc

/// A value behind a lock. Mutex of the standard library wants what it guards to be free of references from elsewhere,
/// which nodes that refer to one another are not for the compiler.
final class Locked<Value>: @unchecked Sendable {
    // Sendable: the value is only touched with the lock held.
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var value: Value

    init(_ value: Value) {
        self.value = value
        pthread_mutex_init(lock, nil)
    }

    deinit {
        pthread_mutex_destroy(lock)
        lock.deallocate()
    }

    func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body(&value)
    }
}
