import Glibc

/// Termination signals as events: blocked in every thread, taken by one that waits for them.
public enum Signals {
    public static let termination = [SIGTERM, SIGINT, SIGHUP]

    /// Call first thing in `main`: threads inherit what is blocked. SIGPIPE is ignored from then on: a write to a
    /// closed connection is an error, not the end.
    public static func block(_ signals: [Int32] = termination) {
        var set = make(signals)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
    }

    /// Blocks the calling thread until one of the signals comes.
    public static func wait(for signals: [Int32] = termination) -> Int32 {
        var set = make(signals)
        var number: Int32 = 0
        while sigwait(&set, &number) != 0 {}
        return number
    }

    /// Calls `handler` for each signal that comes, from a thread of its own.
    public static func watch(
        _ signals: [Int32] = termination, _ handler: @escaping @Sendable (Int32) -> Void
    ) throws(MountError) {
        try PlainThread(name: "lanfs-signals") {
            while true { handler(wait(for: signals)) }
        }.detach()
    }

    private static func make(_ signals: [Int32]) -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in signals { sigaddset(&set, number) }
        return set
    }
}
