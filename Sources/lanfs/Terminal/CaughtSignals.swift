import Glibc
import Synchronization

/// While this value lives, the signals that stop or end a process are not obeyed but told through a descriptor, so that
/// a terminal whose echo is off can be put right first. Afterwards the former actions are back.
struct CaughtSignals: ~Copyable {
    private static let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP]

    /// Readable when a signal has come; one byte each, its number.
    let descriptor: Int32
    private let writeEnd: Int32
    private let former: [(signal: Int32, action: sigaction)]
    private let unblocked: UnblockedSignals

    /// Nil when no pipe can be made, or when another value lives already.
    init?() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        guard signalPipe.compareExchange(expected: -1, desired: ends[1], ordering: .sequentiallyConsistent).exchanged
        else {
            close(ends[0])
            close(ends[1])
            return nil
        }
        descriptor = ends[0]
        writeEnd = ends[1]
        var action = sigaction()
        action.__sigaction_handler.sa_handler = noteSignal
        var former: [(signal: Int32, action: sigaction)] = []
        for signal in Self.signals {
            var old = sigaction()
            guard sigaction(signal, nil, &old) == 0 else { continue }
            // What was ignored (nohup) stays ignored.
            if unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) {
                continue
            }
            if sigaction(signal, &action, nil) == 0 { former.append((signal, old)) }
        }
        self.former = former
        unblocked = UnblockedSignals(Self.signals)
    }

    /// The signal that came, if one did.
    func received() -> Int32? {
        var number: UInt8 = 0
        return read(descriptor, &number, 1) == 1 ? Int32(number) : nil
    }

    deinit {
        for (signal, action) in former {
            var action = action
            sigaction(signal, &action, nil)
        }
        signalPipe.store(-1, ordering: .sequentiallyConsistent)
        close(descriptor)
        close(writeEnd)
    }
}

/// While this value lives, the thread that made it, and must end it, receives signals that the process otherwise blocks:
/// somebody who is asked something can press Ctrl-C.
struct UnblockedSignals: ~Copyable {
    private var former = sigset_t()

    init(_ signals: [Int32]) {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in signals { sigaddset(&set, signal) }
        pthread_sigmask(SIG_UNBLOCK, &set, &former)
    }

    deinit {
        var former = former
        pthread_sigmask(SIG_SETMASK, &former, nil)
    }
}

/// The write end that the handler uses; -1 when no value lives.
private let signalPipe = Atomic<Int32>(-1)

/// Does only what a handler may: one atomic load and one write, errno kept.
private func noteSignal(_ signal: Int32) {
    let saved = errno
    let descriptor = signalPipe.load(ordering: .sequentiallyConsistent)
    if descriptor >= 0 {
        var number = UInt8(truncatingIfNeeded: signal)
        _ = write(descriptor, &number, 1)
    }
    errno = saved
}
