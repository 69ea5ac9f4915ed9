import LanfsClient
import LanfsCrypto
import LanfsProtocol

/// `lanfs drain`.
enum Drain {
    /// A server that takes longer to answer is away.
    private static let patience = Duration.seconds(2)

    static func run(_ options: DrainOptions) async throws(CommandError) -> ExitCode {
        let session = ClientSession(options.client)
        let key = try session.key()
        async let names = ServerNames.found(by: session, of: VolumeID(key.volumeID))
        let report = TransferReport("lanfs drain", options.client.common.verbosity)
        let interruption = try Interruption(of: session, report)
        let volume = try await session.open(key, .never)
        interruption.began(with: volume)
        var result: JSONValue?
        do throws(CommandError) {
            let status = await volume.status(patience: patience)
            let server = try await names.server(options.server, among: status.servers)
            try await run(options, volume, server, await names.shown(server.server), report)
            result = await json(server, await names, options)
        } catch {
            report.fail(error)
        }
        do throws(CommandError) {
            try await session.close(volume)
        } catch {
            report.fail(error)
        }
        let code = try report.end(json: false)
        if options.json, let result { try StandardOutput.print(result.text + "\n") }
        return code
    }

    private static func run(
        _ options: DrainOptions, _ volume: Volume, _ server: VolumeStatus.Server, _ name: String, _ report: TransferReport
    ) async throws(CommandError) {
        let isTold = options.client.common.verbosity != .quiet
        var obstacle: DrainObstacle?
        drain: do throws(VolumeError) {
            if options.cancel {
                try await volume.setDraining(false, server.server)
                if isTold { StandardError.write("lanfs drain: \(name) is in the volume like any other server\n") }
                return
            }
            if server.state == .active {
                obstacle = try await volume.obstacle(toDraining: server.server)
                if obstacle == nil { try await volume.setDraining(true, server.server) }
            }
            if obstacle != nil { break drain }
            if isTold {
                StandardError.write(
                    "lanfs drain: \(name) takes nothing new from now on, and the others take over what it has; the same "
                        + "command goes on after an interruption, --cancel takes it back\n")
            }
            try await volume.finishDraining(server.server, name: Array(name.utf8), progress: report.progress)
            if isTold { report.note("lanfs drain: \(name) has left the volume: all it held is elsewhere\n") }
        } catch {
            throw CommandError(error)
        }
        if let obstacle { throw CommandError(obstacle, name) }
    }

    private static func json(
        _ server: VolumeStatus.Server, _ names: ServerNames, _ options: DrainOptions
    ) async -> JSONValue {
        .object([
            .init("name", names[server.server].map { .string($0) } ?? .null),
            .init("fingerprint", .string(fingerprint(of: server.server.bytes))),
            .init("state", .string(options.cancel ? "active" : "gone")),
        ])
    }
}

extension CommandError {
    fileprivate init(_ obstacle: DrainObstacle, _ name: String) {
        switch obstacle {
        case .tooFewServers(let left, let copies):
            let servers = left == 0 ? "no server" : left == 1 ? "one server" : "\(left) servers"
            self.init(
                .failure,
                "without \(name) there would be \(servers) for \(copies == 1 ? "the blocks" : "\(copies) copies of each block"): "
                    + "start 'lanfs serve' on another host first"
                    + (left == 0 ? "" : ", or keep fewer copies with 'lanfs mount --replicas \(left)'"))
        case .tooLittleRoom(let free, let needed):
            self.init(
                .noSpace,
                "the other servers have \(HumanSize.text(free)) left, and \(name) holds \(HumanSize.text(needed)): start "
                    + "'lanfs serve' on another host first")
        }
    }
}
