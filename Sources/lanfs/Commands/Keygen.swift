/// `lanfs keygen`.
enum Keygen {
    static func run(_ options: KeygenOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
