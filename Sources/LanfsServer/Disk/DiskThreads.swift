import NIOCore
import NIOPosix
import Synchronization

/// The threads on which this server waits for its disk, so that event loops never do.
///
/// Two kinds, so that reads are not stuck behind flushes: a few workers that hash, read and write (as many as there are
/// cores for, they compute more than they wait), and a few that mostly wait for fsync.
final class DiskThreads: Sendable {
    private let workers: NIOThreadPool
    private let flushers: NIOThreadPool
    /// Workers that flush at the moment.
    private let flushingWorkers = Atomic<Int>(0)

    init(workers: Int = min(4, max(2, System.coreCount)), flushers: Int = 4) {
        self.workers = NIOThreadPool(numberOfThreads: workers)
        self.flushers = NIOThreadPool(numberOfThreads: flushers)
        self.workers.start()
        self.flushers.start()
    }

    /// Runs `body` on a worker: it computes, reads or writes, and does not wait for fsync.
    func work(_ body: @escaping @Sendable () -> Void) {
        workers.submit { state in
            if case .active = state { body() }
        }
    }

    /// Runs `body` where waiting for the disk delays nobody's read.
    func flush(_ body: @escaping @Sendable () -> Void) {
        flushers.submit { state in
            if case .active = state { body() }
        }
    }

    /// As `flush`, for a caller on a worker: runs `body` right there while other workers are left, which saves waking
    /// another thread between a put and its flush.
    func flushFromWorker(_ body: @escaping @Sendable () -> Void) {
        let (before, _) = flushingWorkers.add(1, ordering: .relaxed)
        if before < workers.numberOfThreads - 1 {
            body()
            flushingWorkers.subtract(1, ordering: .relaxed)
        } else {
            flushingWorkers.subtract(1, ordering: .relaxed)
            flush(body)
        }
    }

    /// `body`'s result, from a thread that may block; `nil` when the threads are stopped.
    func run<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value? {
        try? await flushers.runIfActive(body)
    }

    /// Returns when what runs has ended; what waits never will.
    func stop() async {
        try? await workers.shutdownGracefully()
        try? await flushers.shutdownGracefully()
    }
}
