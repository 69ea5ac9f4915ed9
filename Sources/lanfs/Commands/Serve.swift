/// `lanfs serve`.
enum Serve {
    static func run(_ options: ServeOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
