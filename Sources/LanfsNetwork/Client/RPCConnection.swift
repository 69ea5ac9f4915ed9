import LanfsCrypto
import LanfsProtocol
import NIOCore
import NIOPosix

/// What a server answered; the payload is the sealed bytes that `response` announces.
public struct Reply: Sendable {
    public let response: Response
    public let payload: ByteBuffer?
    /// `RPCConnection.number` of the connection that carried both request and answer.
    public let connection: UInt64
}

/// What a client's connection keeps in memory, in bytes.
public struct ClientLimits: Sendable {
    /// Above this `call` waits before it sends.
    public var unwrittenBeforeWaiting = 8 << 20
    /// Above this the variant with a completion, which cannot wait, fails with `overloaded`.
    public var unwrittenAtMost = 64 << 20

    public init() {}
}

/// One encrypted connection to one server. Any number of requests may be under way from any threads; they are sent in
/// the order of the calls and answered in any order. Closes when the last reference goes; `close()` does it now.
public final class RPCConnection: Sendable {
    /// Different for every connection of this process: what was put on one is flushed by a flush on the same.
    public let number: UInt64
    /// Where the server is, for messages.
    public let address: String
    /// Its static key, proven.
    public let server: ServerID
    /// Names this very connection: what `sessionProof` signs.
    public let handshakeHash: [UInt8]
    /// Whether this was first contact: nothing vouched for the server's key but the caller's requirement, if any.
    public let isFirstContact: Bool

    private let peer: ClientPeer

    init(address: String, server: ServerID, session: Session, peer: ClientPeer) {
        number = peer.number
        self.address = address
        self.server = server
        handshakeHash = session.handshakeHash
        isFirstContact = session.newPairwiseKey != nil
        self.peer = peer
    }

    deinit { peer.close() }

    /// Waits while too much is still unsent. Throws `disconnected` when the connection ends first: whether the request
    /// was carried out is then unknown (P5).
    public func call(_ request: Request, payload: ByteBuffer? = nil) async throws(NetworkError) -> Reply {
        if Task.isCancelled { throw .cancelled }
        while !peer.hasRoom { try await waitForRoom() }
        let id = peer.reserveID()
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<CallResult, Never>) in
                peer.send(request, payload: payload, id: id) { continuation.resume(returning: $0) }
                // The handler may have run before there was something to cancel.
                if Task.isCancelled { peer.cancel(id) }
            }
        } onCancel: {
            peer.cancel(id)
        }
        return try result.get()
    }

    /// For threads outside Swift concurrency: never waits. The completion runs once, on the connection's event loop or
    /// at once on the caller's thread; it must not block.
    public func call(
        _ request: Request, payload: ByteBuffer? = nil,
        completion: @escaping @Sendable (Result<Reply, NetworkError>) -> Void
    ) {
        peer.send(request, payload: payload, id: peer.reserveID(), completion: completion)
    }

    /// Runs `body` once, when the connection has ended for any reason; at once when it has already.
    public func onClose(_ body: @escaping @Sendable (NetworkError) -> Void) { peer.onEnd(body) }

    /// Why the connection ended; `nil` while it is usable.
    public var failure: NetworkError? { peer.end }

    /// Requests are under way and nothing at all was heard for a second: the server, or the way to it, has trouble.
    public var isQuiet: Bool { peer.isQuiet.load(ordering: .relaxed) }

    /// Fails what is under way, says goodbye and closes. Returns at once.
    public func close() { peer.close() }

    private func waitForRoom() async throws(NetworkError) {
        let token = OneToken()
        let failure = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<NetworkError?, Never>) in
                guard let wait = peer.waitForRoom({ continuation.resume(returning: $0) }) else {
                    return continuation.resume(returning: nil)
                }
                token.set(wait)
                if Task.isCancelled { peer.cancelWait(wait) }
            }
        } onCancel: {
            if let wait = token.get() { peer.cancelWait(wait) }
        }
        if let failure { throw failure }
    }
}
