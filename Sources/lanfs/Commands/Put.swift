import LanfsClient

/// `lanfs put`.
enum Put {
    static func run(_ options: PutOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let volume = try await session.open(try session.key(whenMissing: .offer), create: options.create)
        let report = TransferReport(options.client.common.verbosity)
        let put = LanfsClient.Put(
            into: volume, options: TransferOptions(isRecursive: options.recursive, replaces: options.force),
            progress: report.progress)
        let target = LanfsClient.VolumePath(names: options.target.components, isDirectory: options.target.namesFolder)
        var paths: [String] = []
        for case .path(let path) in options.sources { paths.append(path.text) }
        do throws(TransferError) {
            if options.sources == [.standardInput] {
                try await put.runFromInput(to: target)
            } else {
                try await put.run(paths, to: target)
            }
        } catch {
            report.end()
            try? await session.close(volume)
            throw CommandError(error)
        }
        report.end()
        try await session.close(volume)
        return try report.result(json: options.json)
    }
}
