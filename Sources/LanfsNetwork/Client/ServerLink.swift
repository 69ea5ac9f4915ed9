import LanfsCrypto
import LanfsProtocol
import NIOCore
import Synchronization

/// The lasting relation to one server: keeps a connection, finds the server again when it comes back elsewhere, and
/// repeats what may be repeated. One link is one connection at a time; a client that wants small requests not to queue
/// behind blocks makes two links to the same server.
///
/// A link works until `close()`.
public final class ServerLink: Sendable {
    public struct Configuration: Sendable {
        /// The only key that will do.
        public var server: ServerID
        /// For messages: the name a person knows the server by, or its fingerprint.
        public var name: String
        public var endpoints: [Endpoint]
        /// Where else it may be: asked whenever the known endpoints are tried again. Should take a second at most.
        public var resolve: @Sendable () async -> [Endpoint]
        /// Runs on every new connection before anybody else's calls: sends `Request.open`. What it throws ends the
        /// connection; `NetworkError.refused` reaches all who wait.
        public var onConnect: @Sendable (RPCConnection) async throws(NetworkError) -> Void
        public var timeouts = Timeouts()
        public var limits = ClientLimits()

        public init(
            server: ServerID, name: String? = nil, endpoints: [Endpoint],
            resolve: @escaping @Sendable () async -> [Endpoint] = { [] },
            onConnect: @escaping @Sendable (RPCConnection) async throws(NetworkError) -> Void = { _ in }
        ) {
            self.server = server
            self.name = name ?? fingerprint(of: server.bytes)
            self.endpoints = endpoints
            self.resolve = resolve
            self.onConnect = onConnect
        }
    }

    public enum State: Sendable, Equatable {
        /// `lastFailure` is `nil` before the first attempt has failed.
        case disconnected(since: ContinuousClock.Instant, lastFailure: NetworkError?)
        case connected(connection: UInt64)
        /// A person must act (another key, not admitted): calls fail at once; the link goes on trying every two
        /// seconds.
        case refused(NetworkError)
        case closed
    }

    private typealias Waiter = @Sendable (Result<RPCConnection, NetworkError>) -> Void

    private struct Shared {
        var state: State
        var connection: RPCConnection?
        var endpoints: [Endpoint]
        var waiters: [UInt64: Waiter] = [:]
        var nextToken: UInt64 = 0
        var observers: [UInt64: AsyncStream<State>.Continuation] = [:]
        var pause: Task<Void, Never>?
        var runner: Task<Void, Never>?

        var isClosed: Bool { state == .closed }

        /// The newest first; a server does not have many addresses.
        mutating func remember(_ fresh: [Endpoint]) {
            var merged: [Endpoint] = []
            for endpoint in fresh + endpoints where !merged.contains(endpoint) { merged.append(endpoint) }
            endpoints = Array(merged.prefix(16))
        }
    }

    private let configuration: Configuration
    private let pins: any Pins
    /// One for all connections of this link, so that who waits for answers can wait where they arrive.
    public let eventLoop: any EventLoop
    private let shared: Mutex<Shared>

    public init(_ configuration: Configuration, pins: any Pins, group: any EventLoopGroup) {
        self.configuration = configuration
        self.pins = pins
        eventLoop = group.next()
        shared = Mutex(
            Shared(state: .disconnected(since: .now, lastFailure: nil), endpoints: configuration.endpoints))
        let runner = Task { await self.run() }
        shared.withLock { $0.runner = runner }
    }

    public var server: ServerID { configuration.server }
    /// The connection there is right now, if any.
    public var current: RPCConnection? { shared.withLock { $0.connection } }
    public var name: String { configuration.name }
    public var state: State { shared.withLock { $0.state } }

