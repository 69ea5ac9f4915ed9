import Glibc

/// Seconds since some fixed moment.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Ends a measurement that hangs: a table with a hole in it is better than none.
enum Watchdog {
    static func start(seconds: Int) {
        startThread {
            sleep(UInt32(clamping: seconds))
            if let child = Spawning.child { kill(-child, SIGKILL) }
            complain("not done after \(seconds) seconds")
            _exit(124)
        }
    }
}

/// Threads of our own: the loops block in system calls, which tasks must not.
@discardableResult
func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t {
    final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(body)).toOpaque()
    let status = pthread_create(
        &thread, nil,
        { box in
            guard let box else { return nil }
            Unmanaged<Box>.fromOpaque(box).takeRetainedValue().body()
            return nil
        }, box)
    precondition(status == 0, "no thread can be started")
    return thread
}
