import Glibc
import Synchronization
import SystemPackage

/// A program that was started, with its output in files. It leads a process group, so that what it started ends with it.
final class Child: Sendable {
    let process: pid_t
    let output: String
    let errors: String
    private let status = Mutex<Int32?>(nil)

    /// - Parameters:
    ///   - environment: all of it, as `NAME=value`.
    ///   - input: the file that is its standard input.
    ///   - output: the file its standard output replaces; standard error is appended to `errors`.
    init(
        _ arguments: [String], environment: [String], input: String = "/dev/null", output: String, errors: String
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
        let argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        let variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { (argv + variables).forEach { free($0) } }
        var process = pid_t()
        let result = posix_spawnp(&process, arguments[0], &actions, &attributes, argv, variables)
        guard result == 0 else { throw Failure("cannot start \(arguments[0]): \(Errno(rawValue: result))") }
        self.process = process
        self.output = output
        self.errors = errors
    }

    /// The exit status once it ended, or 128 + the number of the signal; nil while it runs.
    func poll() -> Int32? {
        status.withLock { status in
            if let status { return status }
            var word: Int32 = 0
            guard waitpid(process, &word, WNOHANG) == process else { return nil }
            status = word & 0x7f == 0 ? (word >> 8) & 0xff : 128 + (word & 0x7f)
            return status
        }
    }

    /// The most memory it has had so far, in bytes; 0 when it has ended.
    var peakMemory: Int {
        let line = readText("/proc/\(process)/status").split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0) << 10
    }

    /// The status when it ended within `limit`, else nil.
    func wait(_ limit: Duration) -> Int32? {
        eventually(limit) { poll() != nil } ? poll() : nil
    }

    /// Nothing happens to a process that was waited for: its number may be another's by now.
    func signal(_ number: Int32) {
        status.withLock { if $0 == nil { kill(process, number) } }
    }

    /// kill -9 for it and all it started.
    func killGroup() {
        status.withLock { if $0 == nil { _ = kill(-process, SIGKILL) } }
    }

    func killAndWait() throws {
        killGroup()
        guard wait(.seconds(20)) != nil else { throw Failure("process \(process) is still there after kill -9") }
    }
}

/// What went wrong, as a sentence.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Polls until `condition` holds; false after `limit`, not counting time in which this process did not run.
func eventually(_ limit: Duration, every pause: UInt32 = 3_000, _ condition: () throws -> Bool) rethrows -> Bool {
    var left = limit
    var last = ContinuousClock.now
    while true {
        if try condition() { return true }
        if left < .zero { return false }
        usleep(pause)
        let now = ContinuousClock.now
        left -= min(now - last, .seconds(5))
        last = now
    }
}

/// Runs `body` on a thread of its own: system calls may block there without taking one of Swift's few.
func onThread(_ body: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let box = Unmanaged.passRetained(Box(body))
    var thread = pthread_t()
    let result = pthread_create(
        &thread, nil,
        { raw in
            if let raw { Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().body() }
            return nil
        }, box.toOpaque())
    if result == 0 { pthread_detach(thread) } else { box.release() }
}

/// Runs what a task does on threads of their own, so that it may block.
final class ThreadExecutor: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        onThread { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