    /// The state now and every later one; ends with `closed`.
    public func states() -> AsyncStream<State> {
        let (stream, continuation) = AsyncStream.makeStream(of: State.self, bufferingPolicy: .bufferingNewest(16))
        let (token, isClosed) = shared.withLock { shared in
            shared.nextToken += 1
            continuation.yield(shared.state)
            if !shared.isClosed { shared.observers[shared.nextToken] = continuation }
            return (shared.nextToken, shared.isClosed)
        }
        continuation.onTermination = { [weak self] _ in
            self?.shared.withLock { _ = $0.observers.removeValue(forKey: token) }
        }
        if isClosed { continuation.finish() }
        return stream
    }

    /// Somebody heard of the server (discovery, a beacon): tries there at once.
    public func found(at endpoints: [Endpoint]) {
        let pause = shared.withLock { shared in
            shared.remember(endpoints)
            return shared.pause
        }
        pause?.cancel()
    }

    /// Fails whatever waits, says goodbye and stops.
    public func close() {
        let (runner, pause, connection) = shared.withLock { shared in
            (shared.runner, shared.pause, shared.connection)
        }
        move(to: .closed, connection: nil)
        runner?.cancel()
        pause?.cancel()
        connection?.close()
    }

    // MARK: Calls

    /// The current connection, waiting for one if need be.
    ///
    /// Throws `deadlineExceeded` when `wait` is over first, or the reason when the server refuses us.
    public func connection(wait: Duration? = nil) async throws(NetworkError) -> RPCConnection {
        try await connection(until: wait.map { .now() + TimeAmount($0) })
    }

    /// Sends the request on the current connection. When there is none, waits for one, for `wait` at most (for ever
    /// without), and when it ends before the answer, sends the request again on the next if that cannot do harm.
    ///
    /// `onlyOn`: the connection that this request is about, by `Reply.connection`. `flush` needs it: it vouches only
    /// for what was put on its own connection, so after another took its place everything unflushed must be put again.
    /// Throws `disconnected` then.
    public func call(
        _ request: Request, payload: ByteBuffer? = nil, onlyOn number: UInt64? = nil, wait: Duration? = nil
    ) async throws(NetworkError) -> Reply {
        let deadline = wait.map { NIODeadline.now() + TimeAmount($0) }
        var repetitions = Repetitions(request, onlyOn: number)
        while true {
            let connection = try await connection(until: deadline, onlyOn: number)
            do throws(NetworkError) {
                let reply = try await connection.call(request, payload: payload)
                guard isClosing(reply) else { return reply }
                try repetitions.next(after: leave(connection))
            } catch {
                lost(connection, error)
                try repetitions.next(after: error)
            }
        }
    }

    /// For threads outside Swift concurrency: without a task as long as the connection holds. The completion must not
    /// block.
    public func call(
        _ request: Request, payload: ByteBuffer? = nil, onlyOn number: UInt64? = nil, wait: Duration? = nil,
        completion: @escaping @Sendable (Result<Reply, NetworkError>) -> Void
    ) {
        let goOn: @Sendable () -> Void = { [self] in
            Task {
                do throws(NetworkError) {
                    completion(.success(try await call(request, payload: payload, onlyOn: number, wait: wait)))
                } catch {
                    completion(.failure(error))
                }
            }
        }
        guard let connection = shared.withLock({ $0.connection }), number == nil || number == connection.number else {
            return goOn()
        }
        connection.call(request, payload: payload) { [self] result in
            var repetitions = Repetitions(request, onlyOn: number)
            do throws(NetworkError) {
                let reply = try result.get()
                guard isClosing(reply) else { return completion(result) }
                try repetitions.next(after: leave(connection))
                goOn()
            } catch {
                lost(connection, error)
                do throws(NetworkError) {
                    try repetitions.next(after: error)
                    goOn()
                } catch {
                    completion(.failure(error))
                }
            }
        }
    }

    private func isClosing(_ reply: Reply) -> Bool {
        if case .refused(let refusal) = reply.response { refusal.reason == .closing } else { false }
    }
}

