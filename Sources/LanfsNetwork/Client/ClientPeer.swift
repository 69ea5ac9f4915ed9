import LanfsProtocol
import NIOCore
import Synchronization

typealias CallResult = Result<Reply, NetworkError>
typealias CallCompletion = @Sendable (CallResult) -> Void

/// The client's end of a connection: which requests are under way and who waits for them.
final class ClientPeer: TransportPeer {
    typealias Incoming = Response

    private enum Call {
        case waiting(CallCompletion)
        /// Cancelled: its answer still comes and is dropped.
        case abandoned
    }

    private struct State {
        var calls: [RequestID: Call] = [:]
        /// Those that wait for news.
        var watching: Set<RequestID> = []
        var nextID: RequestID = 1
        /// Bytes given to `send` and not yet taken by the socket.
        var unwritten = 0
        var writers: [(token: UInt64, resume: @Sendable (NetworkError?) -> Void)] = []
        var nextToken: UInt64 = 0
        var end: NetworkError?
        var onEnd: [@Sendable (NetworkError) -> Void] = []
    }

    private static let numbers = Atomic<UInt64>(0)

    let number = ClientPeer.numbers.add(1, ordering: .relaxed).newValue
    let link: TransportLink
    private let address: String
    private let limits: ClientLimits
    private let state = Mutex(State())
    let isQuiet = Atomic<Bool>(false)
    private let establishment: EventLoopPromise<Session>

    init(eventLoop: any EventLoop, address: String, limits: ClientLimits, establishment: EventLoopPromise<Session>) {
        link = TransportLink(eventLoop: eventLoop)
        self.address = address
        self.limits = limits
        self.establishment = establishment
    }

    // MARK: Calls, from any thread

    /// Names a call before it is made, so that it can be cancelled at any moment.
    func reserveID() -> RequestID {
        state.withLock { state in
            while state.nextID == FrameWire.controlID || state.calls[state.nextID] != nil { state.nextID &+= 1 }
            defer { state.nextID &+= 1 }
            return state.nextID
        }
    }

    func send(_ request: Request, payload: ByteBuffer?, id: RequestID, completion: @escaping CallCompletion) {
        let weight = (payload?.readableBytes ?? 0) + 256
        let payload = payload.flatMap { $0.readableBytes > 0 ? OutgoingPayload.bytes($0) : nil }
        guard let message = OutgoingMessage(request, id: id, payload: payload, weight: weight) else {
            return completion(.failure(.messageTooLong))
        }
        let failure: NetworkError? = state.withLock { state in
            if let end = state.end { return end }
            guard state.unwritten + weight <= limits.unwrittenAtMost || state.unwritten == 0 else {
                return .overloaded(address: address, bytes: state.unwritten)
            }
            state.calls[id] = .waiting(completion)
            if request.waitsForNews { state.watching.insert(id) }
            state.unwritten += weight
            return nil
        }
        if let failure { return completion(.failure(failure)) }
        link.send(message)
    }

    func cancel(_ id: RequestID) {
        let completion: CallCompletion? = state.withLock { state in
            guard case .waiting(let completion) = state.calls[id] else { return nil }
            state.calls[id] = .abandoned
            return completion
        }
        completion?(.failure(.cancelled))
    }

    /// `nil` when there is room now; else the token of the wait, whose end `resume` will hear of.
    func waitForRoom(_ resume: @escaping @Sendable (NetworkError?) -> Void) -> UInt64? {
        state.withLock { state in
            guard state.end == nil, state.unwritten > limits.unwrittenBeforeWaiting else { return nil }
            state.nextToken += 1
            state.writers.append((state.nextToken, resume))
            return state.nextToken
        }
    }

    func cancelWait(_ token: UInt64) {
        let writer = state.withLock { state in
            state.writers.firstIndex { $0.token == token }.map { state.writers.remove(at: $0) }
        }
        writer?.resume(.cancelled)
    }

    var hasRoom: Bool {
        state.withLock { $0.end != nil || $0.unwritten <= limits.unwrittenBeforeWaiting }
    }

    var end: NetworkError? { state.withLock { $0.end } }

    /// At once when the connection has ended already.
    func onEnd(_ body: @escaping @Sendable (NetworkError) -> Void) {
        let end = state.withLock { state in
            if state.end == nil { state.onEnd.append(body) }
            return state.end
        }
        if let end { body(end) }
    }

    func close() {
        end(.closed(address: address))
        link.finish()
    }

    // MARK: Events of the transport

    func established(_ session: Session) { establishment.succeed(session) }

    func admits(_ message: Response, id: RequestID) throws(Violation) -> Bool {
        guard state.withLock({ $0.calls[id] != nil }) else {
            throw Violation(what: "an answer to request \(id), which was not asked")
        }
        return true
    }

    func received(_ message: Response, payload: ByteBuffer?, id: RequestID) throws(Violation) {
        let call = state.withLock { state in
            state.watching.remove(id)
            return state.calls.removeValue(forKey: id)
        }
        guard let call else { return }
        guard case .waiting(let completion) = call else { return }
        completion(.success(Reply(response: message, payload: payload, connection: number)))
    }

    func wrote(_ weight: Int) {
        let writers = state.withLock { state in
            state.unwritten -= weight
            var ready: [(token: UInt64, resume: @Sendable (NetworkError?) -> Void)] = []
            if state.unwritten <= limits.unwrittenBeforeWaiting / 2 { swap(&ready, &state.writers) }
            return ready
        }
        for writer in writers { writer.resume(nil) }
    }

    func saidGoodbye() {
        end(.disconnected(address: address, reason: "the server is shutting down"))
        link.finish()
    }

    var isWaiting: Bool { state.withLock { $0.calls.count > $0.watching.count } }
    func became(quiet: Bool) { isQuiet.store(quiet, ordering: .relaxed) }
    static var givesSignsOfLife: Bool { false }
    var owesAnswers: Bool { false }

    func ended(_ end: TransportEnd) {
        switch end {
        case .handshake(let failure):
            establishment.fail(failure)
            self.end(.handshakeFailed(address: address, reason: "\(failure)"))
        case .failed(let error):
            establishment.fail(error)
            self.end(error)
        }
    }

    /// Nothing is accepted from here on and everybody who waits hears why. The first reason stays.
    private func end(_ error: NetworkError) {
        let waiting: State? = state.withLock { state in
            guard state.end == nil else { return nil }
            state.end = error
            let waiting = state
            state.calls = [:]
            state.watching = []
            state.writers = []
            state.onEnd = []
            return waiting
        }
        guard let waiting else { return }
        // In the order they were asked, as far as the ids tell.
        for case (_, .waiting(let completion)) in waiting.calls.sorted(by: { $0.key < $1.key }) {
            completion(.failure(error))
        }
        for writer in waiting.writers { writer.resume(error) }
        for listener in waiting.onEnd { listener(error) }
    }
}
