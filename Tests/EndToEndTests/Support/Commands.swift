import Glibc
import Synchronization

struct Output {
    let status: Int32
    let outputFile: String
    let errors: String
    let peakMemory: Int
    var text: String { readText(outputFile) }
}

/// Runs programs for one host, in its network and with its home, from any thread.
final class Commands: Sendable {
    private let folder: String
    /// What goes before every command to get into the host's network.
    private let enter: [String]
    private let watchdog: Watchdog
    private let count = Atomic(0)

    init(folder: String, enter: [String], _ limit: Duration) {
        self.folder = folder
        self.enter = enter
        watchdog = Watchdog(limit)
    }

    private var environment: [String] {
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin:/sbin:/bin"
        return [
            "HOME=\(folder)", "XDG_RUNTIME_DIR=\(folder)/run", "PATH=\(path)", "LC_ALL=C", "TZ=UTC",
            "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.c",
            "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.c",
        ]
    }

    func start(_ arguments: [String], log: String, home: String? = nil, input: String? = nil) throws -> Child {
        let extra = home.map { ["HOME=\($0)"] } ?? []
        let child = try Child(
            enter + arguments, environment: extra + environment.dropFirst(extra.count), input: input ?? "/dev/null",
            output: folder + "/logs/\(log).out", errors: folder + "/logs/\(log).err")
        watchdog.watch(child)
        return child
    }

    /// Runs a program to its end; one that takes longer than `limit` is killed, and an error.
    func run(
        _ arguments: [String], home: String? = nil, input: String? = nil, limit: Duration = .seconds(60)
    ) throws -> Output {
        let number = count.add(1, ordering: .relaxed).newValue
        let child = try start(arguments, log: "command-\(number)", home: home, input: input)
        var peak = 0
        _ = eventually(limit) {
            peak = max(peak, child.peakMemory)
            return child.poll() != nil
        }
        guard let status = child.poll() else {
            try child.killAndWait()
            throw Failure("\(arguments.joined(separator: " ")): not done after \(limit): \(readText(child.errors))")
        }
        return Output(status: status, outputFile: child.output, errors: readText(child.errors), peakMemory: peak)
    }

    /// Runs a program that has to succeed; its output.
    @discardableResult
    func tool(_ arguments: [String], input: String? = nil, limit: Duration = .seconds(60)) throws -> String {
        let result = try run(arguments, input: input, limit: limit)
        guard result.status == 0 else {
            let text = result.text.prefix(2000)
            throw Failure("\(arguments.joined(separator: " ")): status \(result.status): \(result.errors)\(text)")
        }
        return result.text
    }

    var isTooLate: Bool { watchdog.expired }
    func stopWatching() { watchdog.stop() }
}

/// Ends the processes of a test that takes too long, so that no system call on its mount waits for ever.
private final class Watchdog: Sendable {
    private let state = Mutex<(children: [Child], stopped: Bool, expired: Bool)>(([], false, false))

    init(_ limit: Duration) {
        let deadline = ContinuousClock.now + limit
        onThread { [self] in
            while !state.withLock({ $0.stopped }) {
                if ContinuousClock.now > deadline {
                    state.withLock { state in
                        state.expired = true
                        state.children.forEach { $0.killGroup() }
                    }
                    return
                }
                usleep(50_000)
            }
        }
    }

    func watch(_ child: Child) {
        state.withLock { state in
            state.children.removeAll { $0.poll() != nil }
            state.children.append(child)
        }
    }

    func stop() { state.withLock { $0.stopped = true } }
    var expired: Bool { state.withLock { $0.expired } }
}
