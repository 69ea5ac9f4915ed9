import LanfsCrypto
import LanfsProtocol
import NIOCore

/// A block ready to leave this machine: sealed, named by what it is, with where each frame went.
struct SealedBlock: Sendable {
    let id: BlockID
    let bytes: ByteBuffer
    /// One for each payload, in order.
    let frames: [FrameRef]

    /// Seals each payload as a frame of one new block under a fresh random key.
    ///
    /// Costs one pass of the cipher and one of SHA-256, and no copy: frames are sealed straight into the buffer that
    /// goes to the socket. `buffer`: its memory is used again when nobody else has it.
    init(frames payloads: [[UInt8]], in buffer: consuming ByteBuffer = ByteBuffer()) {
        let key = BlockKey(randomBytes(BlockKey.size)) ?? .zero
        precondition(key != .zero, "the random source gave no key")
        let size = payloads.reduce(0) { $0 + $1.count + Limits.frameOverhead }
        precondition(size <= Limits.blockSize, "a block of \(size) bytes is more than any server takes")

        var bytes = buffer
        bytes.clear(minimumCapacity: size)
        var places: [(index: UInt32, offset: UInt32, length: UInt32)] = []
        places.reserveCapacity(payloads.count)
        bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { room in
            key.withUnsafeBytes { key in
                var offset = 0
                for (index, payload) in payloads.enumerated() {
                    let length = payload.count + Limits.frameOverhead
                    payload.withUnsafeBytes {
                        FrameSeal.seal(
                            $0, key: key, index: UInt32(index),
                            into: UnsafeMutableRawBufferPointer(rebasing: room[offset..<offset + length]))
                    }
                    places.append((UInt32(index), UInt32(offset), UInt32(length)))
                    offset += length
                }
            }
            return size
        }
        let id = bytes.withUnsafeReadableBytes { BlockID(hashing: $0) }
        self.id = id
        self.bytes = bytes
        self.frames = places.map {
            FrameRef(block: id, key: key, index: $0.index, offset: $0.offset, length: $0.length)
        }
    }

    /// A block sealed earlier; nobody asks for its frames.
    init(id: BlockID, bytes: ByteBuffer) {
        self.id = id
        self.bytes = bytes
        frames = []
    }

    /// The reference to frames `first..<first + count` as one run.
    func run(first: Int, count: Int) -> FrameRef {
        var run = frames[first]
        run.length = frames[first + count - 1].offset + frames[first + count - 1].length - run.offset
        return run
    }
}

extension ID {
    init(hashing bytes: UnsafeRawBufferPointer) {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        withUnsafeMutableBytes(of: &words) { sha256(bytes, into: $0) }
        self.init(
            word0: UInt64(bigEndian: words.0), word1: UInt64(bigEndian: words.1),
            word2: UInt64(bigEndian: words.2), word3: UInt64(bigEndian: words.3))
    }
}

extension FrameRef {
    /// Opens one frame whose sealed bytes are exactly `sealed`. The authenticator proves contents, key and index, so
    /// reading needs no second hash over the block.
    func open(_ sealed: UnsafeRawBufferPointer) throws(CryptoError) -> [UInt8] {
        var outcome: Result<Int, CryptoError> = .success(0)
        let room = max(0, sealed.count - Limits.frameOverhead)
        let plain = [UInt8](unsafeUninitializedCapacity: room) { buffer, initialized in
            key.withUnsafeBytes { key in
                outcome = Result { () throws(CryptoError) in
                    try FrameSeal.open(sealed, key: key, index: index, into: UnsafeMutableRawBufferPointer(buffer))
                }
            }
            if case .success(let count) = outcome { initialized = count }
        }
        _ = try outcome.get()
        return plain
    }
}
