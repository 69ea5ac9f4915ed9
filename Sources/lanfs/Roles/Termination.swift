import Glibc
import LanfsClient
import LanfsMount
import Synchronization

/// SIGTERM, SIGINT and SIGHUP, which `Lanfs.main` blocked in every thread, as events.
enum Termination {
    /// Calls `handler` for each such signal, from a thread of its own.
    static func watch(_ handler: @escaping @Sendable (Int32) -> Void) throws(CommandError) {
        do throws(MountError) {
            try Signals.watch(Signals.termination, handler)
        } catch {
            throw CommandError(.failure, error.description)
        }
    }

    static func wait() async throws(CommandError) {
        let (signals, signal) = AsyncStream.makeStream(of: Int32.self)
        try watch { signal.yield($0) }
        for await _ in signals { return }
    }

    /// Ends the process as the signal would have, so that a shell's loop around it ends too.
    static func end(by number: Int32) -> Never {
        signal(number, SIG_DFL)
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, number)
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        raise(number)
        exit(128 + number)
    }
}

/// Ctrl-C while a transfer runs: the bar goes, what came over is saved and the lease is given back, so that the same
/// command can go on at once. A second Ctrl-C ends at once.
final class Interruption: Sendable {
    private enum State {
        case connecting
        case open(Volume)
        case ending
    }

    private let state = Mutex(State.connecting)

    init(of session: ClientSession, _ report: TransferReport) throws(CommandError) {
        try Termination.watch { signal in
            let former = self.state.withLock { state in
                defer { state = .ending }
                return state
            }
            report.fallSilent()
            guard case .open(let volume) = former else { Termination.end(by: signal) }
            Task.detached {
                try? await Task.sleep(for: .seconds(1))
                StandardError.write("lanfs: saving what came over; Ctrl-C again ends at once\n")
            }
            Task.detached {
                do throws(CommandError) {
                    try await session.close(volume, patience: .seconds(5))
                } catch {
                    StandardError.write("lanfs: \(error.message)\n")
                }
                Termination.end(by: signal)
            }
        }
    }

    func began(with volume: Volume) {
        state.withLock { state in
            if case .connecting = state { state = .open(volume) }
        }
    }
}
