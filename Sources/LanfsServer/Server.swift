import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import LanfsStore
import Logging
import NIOCore
import NIOPosix
import Synchronization
import SystemPackage

/// The server role: lends a folder's disk to the volumes it admits, as a process of its own (`lanfs serve`) or
/// inside the one that mounts (`lanfs mount --serve`).
///
/// Runs from `start` to `stop`, which must be called. Whatever was acknowledged survives the process being killed at
/// any moment.
public final class Server: Sendable {
    /// TCP.
    public let port: Int
    /// UDP.
    public let discoveryPort: Int
    public let name: String
    /// Its static public key.
    public let identity: ServerID

    /// Its public key, short, for people to compare.
    public var fingerprint: String { LanfsCrypto.fingerprint(of: identity.bytes) }

    /// Connections of clients that have proven a key.
    public var connections: Int { listener.connectionCount }

    private let listener: RPCListener
    private let discovery: DiscoveryResponder
    let volumes: Volumes
    private let pairings: ClientPairings
    private let threads: DiskThreads
    private let maintenance: Task<Void, Never>
    private let logger: Logger
    private let isStopped = Atomic<Bool>(false)

    /// Starts serving. Throws, with nothing left behind, when the data directory is in use, the identity or the list of
    /// admitted volumes cannot be used, or nothing can be listened on.
    public static func start(
        _ configuration: ServerConfiguration, group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "lanfs.server")
    ) async throws(ServerError) -> Server {
        let threads = DiskThreads()
        do throws(ServerError) {
            return try await start(configuration, threads: threads, group: group, logger: logger)
        } catch {
            await threads.stop()
            throw error
        }
    }

    private static func start(
        _ configuration: ServerConfiguration, threads: DiskThreads, group: any EventLoopGroup, logger: Logger
    ) async throws(ServerError) -> Server {
        let prepared = await threads.run { [logger] in
            Result { () throws(ServerError) in
                try Prepared(configuration, threads: threads, group: group, logger: logger)
            }
        }
        guard let prepared else { throw .stopped }
        let parts = try prepared.get()
        do throws(ServerError) {
            let listener = try await parts.listen(configuration, group: group, logger: logger)
            do throws(NetworkError) {
                let server = try await Server(parts, listener, configuration, group: group, logger: logger)
                server.announce(configuration)
                return server
            } catch {
                await listener.shutdown(within: .zero)
                throw ServerError.network(error)
            }
        } catch {
            _ = await threads.run { parts.volumes.close() }
            throw error
        }
    }

    private init(
        _ parts: Prepared, _ listener: RPCListener, _ configuration: ServerConfiguration, group: any EventLoopGroup,
        logger: Logger
    ) async throws(NetworkError) {
        self.listener = listener
        self.logger = logger
        volumes = parts.volumes
        pairings = parts.pairings
        threads = parts.threads
        identity = parts.identity
        port = listener.port
        name = configuration.name ?? hostName()
        discovery = try await DiscoveryResponder.bind(port: configuration.discoveryPort, group: group, logger: logger) {
            [volumes, identity, port, name] query in
            volumes.answer(query, server: identity, port: UInt16(clamping: port), name: name)
        }
        discoveryPort = discovery.port
        // A file is written for each volume.
        let addresses = listener.addresses.compactMap { Endpoint($0) }.flatMap(LocalNetworks.reachable)
        threads.flush { [volumes] in volumes.listening(at: addresses.map(\.description)) }
        maintenance = Task { [volumes, threads] in
            while (try? await Task.sleep(for: Volumes.maintenanceInterval)) != nil {
                _ = await threads.run { volumes.maintain() }
            }
        }
    }

    /// Takes no more requests, answers those it has, and puts everything on disk. Returns within `limit` even when the
    /// disk hangs: what was acknowledged is safe anyway.
    public func stop(within limit: Duration = .seconds(5)) async {
        guard !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return }
        let start = ContinuousClock.now
        maintenance.cancel()
        await discovery.close()
        // Clients that wait for news would keep their connections busy for seconds.
        volumes.endWaiting()
        await listener.shutdown(within: limit / 2)
        let closing = Task { [volumes, pairings, threads] in
            _ = await threads.run {
                pairings.save()
                volumes.close()
            }
            await threads.stop()
        }
        let isClosed = await isDone(closing, within: limit - (ContinuousClock.now - start))
        if isClosed {
            logger.info("stopped")
        } else {
            logger.error("stopped without waiting for the disk any longer; the next start checks it")
        }
    }

    /// INFO is quiet: this, each newly admitted volume, and the end.
    private func announce(_ configuration: ServerConfiguration) {
        let addresses = listener.addresses.compactMap { Endpoint($0) }.flatMap(LocalNetworks.reachable)
        let room = volumes.room
        logger.info(
            "serving",
            metadata: [
                "name": "\(name)",
                "address": "\(addresses.map(\.description).joined(separator: ", "))",
                "discovery": "\(discoveryPort)",
                "fingerprint": "\(fingerprint)", "data": "\(configuration.dataDirectory)",
                "capacity": "\(humanSize(room.capacity))", "free": "\(humanSize(room.free))",
                "volumes": "\(volumes.count)", "admits": "\(volumes.admissionText)",
            ])
        if case .anyVolumeOfTheLAN = volumes.admission.policy {
            let each = configuration.unlistedQuota.map { "up to \(humanSize($0)) each" } ?? "as much as there is"
            logger.warning(
                """
                ANY volume of this network may store here, \(each); to admit only yours, give --allow VOLUME-ID\
                \(configuration.authorizedFile.map { " or write its id into \($0)" } ?? "")
                """)
        }
    }
}

/// False when `task` is not done in time; it goes on by itself.
private func isDone(_ task: Task<Void, Never>, within limit: Duration) async -> Bool {
    let (outcomes, outcome) = AsyncStream.makeStream(of: Bool.self)
    let timer = Task {
        try? await Task.sleep(for: max(.milliseconds(100), limit))
        outcome.yield(false)
    }
    Task {
        await task.value
        outcome.yield(true)
    }
    defer { timer.cancel() }
    for await isDone in outcomes { return isDone }
    return false
}
