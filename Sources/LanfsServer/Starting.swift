import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import LanfsStore
import Logging
import NIOCore
import SystemPackage

/// The parts of a server that come from its disk: everything that must be right before it listens.
struct Prepared: Sendable {
    let volumes: Volumes
    let pairings: ClientPairings
    let threads: DiskThreads
    let key: StaticKeyPair
    let identity: ServerID
    private let portFile: PortFile

    /// Blocks the thread.
    init(
        _ configuration: ServerConfiguration, threads: DiskThreads, group: any EventLoopGroup, logger: Logger
    ) throws(ServerError) {
        let eventLoop = group.next()
        let folder = configuration.dataDirectory
        let admission = try Admission(configuration, logger: logger)
        do throws(LocalFileError) {
            try PrivateFile.makeDirectory(folder)
        } catch {
            throw .local(error)
        }
        var options = StoreDirectory.Options()
        options.capacity = configuration.capacity ?? .max
        options.blocks.quarantine = configuration.quarantine
        options.blocks.background = { threads.flush($0) }
        let directory: StoreDirectory
        do throws(StoreError) {
            // The lock comes first: two servers must not make an identity at the same time.
            directory = try StoreDirectory(folder, options: options, hash: blockHash, logger: logger)
        } catch {
            throw .store(error)
        }
        do throws(IdentityError) {
            key = try ServerIdentity.load(folder.appending("identity.key"))
        } catch {
            throw .identity(error)
        }
        guard let identity = ServerID(key.publicKey) else {
            throw .identity(.damaged(path: folder.appending("identity.key"), reason: "its public key is too short"))
        }
        self.identity = identity
        self.threads = threads
        let context = MemberContext(
            server: identity, pins: MemberPins(folder.appending("members"), identity: key), group: group,
            threads: threads, failures: DiskFailures(logger), options: configuration.members,
            discoveryPort: configuration.discoveryPort, quarantine: configuration.quarantine,
            isWitness: configuration.isWitness, logger: logger)
        volumes = Volumes(directory, admission: admission, context: context, eventLoop: eventLoop)
        pairings = ClientPairings(folder.appending("pairings"), logger: logger) { save in
            eventLoop.scheduleTask(in: .seconds(1)) { threads.flush(save) }
        }
        portFile = PortFile(path: folder.appending("port"))
    }

    /// Where the last run listened, if that can be had again: clients remember addresses.
    func listen(
        _ configuration: ServerConfiguration, group: any EventLoopGroup, logger: Logger
    ) async throws(ServerError) -> RPCListener {
        let last = configuration.port == 0 ? await threads.run { [portFile] in portFile.read() } ?? nil : nil
        var listener: RPCListener?
        if let last { listener = try? await bind(configuration, port: last, group: group, logger: logger) }
        do throws(NetworkError) {
            let bound: RPCListener
            if let listener {
                bound = listener
            } else {
                bound = try await bind(configuration, port: configuration.port, group: group, logger: logger)
            }
            let port = bound.port
            if port != last { _ = await threads.run { [portFile] in portFile.write(port, logger) } }
            return bound
        } catch {
            throw .network(error)
        }
    }

    private func bind(
        _ configuration: ServerConfiguration, port: Int, group: any EventLoopGroup, logger: Logger
    ) async throws(NetworkError) -> RPCListener {
        let endpoints = configuration.listen.map { endpoint in
            Endpoint(host: endpoint.host, port: endpoint.port == 0 ? port : endpoint.port)
        }
        return try await RPCListener.bind(
            endpoints, port: port, key: key, pairings: pairings, group: group, logger: logger
        ) { [volumes, threads, limit = configuration.openLimit] connection in
            Session(connection: connection, volumes: volumes, threads: threads, openLimit: limit)
        }
    }
}

/// The port of the last run, so that a restart keeps the address.
private struct PortFile: Sendable {
    let path: FilePath

    func read() -> Int? {
        guard let text = try? PrivateFile.read(path, limit: 16, secret: false) else { return nil }
        return UInt16(String(decoding: text.prefix { $0 > 0x20 }, as: UTF8.self)).map(Int.init)
    }

    func write(_ port: Int, _ logger: Logger) {
        do {
            try PrivateFile.write(Array("\(port)\n".utf8), to: path)
        } catch {
            logger.warning("the port is not remembered for the next start: \(error)")
        }
    }
}

