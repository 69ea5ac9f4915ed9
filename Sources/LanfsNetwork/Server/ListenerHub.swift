import LanfsCrypto
import Logging
import NIOCore
import Synchronization

/// What a server's connections may hold.
public struct ServerLimits: Sendable {
    public var connections = 256
    /// Connections that have not proven a key yet; the oldest goes when there are more.
    public var handshakes = 64
    /// Unanswered requests of one connection; then no more of it is read.
    public var requestsPerConnection = 1024
    /// Bytes of payload received, or to be sent, for unanswered requests: of one connection, and of all together.
    public var bytesPerConnection = 16 << 20
    public var bytes = 64 << 20

    public init() {}
}

/// What the connections of one listener share.
final class ListenerHub: Sendable {
    private struct State {
        /// In order of arrival.
        var handshaking: [ServerConnection] = []
        var established: [ObjectIdentifier: ServerConnection] = [:]
        var isShuttingDown = false
        var whenEmpty: EventLoopPromise<Void>?
    }

    let pairings: any Pairings
    let limits: ServerLimits
    let budget: MemoryBudget
    let makeHandler: @Sendable (ServerConnection) -> any RequestHandler
    private let logger: Logger
    private let state = Mutex(State())

    init(
        pairings: any Pairings, limits: ServerLimits, logger: Logger,
        makeHandler: @escaping @Sendable (ServerConnection) -> any RequestHandler
    ) {
        self.pairings = pairings
        self.limits = limits
        self.logger = logger
        self.makeHandler = makeHandler
        budget = MemoryBudget(limit: limits.bytes)
    }

    var connectionCount: Int { state.withLock { $0.established.count } }
    var handshakeCount: Int { state.withLock { $0.handshaking.count } }

    /// Whether the connection may stay.
    func accepted(_ connection: ServerConnection) -> Bool {
        let (stays, dropped) = state.withLock { state -> (Bool, ServerConnection?) in
            guard !state.isShuttingDown, state.established.count < limits.connections else { return (false, nil) }
            state.handshaking.append(connection)
            // The newest stays: a stranger who opens many and says nothing pushes out his own, a client is done in a
            // few milliseconds.
            return (true, state.handshaking.count > limits.handshakes ? state.handshaking.removeFirst() : nil)
        }
        dropped?.link.abort(.disconnected(address: dropped?.address ?? "", reason: "too many handshakes at once"))
        return stays
    }

    func established(_ connection: ServerConnection) {
        let stays = state.withLock { state in
            state.handshaking.removeAll { $0 === connection }
            guard state.established.count < limits.connections else { return false }
            state.established[ObjectIdentifier(connection)] = connection
            return true
        }
        if !stays {
            connection.link.abort(.disconnected(address: connection.address, reason: "too many connections"))
        } else if state.withLock({ $0.isShuttingDown }) {
            connection.drain()
        }
    }

    func ended(_ connection: ServerConnection, _ error: NetworkError) {
        let whenEmpty = state.withLock { state -> EventLoopPromise<Void>? in
            state.handshaking.removeAll { $0 === connection }
            state.established[ObjectIdentifier(connection)] = nil
            guard state.established.isEmpty, state.handshaking.isEmpty else { return nil }
            return state.whenEmpty
        }
        whenEmpty?.succeed()
        logger.debug("connection ended", metadata: ["client": "\(connection.address)", "reason": "\(error)"])
    }

    /// Lets every connection answer what it has; `whenEmpty` once all are gone.
    func drain(whenEmpty: EventLoopPromise<Void>) {
        let (handshaking, established) = state.withLock { state in
            state.isShuttingDown = true
            state.whenEmpty = whenEmpty
            return (state.handshaking, Array(state.established.values))
        }
        if handshaking.isEmpty, established.isEmpty { return whenEmpty.succeed() }
        for connection in handshaking { connection.link.abort(.closed(address: connection.address)) }
        for connection in established { connection.drain() }
    }

    func abortAll() {
        for connection in state.withLock({ $0.handshaking + Array($0.established.values) }) {
            connection.link.abort(.closed(address: connection.address))
        }
    }
}
