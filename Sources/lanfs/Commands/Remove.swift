import LanfsClient

/// `lanfs rm`.
enum Remove {
    static func run(_ options: RemoveOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let volume = try await session.open(try session.key(), create: false)
        let report = TransferReport("lanfs rm", options.client.common.verbosity)
        for path in options.paths {
            do throws(TransferError) {
                try await volume.remove(LanfsClient.VolumePath(path), isRecursive: options.recursive)
            } catch {
                if case .notFound = error, options.force { continue }
                report.fail(CommandError(error))
                if error.endsTransfer { break }
            }
        }
        do throws(CommandError) {
            try await session.close(volume)
        } catch {
            report.fail(error)
        }
        return try report.end(json: false)
    }
}
