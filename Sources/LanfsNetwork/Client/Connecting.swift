import LanfsCrypto
import LanfsProtocol
import NIOCore
import NIOPosix

extension RPCConnection {
    /// Connects to whichever of these endpoints answers first. `server`: the only key that will do; `nil` takes (and
    /// pins) the key that the server shows, which only a person who named the host can decide.
    ///
    /// A pinned server is met with IK. When it does not know the pairwise key any more, XX follows, and its key must
    /// still be the pinned one.
    public static func connect(
        to endpoints: [Endpoint], server: ServerID?, pins: any Pins, group: any EventLoopGroup,
        timeouts: Timeouts = Timeouts(), limits: ClientLimits = ClientLimits()
    ) async throws(NetworkError) -> RPCConnection {
        let connector = Connector(server: server, pins: pins, group: group, timeouts: timeouts, limits: limits)
        return try await connector.race(endpoints)
    }
}

private struct Connector: Sendable {
    let server: ServerID?
    let pins: any Pins
    let group: any EventLoopGroup
    let timeouts: Timeouts
    let limits: ClientLimits

    /// Between attempts at one address after the other, while none has answered.
    private var headStart: Duration { .milliseconds(150) }

    func race(_ endpoints: [Endpoint]) async throws(NetworkError) -> RPCConnection {
        var addresses: [SocketAddress] = []
        var failure: NetworkError?
        for endpoint in endpoints {
            do {
                for address in try await endpoint.addresses() where !addresses.contains(address) {
                    addresses.append(address)
                }
            } catch { failure = error }
        }
        guard !addresses.isEmpty else {
            throw failure ?? .noAddress(of: server.map { fingerprint(of: $0.bytes) } ?? "unknown")
        }
        if addresses.count == 1 { return try await connect(to: addresses[0]) }

        return try await firstSuccess(
            of: addresses.enumerated().map { index, address in
                { @Sendable in await connect(to: address, after: headStart * index) }
            })
    }

    private func connect(to address: SocketAddress, after pause: Duration) async -> Result<RPCConnection, NetworkError>
    {
        do throws(NetworkError) {
            // A cancelled sleep is a race that was won.
            if pause > .zero, (try? await Task.sleep(for: pause)) == nil { throw .cancelled }
            return .success(try await connect(to: address))
        } catch {
            return .failure(error)
        }
    }

    func connect(to address: SocketAddress) async throws(NetworkError) -> RPCConnection {
        if let server, let pin = pins.pin(of: server) {
            do throws(AttemptFailure) {
                return try await attempt(address, pin: pin)
            } catch {
                guard case .handshake(.startOver) = error else { throw error.described(address.text) }
            }
        }
        do throws(AttemptFailure) {
            return try await attempt(address, pin: nil)
        } catch {
            throw error.described(address.text)
        }
    }

    /// One TCP connection and one handshake. `pin`: IK; without: XX, with the server's key required if it is known.
    private func attempt(_ address: SocketAddress, pin: Pin?) async throws(AttemptFailure) -> RPCConnection {
        if Task.isCancelled { throw .network(.cancelled) }
        let clientKey = pin?.clientKey ?? server.flatMap { pins.pin(of: $0)?.clientKey } ?? pins.newClientKey()
        let eventLoop = group.next()
        let promise = eventLoop.makePromise(of: Session.self)
        let peer = ClientPeer(eventLoop: eventLoop, address: address.text, limits: limits, establishment: promise)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(timeouts.connect))
            .connectionOptions()
            .channelInitializer { [server, timeouts] channel in
                channel.eventLoop.makeCompletedFuture {
                    let handshake = try InitiatorHandshake(pin: pin, clientKey: clientKey, required: server)
                    try channel.pipeline.syncOperations.addHandler(
                        TransportHandler(
                            peer: peer, link: peer.link, handshake: handshake, timeouts: timeouts,
                            address: address.text))
                }
            }
        let session: Session
        do {
            session = try await withTaskCancellationHandler {
                do {
                    _ = try await bootstrap.connect(to: address).get()
                } catch {
                    promise.fail(NetworkError.unreachable(address: address.text, reason: reason(of: error)))
                }
                return try await promise.futureResult.get()
            } onCancel: {
                peer.link.abort(.cancelled)
            }
        } catch let failure as HandshakeFailure {
            throw .handshake(failure)
        } catch let error as NetworkError {
            throw .network(error)
        } catch {
            throw .network(.unreachable(address: address.text, reason: reason(of: error)))
        }
        guard let remote = ServerID(session.remoteKey) else { throw .handshake(.violation("its key is too short")) }
        let connection = RPCConnection(address: address.text, server: remote, session: session, peer: peer)
        if let pairwiseKey = session.newPairwiseKey {
            do {
                try pins.keep(Pin(server: remote, clientKey: clientKey, pairwiseKey: pairwiseKey))
            } catch {
                connection.close()
                throw .network(.pinNotKept(server: fingerprint(of: remote.bytes), reason: reason(of: error)))
            }
        }
        return connection
    }
}

private enum AttemptFailure: Error {
    case handshake(HandshakeFailure)
    case network(NetworkError)

    func described(_ address: String) -> NetworkError {
        switch self {
        case .network(let error): error
        case .handshake(let failure): failure.described(address)
        }
    }
}

extension HandshakeFailure {
    func described(_ address: String) -> NetworkError {
        switch self {
        case .notLanfs: .notLanfs(address: address)
        case .otherVersion(let theirs):
            .otherVersion(address: address, ours: HandshakeWire.version, theirs: theirs)
        case .startOver: .handshakeFailed(address: address, reason: "it does not know us and does not want to")
        case .wrongServerKey(let expected, let found):
            .wrongServerKey(
                address: address, expected: fingerprint(of: expected), found: fingerprint(of: found))
        case .crypto(let error): .handshakeFailed(address: address, reason: error.description)
        case .violation(let what): .violation(address: address, what: what)
        }
    }
}

extension ClientBootstrap {
    fileprivate func connectionOptions() -> ClientBootstrap {
        ConnectionOptions.all.reduce(self) { $0.channelOption($1.option, value: $1.value) }
            .channelOption(.recvAllocator, value: ConnectionOptions.receiveAllocator)
            .channelOption(.maxMessagesPerRead, value: ConnectionOptions.chunksPerRead)
            .channelOption(.writeBufferWaterMark, value: ConnectionOptions.waterMark)
    }
}
