import LanfsCrypto
import NIOCore

/// Who a transport works for: the client's or the server's end of a connection. Called on the event loop.
protocol TransportPeer: AnyObject, Sendable {
    associatedtype Incoming: WireMessage

    /// The other side has proven its key and that this handshake is not a replay.
    func established(_ session: Session)
    /// Whether this message may take memory now; if not, nothing is read until `TransportLink.resume`, and it is asked
    /// again.
    func admits(_ message: Incoming, id: RequestID) throws(Violation) -> Bool
    func received(_ message: Incoming, payload: ByteBuffer?, id: RequestID) throws(Violation)
    /// So many bytes of `OutgoingMessage.weight` were written. Called on any thread.
    func wrote(_ weight: Int)
    /// The other side will send nothing more.
    func saidGoodbye()
    /// Waits for the other side: silence is suspicious.
    var isWaiting: Bool { get }
    /// It waits and has heard nothing for a while, or hears again.
    func became(quiet: Bool)
    /// A server: while the other side sends or waits, it should hear now and then that we are here.
    static var givesSignsOfLife: Bool { get }
    var owesAnswers: Bool { get }
    /// Last call.
    func ended(_ end: TransportEnd)
}

/// What the other side did that no correct implementation does.
struct Violation: Error {
    let what: String
}

enum TransportEnd {
    case handshake(HandshakeFailure)
    case failed(NetworkError)
}

/// What other threads may ask of a transport. What they send leaves from their own thread when nobody else is sending;
/// everything else is carried out on its event loop.
final class TransportLink: Sendable {
    /// A thread that sends for others as well has work of its own.
    private static let roundsAtMost = 8

    let eventLoop: any EventLoop
    let outbox = Outbox()
    private let actor: NIOLoopBoundBox<(any TransportActions)?>

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        actor = .makeEmptyBox(eventLoop: eventLoop)
    }

    func attach(_ actions: (any TransportActions)?) { actor.value = actions }

    func send(_ message: OutgoingMessage) {
        switch outbox.append(message, onEventLoop: eventLoop.inEventLoop) {
        case .nothing: break
        case .wakeEventLoop: drain()
        case .send(let stream): send(through: stream)
        }
    }

    /// On this thread, whose turn it is.
    private func send(through stream: OutgoingStream) {
        for _ in 0..<Self.roundsAtMost {
            let (messages, mustWake) = outbox.nextForThread()
            guard let messages else {
                if mustWake { drain() }
                return
            }
            do throws(CryptoError) {
                guard let rest = try stream.write(messages) else { continue }
                if outbox.handOver(rest) { drain() }
            } catch {
                // The turn is kept: nothing may follow half a message.
                eventLoop.execute { self.actor.value?.failed(error) }
            }
            return
        }
        if outbox.handOver(nil) { drain() }
    }

    private func drain() { eventLoop.execute { self.actor.value?.drain() } }

    func resume() { eventLoop.execute { self.actor.value?.resume() } }

    /// Sends what is waiting, then says goodbye, then closes when the other side did too, or after a while.
    func finish() { eventLoop.execute { self.actor.value?.finish() } }

    func abort(_ error: NetworkError) { eventLoop.execute { self.actor.value?.abort(error) } }
}

protocol TransportActions {
    func drain()
    /// A message could not be sealed.
    func failed(_ error: CryptoError)
    func resume()
    func finish()
    func abort(_ error: NetworkError)
}
