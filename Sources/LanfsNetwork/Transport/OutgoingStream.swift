import Glibc
import LanfsCrypto
import NIOCore
import Synchronization

/// The sending half of an open connection: its cipher and its socket.
final class OutgoingStream: @unchecked Sendable {
    // Sendable: the cipher is touched only by whoever has the outbox's turn, and that passes from one thread to the next
    // under the outbox's lock; everything else is constant or atomic.
    private var encoder: FrameEncoder
    /// A descriptor of our own: the event loop may close its own at any moment, and the number be used again.
    private let socket: Int32?
    /// Bytes of `OutgoingMessage.weight` that a thread has written.
    private let wrote: @Sendable (Int) -> Void
    private let hasSpoken = Atomic<Bool>(false)

    init(_ encoder: consuming FrameEncoder, socket: Int32?, wrote: @escaping @Sendable (Int) -> Void) {
        self.encoder = encoder
        self.socket = socket
        self.wrote = wrote
    }

    deinit { if let socket { close(socket) } }

    var hasSocket: Bool { socket != nil }

    /// Whether a thread has written since this was last asked.
    func takeSpoken() -> Bool { hasSpoken.exchange(false, ordering: .relaxed) }

    func encode(_ message: OutgoingMessage, into buffer: inout ByteBuffer) throws(CryptoError) {
        try encoder.encode(message.plain, isFinal: message.isLast, into: &buffer)
    }

    /// Seals and writes as much as the socket takes at once; payloads are copied beside their messages. Returns the rest: the
    /// event loop waits for room, and meets what is wrong with the connection after it has read what came before.
    func write(_ messages: [OutgoingMessage]) throws(CryptoError) -> Outbox.Remainder? {
        guard let socket else { return nil }
        var weight = 0
        var batch = ByteBuffer()
        batch.reserveCapacity(messages.reduce(0) { $0 + $1.plain.count + ($1.payload?.count ?? 0) + 64 })
        for message in messages {
            weight += message.weight
            try encode(message, into: &batch)
            if case .bytes(let payload)? = message.payload { batch.writeImmutableBuffer(payload) }
        }
        hasSpoken.store(true, ordering: .relaxed)
        while batch.readableBytes > 0 {
            let count = batch.withUnsafeReadableBytes {
                send(socket, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
            }
            if count > 0 {
                batch.moveReaderIndex(forwardBy: count)
            } else if count == 0 || errno != EINTR {
                return Outbox.Remainder(bytes: batch, weight: weight)
            }
        }
        wrote(weight)
        return nil
    }
}
