/// `lanfs put`.
enum Put {
    static func run(_ options: PutOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
