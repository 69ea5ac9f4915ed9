import LanfsCrypto
import LanfsProtocol
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// Accepts clients, makes each connection secure, and hands its requests to a `RequestHandler` of its own.
public final class RPCListener: Sendable {
    /// Where it listens; the first port is the one to announce.
    public let addresses: [SocketAddress]
    public var port: Int { addresses.first?.port ?? 0 }

    private let channels: [any Channel]
    private let hub: ListenerHub

    private init(channels: [any Channel], hub: ListenerHub) {
        self.channels = channels
        self.hub = hub
        addresses = channels.compactMap(\.localAddress)
    }

    /// Listens on every one of `endpoints`, or, when there are none, at `port` of all addresses of this machine. Port 0
    /// takes a free one, the same for all endpoints.
    ///
    /// `makeHandler` runs on the connection's event loop once the client has proven its key.
    public static func bind(
        _ endpoints: [Endpoint] = [], port: Int = 0, key: StaticKeyPair, pairings: any Pairings,
        group: any EventLoopGroup,
        limits: ServerLimits = ServerLimits(), timeouts: Timeouts = Timeouts(), logger: Logger,
        makeHandler: @escaping @Sendable (ServerConnection) -> any RequestHandler
    ) async throws(NetworkError) -> RPCListener {
        let hub = ListenerHub(pairings: pairings, limits: limits, logger: logger, makeHandler: makeHandler)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .connectionOptions()
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let address = channel.remoteAddress?.text ?? "a client that left"
                    let connection = ServerConnection(address: address, eventLoop: channel.eventLoop, hub: hub)
                    guard hub.accepted(connection) else {
                        throw NetworkError.overloaded(address: address, bytes: 0)
                    }
                    try channel.pipeline.syncOperations.addHandler(
                        TransportHandler(
                            peer: connection, link: connection.link,
                            handshake: ResponderHandshake(serverKey: key, pairings: pairings), timeouts: timeouts,
                            address: address))
                }
            }
        let channels =
            endpoints.isEmpty ? [try await bindAll(bootstrap, port)] : try await bindEach(of: endpoints, bootstrap)
        return RPCListener(channels: channels, hub: hub)
    }

    /// IPv6's "any" address also takes IPv4; a kernel without IPv6 has only the other.
    private static func bindAll(_ bootstrap: ServerBootstrap, _ port: Int) async throws(NetworkError) -> any Channel {
        do {
            return try await bootstrap.bind(host: "::", port: port).get()
        } catch {
            return try await bind(bootstrap, Endpoint(host: "0.0.0.0", port: port))
        }
    }

    private static func bindEach(
        of endpoints: [Endpoint], _ bootstrap: ServerBootstrap
    ) async throws(NetworkError) -> [any Channel] {
        var channels: [any Channel] = []
        do throws(NetworkError) {
            for var endpoint in endpoints {
                if endpoint.port == 0 { endpoint.port = channels.first?.localAddress?.port ?? 0 }
                channels.append(try await bind(bootstrap, endpoint))
            }
            return channels
        } catch {
            for channel in channels { channel.close(promise: nil) }
            throw error
        }
    }

    private static func bind(
        _ bootstrap: ServerBootstrap, _ endpoint: Endpoint
    ) async throws(NetworkError) -> any Channel {
        do {
            return try await bootstrap.bind(host: endpoint.host, port: endpoint.port).get()
        } catch {
            throw .cannotListen(address: endpoint.description, reason: reason(of: error))
        }
    }

    /// Connections whose clients have proven a key.
    public var connectionCount: Int { hub.connectionCount }
    var handshakeCount: Int { hub.handshakeCount }
    var bytesHeld: Int { hub.budget.used }

    /// Stops accepting, refuses new requests, answers those under way, says goodbye to every client, and returns when
    /// all connections are closed; after `deadline` the rest are cut.
    public func shutdown(within deadline: Duration) async {
        for channel in channels { _ = try? await channel.close() }
        guard let eventLoop = channels.first?.eventLoop else { return }
        let isEmpty = eventLoop.makePromise(of: Void.self)
        let timer = eventLoop.scheduleTask(in: TimeAmount(deadline)) { [hub] in
            hub.abortAll()
            // Aborted connections report their end; this is for one accepted in this very moment.
            eventLoop.scheduleTask(in: .seconds(1)) { isEmpty.succeed() }
        }
        hub.drain(whenEmpty: isEmpty)
        _ = try? await isEmpty.futureResult.get()
        timer.cancel()
    }
}

extension ServerBootstrap {
    fileprivate func connectionOptions() -> ServerBootstrap {
        ConnectionOptions.all.reduce(self) { $0.childChannelOption($1.option, value: $1.value) }
            .childChannelOption(.recvAllocator, value: ConnectionOptions.receiveAllocator)
            .childChannelOption(.maxMessagesPerRead, value: ConnectionOptions.chunksPerRead)
            .childChannelOption(.writeBufferWaterMark, value: ConnectionOptions.waterMark)
    }
}
