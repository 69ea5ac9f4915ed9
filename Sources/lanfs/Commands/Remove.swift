import LanfsClient

/// `lanfs rm`.
enum Remove {
    static func run(_ options: RemoveOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let volume = try await session.open(try session.key(), create: false)
        var worst = ExitCode.success
        for path in options.paths {
            do throws(TransferError) {
                try await volume.remove(
                    LanfsClient.VolumePath(names: path.components), isRecursive: options.recursive)
            } catch {
                if case .notFound = error, options.force { continue }
                StandardError.write("lanfs rm: \(error)\n")
                worst = CommandError(error).code
            }
        }
        try await session.close(volume)
        return worst
    }
}
