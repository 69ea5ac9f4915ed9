import NIOCore

/// The bytes received and not read yet, in the pieces they came in.
struct ChunkQueue {
    /// The piece being read; empty only when there is none.
    private(set) var first = ByteBuffer()
    private var later = CircularBuffer<ByteBuffer>(initialCapacity: 4)

    var isEmpty: Bool { first.readableBytes == 0 }

    mutating func append(_ chunk: ByteBuffer) {
        guard chunk.readableBytes > 0 else { return }
        if isEmpty { first = chunk } else { later.append(chunk) }
    }

    /// Drops bytes of the first piece; it has as many.
    mutating func skip(_ count: Int) {
        first.moveReaderIndex(forwardBy: count)
        leaveIfRead()
    }

    /// Copies bytes until `buffer` has `count`, or there are no more.
    mutating func move(to buffer: inout ByteBuffer, upTo count: Int) {
        while buffer.readableBytes < count, !isEmpty {
            let part = min(count - buffer.readableBytes, first.readableBytes)
            if var slice = first.readSlice(length: part) { buffer.writeBuffer(&slice) }
            leaveIfRead()
        }
    }

    /// The next `count` bytes where they were received, when that keeps little more memory alive than they need.
    mutating func slice(_ count: Int) -> ByteBuffer? {
        guard first.readableBytes >= count, count >= first.storageCapacity / 2,
            let slice = first.readSlice(length: count)
        else { return nil }
        leaveIfRead()
        return slice
    }

    /// Lets go of a piece at once, so that the channel can receive into its memory again.
    private mutating func leaveIfRead() {
        if first.readableBytes == 0 { first = later.popFirst() ?? ByteBuffer() }
    }
}
