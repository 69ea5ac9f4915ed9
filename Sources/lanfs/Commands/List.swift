/// `lanfs ls`.
enum List {
    static func run(_ options: ListOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
