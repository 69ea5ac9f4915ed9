/// `lanfs rm`.
enum Remove {
    static func run(_ options: RemoveOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
