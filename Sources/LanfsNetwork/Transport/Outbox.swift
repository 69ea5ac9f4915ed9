import LanfsProtocol
import NIOCore
import Synchronization

/// Sealed block bytes on their way out, never copied into the stream.
public enum OutgoingPayload: Sendable {
    case bytes(ByteBuffer)
    /// Sent by `sendfile`: for bytes that are in the page cache, since a read from disk would stop the event loop. The
    /// region's handle is closed when they have left.
    case file(FileRegion)

    var count: Int {
        switch self {
        case .bytes(let buffer): buffer.readableBytes
        case .file(let region): region.readableBytes
        }
    }

    func discard() {
        if case .file(let region) = self { try? region.fileHandle.close() }
    }
}

struct OutgoingMessage: Sendable {
    /// Request id and message, not sealed yet: the order of sealing is the order of sending.
    let plain: [UInt8]
    let payload: OutgoingPayload?
    /// Bytes of memory to report as given back once this was written to the socket.
    let weight: Int
    /// The goodbye, after which the stream has ended.
    let isLast: Bool

    /// `nil` when no receiver would take so long a message.
    init?(_ message: some WireMessage, id: RequestID, payload: OutgoingPayload?, weight: Int) {
        precondition(
            message.payloadLength == payload?.count ?? 0,
            "a message that announces \(message.payloadLength) bytes comes with \(payload?.count ?? 0)")
        var writer = ByteWriter(reserving: 128)
        writer.append(id)
        message.encode(into: &writer)
        guard writer.bytes.count <= Limits.messageSize else { return nil }
        plain = writer.bytes
        self.payload = payload
        self.weight = weight
        isLast = false
    }

    private init(_ control: FrameWire.Control) {
        plain = FrameEncoder.plain(control)
        payload = nil
        weight = 0
        isLast = control == .goodbye
    }

    static let alive = OutgoingMessage(.alive)
    static let goodbye = OutgoingMessage(.goodbye)
}

/// Messages that any thread leaves to be sent, and whose turn it is to send them. One at a time seals and writes, so
/// that the order of sealing is the order of the bytes; whoever comes meanwhile leaves its message to it.
///
/// A thread that finds nobody at it writes to the socket itself: to wake the event loop for that costs a hand-over to
/// another thread, about 50 us where the other core is asleep, and a request has one on each side. What is large, and what
/// the socket does not take at once, goes through the event loop.
final class Outbox: Sendable {
    fileprivate enum Turn {
        case nobody
        /// A thread that called `send`.
        case thread
        /// `isAwaited`: it has been woken and has not looked yet.
        case eventLoop(isAwaited: Bool)
    }

    fileprivate struct State {
        var messages: [OutgoingMessage] = []
        /// What a thread could not write, to go before everything else.
        var rest: Remainder?
        /// Until the connection is open nothing may leave.
        var turn = Turn.eventLoop(isAwaited: false)
        var isOpen = true
        var stream: OutgoingStream?
    }

    /// Sealed bytes that the socket did not take, and the weight to report with them.
    struct Remainder {
        let bytes: ByteBuffer
        let weight: Int
    }

    enum Next {
        case nothing
        case wakeEventLoop
        /// It is the caller's turn, from here to `nextForThread` saying otherwise.
        case send(OutgoingStream)
    }

    /// Sealed and sent at once by a thread.
    private static let smallPayload = 64 << 10
    private static let smallBatch = 256 << 10

    private let state = Mutex(State())

    /// A closed outbox discards.
    func append(_ message: OutgoingMessage, onEventLoop: Bool) -> Next {
        let next = state.withLock { state -> Next? in
            guard state.isOpen else { return nil }
            state.messages.append(message)
            switch state.turn {
            case .thread, .eventLoop(isAwaited: true): return .nothing
            case .nobody:
                if !onEventLoop, message.isSmall(Self.smallPayload), let stream = state.stream, stream.hasSocket {
                    state.turn = .thread
                    return .send(stream)
                }
            case .eventLoop(isAwaited: false): break
            }
            state.turn = .eventLoop(isAwaited: true)
            return .wakeEventLoop
        }
        if next == nil { message.payload?.discard() }
        return next ?? .nothing
    }

    /// What the thread whose turn it is has to send next; `nil`: its turn is over.
    func nextForThread() -> (messages: [OutgoingMessage]?, mustWake: Bool) {
        state.withLock { state in
            var size = 0
            let count = state.messages.prefix { message in
                size += message.size
                return message.isSmall(Self.smallPayload) && size <= Self.smallBatch
            }.count
            guard count > 0 else { return (nil, state.endThreadsTurn()) }
            let taken = Array(state.messages.prefix(count))
            state.messages.removeFirst(count)
            return (taken, false)
        }
    }

    /// The thread's turn is over before everything is sent. Returns whether the event loop must be woken.
    func handOver(_ rest: Remainder?) -> Bool {
        state.withLock { state in
            state.rest = rest
            return state.endThreadsTurn()
        }
    }

    // MARK: The event loop's turn

    /// The connection is open, and the event loop's turn begins.
    func open(_ stream: OutgoingStream) {
        state.withLock { $0.stream = $0.isOpen ? stream : nil }
    }

    /// Takes the turn and everything that waits; `nil` while a thread has it, which wakes the event loop if it leaves
    /// anything.
    func takeAll() -> (rest: Remainder?, messages: [OutgoingMessage])? {
        state.withLock { state in
            if case .thread = state.turn { return nil }
            state.turn = .eventLoop(isAwaited: false)
            var taken: [OutgoingMessage] = []
            swap(&taken, &state.messages)
            defer { state.rest = nil }
            return (state.rest, taken)
        }
    }

    /// Everything that was taken has left. What has come meanwhile has woken the event loop.
    func giveUpTurn() {
        state.withLock { state in
            if state.messages.isEmpty, state.rest == nil, case .eventLoop(isAwaited: false) = state.turn { state.turn = .nobody }
        }
    }

    /// After this one nothing is accepted.
    func append(last message: OutgoingMessage) {
        state.withLock { state in
            guard state.isOpen else { return }
            state.messages.append(message)
            state.isOpen = false
        }
    }

    func close() {
        let left = state.withLock { state in
            state.isOpen = false
            state.stream = nil
            state.rest = nil
            var left: [OutgoingMessage] = []
            swap(&left, &state.messages)
            return left
        }
        for message in left { message.payload?.discard() }
    }
}

extension Outbox.State {
    /// Returns whether the event loop must be woken to go on.
    fileprivate mutating func endThreadsTurn() -> Bool {
        let isDone = messages.isEmpty && rest == nil
        turn = isDone ? .nobody : .eventLoop(isAwaited: true)
        return !isDone
    }
}

extension OutgoingMessage {
    fileprivate var size: Int { plain.count + (payload?.count ?? 0) }

    fileprivate func isSmall(_ limit: Int) -> Bool {
        if isLast { return false }
        return switch payload {
        case nil: true
        case .bytes(let bytes): bytes.readableBytes <= limit
        case .file: false
        }
    }
}
