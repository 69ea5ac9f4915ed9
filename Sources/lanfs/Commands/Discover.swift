/// `lanfs discover`.
enum Discover {
    static func run(_ options: DiscoverOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
