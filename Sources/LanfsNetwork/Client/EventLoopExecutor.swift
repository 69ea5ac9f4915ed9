import NIOCore

/// Runs tasks on the thread of one event loop. A task that asks a server and answers somebody on the answer then runs
/// where the answer arrives: each hand-over to another thread that sleeps costs about 50 us, and one request has four.
///
/// For tasks that wait much and compute little; whatever blocks or takes long belongs on the global executor.
public final class EventLoopExecutor: TaskExecutor {
    public let eventLoop: any EventLoop

    public init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        eventLoop.execute { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
