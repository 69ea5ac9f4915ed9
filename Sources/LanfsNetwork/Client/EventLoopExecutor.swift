import Glibc
import NIOCore

/// Runs tasks on the thread of one event loop, and their beginnings on the threads that start them. A task that asks a
/// server and answers somebody on the answer then asks from the thread it began on and goes on where the answer arrives:
/// each hand-over to another thread that sleeps costs about 50 us.
///
/// For tasks that wait much and compute little; whatever blocks or takes long belongs on the global executor.
public final class EventLoopExecutor: TaskExecutor {
    public let eventLoop: any EventLoop

    public init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if let queue = JobQueue.ofThisThread, queue.executor === self { return queue.append(job) }
        eventLoop.execute { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }

    /// Runs `body`, and then on this thread, up to the first wait of each, the tasks that it starts on this executor and
    /// those that they start. Not under a lock that one of them may want.
    public func startHere(_ body: () -> Void) {
        guard JobQueue.ofThisThread == nil else { return body() }
        let queue = JobQueue(self)
        JobQueue.ofThisThread = queue
        defer { JobQueue.ofThisThread = nil }
        body()
        while let job = queue.next() { job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}

/// What is left to run of `startHere` on one thread.
private final class JobQueue {
    let executor: EventLoopExecutor
    private var jobs: [UnownedJob] = []
    private var taken = 0

    init(_ executor: EventLoopExecutor) { self.executor = executor }

    func append(_ job: UnownedJob) { jobs.append(job) }

    func next() -> UnownedJob? {
        guard taken < jobs.count else { return nil }
        defer { taken += 1 }
        return jobs[taken]
    }

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        guard pthread_key_create(&key, nil) == 0 else { fatalError("no room for a thread's own data") }
        return key
    }()

    /// Not retained: `startHere` holds it for as long as it is here.
    static var ofThisThread: JobQueue? {
        get { pthread_getspecific(key).map { Unmanaged<JobQueue>.fromOpaque($0).takeUnretainedValue() } }
        set { pthread_setspecific(key, newValue.map { UnsafeRawPointer(Unmanaged.passUnretained($0).toOpaque()) }) }
    }
}
