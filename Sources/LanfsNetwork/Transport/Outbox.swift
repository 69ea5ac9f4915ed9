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
    }
}

/// Messages that any thread leaves for the connection's event loop: one wake-up and one write for all that are ready.
final class Outbox: Sendable {
    private struct State {
        var messages: [OutgoingMessage] = []
        var isScheduled = false
        var isOpen = true
    }

    private let state = Mutex(State())

    /// Whether the caller must make the event loop take them. A closed outbox discards.
    func append(_ message: OutgoingMessage) -> Bool {
        let (accepted, mustWake) = state.withLock { state in
            guard state.isOpen else { return (false, false) }
            state.messages.append(message)
            defer { state.isScheduled = true }
            return (true, !state.isScheduled)
        }
        if !accepted { message.payload?.discard() }
        return mustWake
    }

    func takeAll() -> [OutgoingMessage] {
        state.withLock { state in
            state.isScheduled = false
            var taken: [OutgoingMessage] = []
            swap(&taken, &state.messages)
            return taken
        }
    }

    func close() {
        let left = state.withLock { state in
            state.isOpen = false
            var left: [OutgoingMessage] = []
            swap(&left, &state.messages)
            return left
        }
        for message in left { message.payload?.discard() }
    }
}