/// Whether a request whose connection ended may be sent on the next.
private struct Repetitions {
    private let isAllowed: Bool
    /// A cut connection is tried for ever. A server that answers what we cannot read, or somebody who changes bits on
    /// the way, gets three more chances.
    private var violations = 3

    init(_ request: Request, onlyOn number: UInt64?) {
        isAllowed = number == nil && request.mayBeRepeated
    }

    mutating func next(after error: NetworkError) throws(NetworkError) {
        switch error {
        case .disconnected where isAllowed: return
        case .violation where isAllowed && violations > 0: violations -= 1
        default: throw error
        }
    }
}

extension Request {
    /// Carrying it out twice is the same as once. Not `flush`, `commit`, `open` and `member`, which are about one
    /// connection, nor `ask`: what a member asks, it asks again when it still wants to know.
    public var mayBeRepeated: Bool {
        switch self {
        case .put, .pass, .get, .touch, .free, .sweep, .list, .register, .status, .introduce: true
        case .flush, .commit, .open, .member, .ask: false
        }
    }
}

// MARK: Waiting for a connection

extension ServerLink {
    private func connection(
        until deadline: NIODeadline?, onlyOn number: UInt64? = nil
    ) async throws(NetworkError) -> RPCConnection {
        if Task.isCancelled { throw .cancelled }
        let now = shared.withLock { shared in ready(shared, number) }
        if let now { return try now.get() }

        let token = OneToken()
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let ready = shared.withLock { shared -> Result<RPCConnection, NetworkError>? in
                    if let ready = self.ready(shared, number) { return ready }
                    shared.nextToken += 1
                    shared.waiters[shared.nextToken] = { continuation.resume(returning: $0) }
                    token.set(shared.nextToken)
                    return nil
                }
                if let ready { return continuation.resume(returning: ready) }
                if Task.isCancelled, let wait = token.get() { giveUp(wait, .cancelled) }
                if let deadline, let wait = token.get() {
                    eventLoop.scheduleTask(deadline: deadline) { [weak self] in self?.deadlinePassed(wait) }
                }
            }
        } onCancel: {
            if let wait = token.get() { giveUp(wait, .cancelled) }
        }
        return try result.get()
    }

    /// What a call can have without waiting.
    private func ready(_ shared: borrowing Shared, _ number: UInt64?) -> Result<RPCConnection, NetworkError>? {
        if let connection = shared.connection, number == nil || number == connection.number {
            return .success(connection)
        }
        switch shared.state {
        case .closed: return .failure(.closed(address: name))
        case .refused(let error): return .failure(error)
        case .connected, .disconnected:
            return number == nil
                ? nil : .failure(.disconnected(address: name, reason: "the connection this is about has ended"))
        }
    }

    private func deadlinePassed(_ token: UInt64) {
        let lastFailure: NetworkError? =
            if case .disconnected(_, let failure) = state { failure } else { nil }
        giveUp(token, .deadlineExceeded(server: name, lastFailure: lastFailure?.description))
    }

    private func giveUp(_ token: UInt64, _ error: NetworkError) {
        shared.withLock { $0.waiters.removeValue(forKey: token) }?(.failure(error))
    }
}

// MARK: Staying connected

extension ServerLink {
    private func run() async {
        var backoff = Backoff()
        var generator = SystemRandomNumberGenerator()
        while !shared.withLock({ $0.isClosed }) {
            do throws(NetworkError) {
                let connection = try await connectOnce()
                let start = ContinuousClock.now
                move(to: .connected(connection: connection.number), connection: connection)
                let reason = await withCheckedContinuation { continuation in
                    connection.onClose { continuation.resume(returning: $0) }
                }
                lost(connection, reason)
                // One that breaks at once must not be made again at once.
                if ContinuousClock.now - start > .seconds(1) { backoff.reset() }
            } catch {
                move(
                    to: error.isPermanent
                        ? .refused(error) : .disconnected(since: disconnectedSince, lastFailure: error),
                    connection: nil)
            }
            await pause(backoff.pause(using: &generator))
        }
    }

