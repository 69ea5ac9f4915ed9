import LanfsClient

/// `lanfs rm`.
enum Remove {
    static func run(_ options: RemoveOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let key = try session.key()
        let report = TransferReport("lanfs rm", options.client.common.verbosity)
        let interruption = try Interruption(of: session, report)
        let volume = try await session.open(key, .never)
        interruption.began(with: volume)
        if let snapshot = options.snapshot {
            do throws(VolumeError) {
                try await volume.dropSnapshot(snapshot.text)
            } catch {
                report.fail(CommandError(error))
            }
        }
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
