import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore
import NIOPosix
import Synchronization

@testable import LanfsClient
@testable import LanfsServer

/// Stands before a real server with that server's own key, asks it what clients ask, and changes the answers.
final class Liar: Sendable {
    enum Lie: Sendable {
        case none
        /// Other bytes than were stored.
        case wrongBytes
        /// The root as it was when the lie began.
        case oldRoot
        /// Blocks are said to be stored, and are thrown away.
        case falseAcknowledgement
        /// Sessions that are not there are said to be, and to wait to join.
        case company
        /// The root as it is, said to be of an epoch far ahead.
        case laterEpoch
    }

    fileprivate struct State {
        var lie = Lie.none
        var root: Response?
        var asked: [Request] = []
    }

    fileprivate let cluster: Cluster
    fileprivate let server: Server
    fileprivate let state = Mutex(State())
    /// As a client of the real server it has a memory of its own.
    fileprivate let pins = Laboratory()
    private let listener = Mutex<RPCListener?>(nil)

    private init(_ cluster: Cluster, _ server: Server) {
        self.cluster = cluster
        self.server = server
    }

    static func start(before number: Int, of cluster: Cluster) async throws -> Liar {
        guard let server = cluster.server(number) else { throw VolumeError.noServer }
        let liar = Liar(cluster, server)
        let key = try ServerIdentity.load(cluster.folder(number).appending("identity.key"))
        let listener = try await RPCListener.bind(
            [.init(host: "127.0.0.1", port: 0)], key: key, pairings: Memory(),
            group: MultiThreadedEventLoopGroup.singleton, logger: cluster.laboratory.log
        ) { LyingSession($0, liar) }
        liar.listener.withLock { $0 = listener }
        cluster.put(listener.port, before: number)
        return liar
    }

    func tell(_ lie: Lie) { state.withLock { $0 = State(lie: lie) } }
    /// What it was asked since it was last told to lie, or not to.
    var asked: [Request] { state.withLock { $0.asked } }

    func stop() async {
        let listener = listener.withLock { $0 }
        await listener?.shutdown(within: .zero)
    }

    fileprivate func connect() async throws -> RPCConnection {
        let key = cluster.laboratory.key
        let connection = try await RPCConnection.connect(
            to: [.init(host: "127.0.0.1", port: server.port)], server: server.identity, pins: ServerPins(pins.directories),
            group: MultiThreadedEventLoopGroup.singleton)
        let proof = key.signingKey.sign(sessionProof(handshakeHash: connection.handshakeHash))
        guard let volume = VolumeID(key.volumeID) else { throw VolumeError.noServer }
        _ = try await connection.call(.open(volume: volume, proof: proof))
        return connection
    }

    private final class Memory: Pairings {
        private let keys = Mutex<[ClientID: SharedSecret]>([:])
        func pairwiseKey(with client: ClientID) -> SharedSecret? { keys.withLock { $0[client] } }
        func keep(_ pairwiseKey: SharedSecret, with client: ClientID) { keys.withLock { $0[client] = pairwiseKey } }
    }
}

private final class LyingSession: RequestHandler {
    private typealias Asked = (request: Request, payload: ByteBuffer?, id: RequestID)

    private let connection: ServerConnection
    private let liar: Liar
    private let asked: AsyncStream<Asked>.Continuation

    init(_ connection: ServerConnection, _ liar: Liar) {
        self.connection = connection
        self.liar = liar
        let (stream, asked) = AsyncStream.makeStream(of: Asked.self)
        self.asked = asked
        Task { [weak self] in
            guard let real = try? await liar.connect() else { return connection.close() }
            for await next in stream { self?.answer(next, real) }
            real.close()
        }
    }

    func received(_ request: Request, payload: ByteBuffer?, id: RequestID) { asked.yield((request, payload, id)) }
    func closed(_ reason: NetworkError) { asked.finish() }

    private func answer(_ asked: Asked, _ real: RPCConnection) {
        let lie = liar.state.withLock { state in
            state.asked.append(asked.request)
            return state.lie
        }
        switch (lie, asked.request) {
        case (_, .open): return connection.reply(asked.id, .done)
        case (_, .member): return connection.reply(asked.id, .refused(Refusal(.notAdmitted, "not now")))
        case (.falseAcknowledgement, .put), (.falseAcknowledgement, .pass): return connection.reply(asked.id, .done)
        case (.falseAcknowledgement, .flush): return connection.reply(asked.id, .missing([]))
        default: break
        }
        real.call(asked.request, payload: asked.payload) { [connection, liar] result in
            guard let reply = try? result.get() else { return connection.close() }
            switch (lie, asked.request, reply.payload) {
            case (.wrongBytes, .get, var payload?):
                let middle = payload.readerIndex + payload.readableBytes / 2
                payload.setInteger((payload.getInteger(at: middle) ?? UInt8(0)) ^ 1, at: middle)
                connection.reply(asked.id, reply.response, payload: payload)
            case (.oldRoot, .register(let request), _):
                connection.reply(asked.id, liar.root(instead: reply.response, of: request))
            case (.company, .register, _):
                connection.reply(asked.id, reply.response.changed { $0.pretendCompany() })
            case (.laterEpoch, .register, _):
                connection.reply(asked.id, reply.response.changed { $0.epoch += 1 << 40 })
            default: connection.reply(asked.id, reply.response, payload: reply.payload ?? ByteBuffer())
            }
        }
    }
}

extension Response {
    fileprivate func changed(_ lie: (inout RegisterResponse) -> Void) -> Response {
        guard case .register(var response) = self else { return self }
        lie(&response)
        return .register(response)
    }
}

extension RegisterResponse {
    fileprivate mutating func pretendCompany() {
        isAlone = false
        joining = [JoinTicket(session: 1, ticket: 1)]
    }
}

extension Liar {
    fileprivate func root(instead response: Response, of request: RegisterRequest) -> Response {
        guard case .read = request.body else { return response }
        return state.withLock { state in
            state.root = state.root ?? response
            return state.root ?? response
        }
    }
}
