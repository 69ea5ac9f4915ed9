/// `lanfs mount`.
enum Mount {
    static func run(_ options: MountOptions) async throws(CommandError) -> ExitCode {
        throw CommandError(.failure, "not built yet")
    }
}
