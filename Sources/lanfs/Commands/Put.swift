import LanfsClient

/// `lanfs put`.
enum Put {
    static func run(_ options: PutOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let key = try session.key(whenMissing: .offer)
        let report = TransferReport("lanfs put", options.client.common.verbosity)
        let interruption = try Interruption(of: session, report)
        let volume = try await session.open(key, .init(create: options.create)) { volume in
            volume.memory = TransferOptions.memory
            volume.isTransfer = true
            volume.replicas = options.copies?.number
        }
        interruption.began(with: volume)
        let put = LanfsClient.Put(
            into: volume, options: TransferOptions(isRecursive: options.recursive, replaces: options.force),
            progress: report.progress)
        let target = LanfsClient.VolumePath(options.target)
        do throws(TransferError) {
            if options.sources == [.standardInput] {
                try await put.runFromInput(to: target)
            } else {
                try await put.run(options.sources.compactMap(\.path), to: target)
            }
        } catch {
            report.fail(CommandError(error))
        }
        do throws(CommandError) {
            try await session.close(volume)
        } catch {
            report.fail(error)
        }
        return try report.end(json: options.json)
    }
}

extension PutOptions.Source {
    fileprivate var path: LanfsClient.LocalPath? {
        guard case .path(let path) = self else { return nil }
        return LanfsClient.LocalPath(path.bytes)
    }
}
