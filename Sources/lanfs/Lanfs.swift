import Glibc

@main
struct Lanfs {
    static func main() async {
        exit(await run(Argument.ofProcess()))
    }

    /// Does what the words ask for and gives back the exit status.
    static func run(_ words: [Argument]) async -> Int32 {
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
            return status(try await run(invocation))
        } catch {
            if !error.message.isEmpty { StandardError.write("\(invocation.name): \(error.message)\n") }
            return status(error.code)
        }
    }

    private static func run(_ invocation: Invocation) async throws(CommandError) -> ExitCode {
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
        case .mount(let options): return try await Mount.run(options)
        case .mountHelper(let helper): return helper.isRehearsal ? .success : try await Mount.run(helper.options)
        case .put(let options): return try await Put.run(options)
        case .get(let options): return try await Get.run(options)
        case .list(let options): return try await List.run(options)
        case .remove(let options): return try await Remove.run(options)
        case .keygen(let options): return try await Keygen.run(options)
        }
    }
}
