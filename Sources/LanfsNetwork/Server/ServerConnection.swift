import LanfsCrypto
import LanfsProtocol
import Logging
import NIOCore
import Synchronization

/// The role behind one connection: answers what its client asks.
public protocol RequestHandler: AnyObject, Sendable {
    /// Requests come in the order the client sent them, on the connection's event loop: do not block it. Each must be
    /// answered once by `ServerConnection.reply`, from any thread, in any order.
    func received(_ request: Request, payload: ByteBuffer?, id: RequestID)
    /// Last call. Replies are discarded from here on.
    func closed(_ reason: NetworkError)
}

/// The server's end of a connection.
public final class ServerConnection: TransportPeer {
    typealias Incoming = Request

    private struct State {
        var session: Session?
        var handler: (any RequestHandler)?
        /// Bytes that each request counts for until its answer was written.
        var unanswered: [RequestID: Int] = [:]
        /// Those that wait for news.
        var watching: Set<RequestID> = []
        var held = 0
        var isPaused = false
        var isDraining = false
        var hasFinished = false
        var hasEnded = false
    }

    /// Where the client is, for messages.
    public let address: String
    let link: TransportLink
    private let hub: ListenerHub
    private let state = Mutex(State())

    init(address: String, eventLoop: any EventLoop, hub: ListenerHub) {
        self.address = address
        self.hub = hub
        link = TransportLink(eventLoop: eventLoop)
    }

    public var eventLoop: any EventLoop { link.eventLoop }

    /// The client's static key, proven; `nil` before the handshake has finished, so never in a handler.
    public var client: ClientID? { state.withLock { $0.session }.flatMap { ClientID($0.remoteKey) } }

    /// Names this very connection: what the client's `sessionProof` must sign. Empty before the handshake has finished.
    public var handshakeHash: [UInt8] { state.withLock { $0.session?.handshakeHash ?? [] } }

    /// Answers request `id`, once; later answers, and answers to a connection that has ended, are discarded. The
    /// payload has exactly `response.payloadLength` bytes.
    public func reply(_ id: RequestID, _ response: Response, payload: OutgoingPayload? = nil) {
        let (weight, isLast) = state.withLock { state -> (Int?, Bool) in
            guard !state.hasEnded, let weight = state.unanswered.removeValue(forKey: id) else { return (nil, false) }
            state.watching.remove(id)
            return (weight, state.isDraining && state.unanswered.isEmpty)
        }
        guard let weight else {
            payload?.discard()
            return
        }
        if let message = OutgoingMessage(response, id: id, payload: payload, weight: weight) {
            link.send(message)
        } else {
            payload?.discard()
            link.abort(.violation(address: "this server", what: "an answer too long to send"))
        }
        if isLast { finish() }
    }

    public func reply(_ id: RequestID, _ response: Response, payload: ByteBuffer) {
        reply(id, response, payload: payload.readableBytes > 0 ? .bytes(payload) : nil)
    }

    /// Takes no further requests, answers those under way, says goodbye and closes.
    public func close() { drain() }

    func drain() {
        let isIdle = state.withLock { state in
            state.isDraining = true
            return state.unanswered.isEmpty
        }
        if isIdle { finish() }
    }

    private func finish() {
        let isFirst = state.withLock { state in
            defer { state.hasFinished = true }
            return !state.hasFinished
        }
        if isFirst { link.finish() }
    }

    // MARK: Events of the transport

    func established(_ session: Session) {
        if let client = ClientID(session.remoteKey), let key = session.newPairwiseKey {
            hub.pairings.keep(key, with: client)
        }
        state.withLock { $0.session = session }
        hub.established(self)
        let handler = hub.makeHandler(self)
        let hasEnded = state.withLock { state in
            state.handler = handler
            return state.hasEnded
        }
        if hasEnded { handler.closed(.closed(address: address)) }
    }

    func admits(_ message: Request, id: RequestID) throws(Violation) -> Bool {
        let cost = message.memoryCost
        let limits = hub.limits
        let (isDuplicate, mayTake, holdsNothing) = state.withLock { state in
            let holdsNothing = state.held == 0
            let fits =
                state.held + cost <= limits.bytesPerConnection && state.unanswered.count < limits.requestsPerConnection
            state.isPaused = !(fits || holdsNothing)
            return (state.unanswered[id] != nil, fits || holdsNothing, holdsNothing)
        }
        if isDuplicate { throw Violation(what: "a second request \(id) before the first was answered") }
        guard mayTake, hub.budget.take(cost, isGuaranteed: holdsNothing, orElse: { [link] in link.resume() }) else {
            // What was written meanwhile, by another thread, may have left nothing held here: then it is guaranteed.
            let asksAgain = state.withLock { state in
                state.isPaused = true
                return state.held == 0 && !holdsNothing
            }
            if asksAgain { link.resume() }
            return false
        }
        state.withLock { state in
            state.held += cost
            state.unanswered[id] = cost
            if message.waitsForNews { state.watching.insert(id) }
        }
        return true
    }

    func received(_ message: Request, payload: ByteBuffer?, id: RequestID) throws(Violation) {
        let (handler, isDraining) = state.withLock { ($0.handler, $0.isDraining) }
        guard let handler, !isDraining else {
            return reply(id, .refused(Refusal(.closing, "the server is shutting down")))
        }
        handler.received(message, payload: payload, id: id)
    }

    func wrote(_ weight: Int) {
        let (given, wasPaused) = state.withLock { state -> (Int, Bool) in
            guard !state.hasEnded else { return (0, false) }
            state.held -= weight
            return (weight, state.isPaused)
        }
        hub.budget.giveBack(given)
        if wasPaused { link.resume() }
    }

    func saidGoodbye() { drain() }

    var isWaiting: Bool { false }
    func became(quiet: Bool) {}
    static var givesSignsOfLife: Bool { true }
    var owesAnswers: Bool { state.withLock { $0.unanswered.count > $0.watching.count } }

    func ended(_ end: TransportEnd) {
        let (handler, held) = state.withLock { state in
            state.hasEnded = true
            defer {
                state.handler = nil
                state.unanswered = [:]
                state.watching = []
                state.held = 0
            }
            return (state.handler, state.held)
        }
        hub.budget.giveBack(held)
        let error =
            switch end {
            case .handshake(let failure): failure.described(address)
            case .failed(let error): error
            }
        hub.ended(self, error)
        handler?.closed(error)
    }
}

extension Request {
    /// Memory that this request and its answer take at most, in bytes.
    var memoryCost: Int {
        switch self {
        case .put(_, let length, _), .pass(_, let length, _, _): 512 + Int(length)
        case .get(_, _, let length): 512 + (length == 0 ? Limits.blockSize : min(Int(length), Limits.blockSize))
        case .touch(let blocks, _), .flush(let blocks): 512 + 64 * blocks.count
        case .free(let blocks, _), .sweep(let blocks, _, _): 512 + 32 * blocks.count
        case .list: 64 * 1024
        case .register: 16 * 1024
        case .commit(let blocks, _, _): 16 * 1024 + 64 * blocks.count + 2 * payloadLength
        case .introduce, .member: 16 * 1024
        case .ask(.wanted): 512 + Limits.blockSize
        case .ask: MemberMessage.sizeLimit + payloadLength
        case .open, .status: 512
        }
    }
}
