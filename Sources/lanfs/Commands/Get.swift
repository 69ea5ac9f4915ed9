import LanfsClient

/// `lanfs get`.
enum Get {
    static func run(_ options: GetOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let key = try session.key()
        let report = TransferReport("lanfs get", options.client.common.verbosity)
        let interruption = try Interruption(of: session, report)
        let volume = try await session.open(key, .never) {
            $0.readOnly = true
            $0.snapshot = options.snapshot?.text
            $0.memory = TransferOptions.memory
            $0.isTransfer = true
        }
        interruption.began(with: volume)
        defer { volume.abandon() }
        let get = LanfsClient.Get(
            from: volume, options: TransferOptions(isRecursive: options.recursive, replaces: options.force),
            progress: report.progress)
        let sources = options.sources.map { LanfsClient.VolumePath($0) }
        do throws(TransferError) {
            switch options.target {
            case .standardOutput:
                for source in sources { try await get.runToOutput(source) }
            case .path(let path): try await get.run(sources, to: LanfsClient.LocalPath(path.bytes))
            }
        } catch {
            report.fail(CommandError(error))
        }
        return try report.end(json: options.json)
    }
}
