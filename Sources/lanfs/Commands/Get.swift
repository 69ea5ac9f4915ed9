/// `lanfs get`.
enum Get {
    static func run(_ options: GetOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
