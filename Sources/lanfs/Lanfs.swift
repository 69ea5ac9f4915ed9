import CLinux
import Glibc
import LanfsMount

@main
struct Lanfs {
    /// Not `async`: a mount forks, and threads do not survive a fork, so nothing may start one before.
    static func main() {
        let words = Argument.ofProcess()
        let role = Role(words)
        if role != .brief { Signals.block() }
        // Before the first thread: glibc would give each an arena of its own, and what one has freed helps no other: the
        // peak of a mount that writes and reads a large file is 390 MiB then, with two arenas 300 and no slower.
        if role != .brief { mallopt(M_ARENA_MAX, role == .transfer ? 1 : 2) }
        let readiness = Daemon.start(foreground: role != .backgroundMount, log: .system(name: "lanfs"))
        Task.detached { exit(await run(words, readiness)) }
        while true { pause() }
    }

    /// What kind of life the process will have; known before anything else starts.
    private enum Role {
        /// Ends on Ctrl-C as any program does.
        case brief
        /// As a service, and its memory stays small whatever the file's size.
        case transfer
        /// Takes signals as events, to end in good order.
        case service
        case backgroundMount

        init(_ words: [Argument]) {
            switch try? Invocation.parse(words) {
            case .put?, .get?: self = .transfer
            case .serve?, .remove?, .drain?: self = .service
            case .mount(let options)?: self = options.foreground ? .service : .backgroundMount
            case .mountHelper(let helper)? where !helper.isRehearsal:
                self = helper.options.foreground ? .service : .backgroundMount
            default: self = .brief
            }
        }
    }

    /// Does what the words ask for and gives back the exit status.
    static func run(_ words: [Argument], _ readiness: Readiness) async -> Int32 {
        let isMountHelper = Invocation.isMountHelper(words)
        func status(_ code: ExitCode) -> Int32 { isMountHelper ? code.asMountHelper : code.rawValue }
        let invocation: Invocation
        do {
            invocation = try Invocation.parse(words)
        } catch {
            StandardError.write(error.text)
            return status(.usage)
        }
        do {
            return status(try await run(invocation, readiness))
        } catch {
            if !error.message.isEmpty { StandardError.write("\(invocation.name): \(error.message)\n") }
            return status(error.code)
        }
    }

    private static func run(_ invocation: Invocation, _ readiness: Readiness) async throws(CommandError) -> ExitCode {
        switch invocation {
        case .overview:
            StandardError.write(HelpText.overview)
            return .usage
        case .help(let help):
            try StandardOutput.print(HelpText.text(help))
            return .success
        case .version:
            try StandardOutput.print("lanfs \(Version.text)\n")
            return .success
        case .serve(let options): return try await Serve.run(options)
        case .discover(let options): return try await Discover.run(options)
        case .mount(let options): return try await Mount.run(options, readiness)
        case .mountHelper(let helper): return helper.isRehearsal ? .success : try await Mount.run(helper.options, readiness)
        case .put(let options): return try await Put.run(options)
        case .get(let options): return try await Get.run(options)
        case .list(let options): return try await List.run(options)
        case .remove(let options): return try await Remove.run(options)
        case .status(let options): return try await Status.run(options)
        case .drain(let options): return try await Drain.run(options)
        case .keygen(let options): return try await Keygen.run(options)
        }
    }
}