    private var disconnectedSince: ContinuousClock.Instant {
        if case .disconnected(let since, _) = state { since } else { .now }
    }

    /// Sleeps, until `found` has news.
    private func pause(_ duration: Duration) async {
        let pause = Task<Void, Never> { _ = try? await Task.sleep(for: duration) }
        let isClosed = shared.withLock { shared in
            shared.pause = pause
            return shared.isClosed
        }
        if isClosed { pause.cancel() }
        await pause.value
        shared.withLock { $0.pause = nil }
    }

    /// The known endpoints and those that `resolve` finds, at the same time: the old address of a server that moved may
    /// swallow packets for seconds.
    private func connectOnce() async throws(NetworkError) -> RPCConnection {
        let known = shared.withLock { $0.endpoints }
        var attempts: [@Sendable () async -> Result<RPCConnection, NetworkError>] = [
            { [self] in await open(await configuration.resolve().filter { !known.contains($0) }) }
        ]
        if !known.isEmpty { attempts.append { [self] in await open(known) } }
        return try await firstSuccess(of: attempts)
    }

    private func open(_ endpoints: [Endpoint]) async -> Result<RPCConnection, NetworkError> {
        do throws(NetworkError) {
            if endpoints.isEmpty { throw .noAddress(of: name) }
            let connection = try await RPCConnection.connect(
                to: endpoints, server: server, pins: pins, group: eventLoop, timeouts: configuration.timeouts,
                limits: configuration.limits)
            do throws(NetworkError) {
                try await configuration.onConnect(connection)
            } catch {
                connection.close()
                throw error
            }
            shared.withLock { $0.remember(endpoints) }
            return .success(connection)
        } catch {
            return .failure(error)
        }
    }

    /// Nobody is given this connection any more, if it is the connection that failed and not just one call.
    private func lost(_ connection: RPCConnection, _ reason: NetworkError) {
        guard connection.failure != nil else { return }
        move(to: .disconnected(since: .now, lastFailure: reason), connection: nil, instead: connection)
    }

    /// The server refuses new requests because it stops; those under way on this connection it still answers.
    private func leave(_ connection: RPCConnection) -> NetworkError {
        let reason = NetworkError.disconnected(address: connection.address, reason: "the server is shutting down")
        if shared.withLock({ $0.connection === connection }) {
            move(to: .disconnected(since: .now, lastFailure: reason), connection: nil, instead: connection)
            // Its goodbye ends the connection and starts the search for the next; a server that hangs must not delay
            // it.
            eventLoop.scheduleTask(in: .seconds(10)) { connection.close() }
        }
        return reason
    }

    /// Changes the state, tells who observes it, and answers who waits for a connection if there is one now or will be
    /// none.
    private func move(to state: State, connection: RPCConnection?, instead of: RPCConnection? = nil) {
        var finished: [AsyncStream<State>.Continuation] = []
        let waiters = shared.withLock { shared -> [Waiter] in
            guard !shared.isClosed, of == nil || shared.connection === of else { return [] }
            shared.state = state
            shared.connection = connection
            for observer in shared.observers.values { observer.yield(state) }
            if case .closed = state {
                finished = Array(shared.observers.values)
                shared.observers = [:]
            }
            if case .disconnected = state { return [] }
            let waiters = shared.waiters.sorted { $0.key < $1.key }.map(\.value)
            shared.waiters = [:]
            return waiters
        }
        // Not under the lock, which an observer's end takes.
        for observer in finished { observer.finish() }
        let result: Result<RPCConnection, NetworkError>
        switch state {
        case .connected, .disconnected:
            guard let connection else { return }
            result = .success(connection)
            if shared.withLock({ $0.connection !== connection }) { connection.close() }
        case .refused(let error): result = .failure(error)
        case .closed: result = .failure(.closed(address: name))
        }
        for waiter in waiters { waiter(result) }
    }
}
