import CFuse
import Glibc
import SystemPackage

/// A thread outside Swift's task pool, where blocking is allowed. All signals but the waking one are blocked in it, so
/// that termination signals reach the thread that waits for them.
final class PlainThread: Sendable {
    private let thread: pthread_t
    private let finished = ConditionLock(false)

    private final class Start {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }

    /// `name`: at most 15 bytes, shown by ps and top.
    init(name: String, _ body: @escaping @Sendable () -> Void) throws(MountError) {
        let finished = finished
        let start = Start {
            lanfs_name_thread(name)
            body()
            finished.change { $0 = true }
        }
        // Set, not added: whoever starts this thread may have blocked the waking signal, as Swift's pool does. Signals
        // that stand for a fault of the thread's own stay with it.
        var mask = sigset_t()
        var before = sigset_t()
        sigfillset(&mask)
        for number in [lanfs_wake_signal(), SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT] {
            sigdelset(&mask, number)
        }
        pthread_sigmask(SIG_SETMASK, &mask, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }

        var thread = pthread_t()
        let retained = Unmanaged.passRetained(start)
        let status = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, retained.toOpaque())
        guard status == 0 else {
            retained.release()
            throw .threadsUnavailable(Errno(rawValue: status))
        }
        self.thread = thread
    }

    /// Waits for the end of the body; false after `timeout`.
    func hasFinished(within timeout: Duration) -> Bool {
        finished.wait(upTo: timeout) { $0 ? true : nil } ?? false
    }

    /// Waits for the end of the thread and frees it. Call once.
    func join() { pthread_join(thread, nil) }

    /// Lets the thread free itself when it ends. Call once, instead of `join`.
    func detach() { pthread_detach(thread) }

    /// Makes a blocking system call of the thread return EINTR.
    func wake() { pthread_kill(thread, lanfs_wake_signal()) }
}

/// Two ends of a stream that no child process inherits: what is written to `writing` comes out of `reading`.
func makeStream() throws(MountError) -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [-1, -1]
    // Not a pipe: pipe(2) cannot close on exec from the start, and pipe2 is out of Swift's sight.
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
        throw .threadsUnavailable(Errno(rawValue: errno))
    }
    return (ends[0], ends[1])
}
