import LanfsClient
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import LanfsServer
import Logging
import SystemPackage

/// The server role, for `serve` and for `mount --serve`.
enum ServerRole {
    static func configuration(_ options: ServeOptions) throws(CommandError) -> ServerConfiguration {
        let directories = UserDirectories.current
        var configuration = ServerConfiguration(
            dataDirectory: options.dataDirectory.map { FilePath($0.text) } ?? directories.server)
        configuration.capacity = options.capacity?.bytes
        configuration.port = Int(options.port.number)
        configuration.discoveryPort = Int(options.discoveryPort.number)
        configuration.name = options.name
        configuration.quarantine = options.quarantine
        configuration.members.timing.grace = options.grace
        // Who wants to hear of losses soon wants them looked for as soon.
        configuration.members.repair.shortestPass = min(configuration.members.repair.shortestPass, options.grace)
        configuration.isWitness = options.isWitness
        configuration.authorizedFile = directories.authorized
        configuration.listen = options.listenAddresses.map { Endpoint(host: $0.address, port: 0) }
        for admission in options.admissions {
            guard let volume = VolumeID(admission.volume) else { continue }
            configuration.allow.append(.init(volume: volume, quota: admission.quota?.bytes))
        }
        return configuration
    }

    static func start(_ configuration: ServerConfiguration, _ log: Logger) async throws(CommandError) -> Server {
        do throws(ServerError) {
            return try await Server.start(configuration, logger: log)
        } catch {
            let isFull: Bool
            if case .store(let store) = error { isFull = store.errno == .noSpace } else { isFull = false }
            throw CommandError(isFull ? .noSpace : .failure, error.description)
        }
    }
}

extension Server {
    /// How a client in the same process reaches this server, without asking the network.
    var asVolumeServer: VolumeServer {
        let endpoint = Endpoint(host: "127.0.0.1", port: port)
        return VolumeServer(
            server: identity, name: "this machine", endpoints: [endpoint], capacity: 0, resolve: { [endpoint] })
    }
}
