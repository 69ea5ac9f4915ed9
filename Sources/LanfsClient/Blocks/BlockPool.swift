import LanfsNetwork
import LanfsProtocol
import NIOCore
import Synchronization

/// The blocks of the volume on its servers: sending new ones, making them durable, fetching what is asked for.
final class BlockPool: Sendable {
    /// Bytes sent and not yet flushed at most; they are kept here, because a server that crashes may lose them.
    private static let window = 32 << 20
    /// Bytes after which a flush starts by itself, so that a long write never waits for one large flush.
    fileprivate static let flushAfter = 8 << 20

    private struct Upload {
        let bytes: ByteBuffer
        let gcEpoch: UInt64
        /// The connection it was last given to.
        var connection: UInt64?
        /// It is on that connection's way, so a flush sent from now on comes after it.
        var isSent = false
        var isAcknowledged = false
        /// Grows each time it is sent: a flush vouches for the sending it followed, not for a later one.
        var attempt: UInt64 = 0

        /// Whether this sending is the newest and nothing has come between.
        func isAttempt(_ number: UInt64) -> Bool { connection != nil && attempt == number }
    }

    /// One sending of a block.
    private struct Sending {
        let block: BlockID
        let attempt: UInt64
    }

    private struct State {
        var uploads: [BlockID: Upload] = [:]
        var bytes = 0
        /// Memory of large blocks that are flushed, for those that come.
        var spares: [ByteBuffer] = []
        var bytesSinceFlush = 0
        var isFlushing = false
        var refusal: Refusal?
        var waitersForRoom: [CheckedContinuation<Bool, Never>] = []
        var waitersForAnswers: [CheckedContinuation<Bool, Never>] = []

        var wantsFlush: Bool { bytesSinceFlush > BlockPool.flushAfter || !waitersForRoom.isEmpty }
    }

    private let state = Mutex(State())
    private let link: ServerLink
    let timeout: Duration?

    init(link: ServerLink, timeout: Duration?) {
        self.link = link
        self.timeout = timeout
    }

    // MARK: Sending

    /// Sends a block without waiting for the answer; waits only while too much is on its way. It can be read back at
    /// once. Durable after `flush`.
    func upload(_ block: SealedBlock, gcEpoch: UInt64) async {
        await waitForRoom()
        let isNew = state.withLock { state in
            guard state.uploads[block.id] == nil else { return false }
            state.uploads[block.id] = Upload(bytes: block.bytes, gcEpoch: gcEpoch)
            state.bytes += block.bytes.readableBytes
            state.bytesSinceFlush += block.bytes.readableBytes
            return true
        }
        if isNew, let connection = link.current { send([block.id], on: connection) }
        flushInBackground()
    }

    /// Memory for a block to be sealed, while others are on their way: giving it back each time would cost fresh pages, and a
    /// heap in which blocks and chunks alternate grows to twice what is in use.
    func spareBuffer() -> ByteBuffer {
        state.withLock { $0.spares.popLast() } ?? ByteBuffer()
    }

    /// Returns once a block more may be kept here, and at once when the server refuses what it is sent.
    func waitForRoom() async {
        while await waitsForRoom() {}
    }

    /// Whether there was no room; waits until there is some then, which others may take first.
    private func waitsForRoom() async -> Bool {
        await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            let waits = state.withLock { state in
                guard state.bytes > Self.window, state.refusal == nil else { return false }
                state.waitersForRoom.append(continuation)
                return true
            }
            if waits { flushInBackground() } else { continuation.resume(returning: false) }
        }
    }

    /// Keeps the window open: flushes for as long as much was sent since the last flush, or somebody waits for room.
    private func flushInBackground() {
        let starts = state.withLock { state in
            guard !state.isFlushing, state.wantsFlush else { return false }
            state.isFlushing = true
            return true
        }
        guard starts else { return }
        Task.detached {
            while true {
                // Whoever waits for the commit hears of an error; here it only means that nobody must wait for room.
                try? await self.flush()
                let goesOn = self.state.withLock { state in
                    state.isFlushing = state.wantsFlush && state.refusal == nil
                    return state.isFlushing
                }
                if !goesOn { return }
            }
        }
    }

    /// Takes a block in without waiting: it can be read back at once, and the next flush sends it.
    func hold(_ block: SealedBlock, gcEpoch: UInt64) {
        state.withLock { state in
            guard state.uploads[block.id] == nil else { return }
            state.uploads[block.id] = Upload(bytes: block.bytes, gcEpoch: gcEpoch)
            state.bytes += block.bytes.readableBytes
        }
    }

    private func send(_ blocks: [BlockID], on connection: RPCConnection) {
        let name = connection.number
        for block in blocks {
            let upload = state.withLock { state -> Upload? in
                guard var upload = state.uploads[block], upload.connection != name else { return nil }
                upload.connection = name
                upload.isSent = false
                upload.isAcknowledged = false
                upload.attempt += 1
                state.uploads[block] = upload
                return upload
            }
            guard let upload else { continue }
            let request = Request.put(
                block: block, length: UInt32(upload.bytes.readableBytes), gcEpoch: upload.gcEpoch)
            connection.call(request, payload: upload.bytes) {
                self.answered(block, upload.attempt, $0)
            }
            state.withLock { state in
                if state.uploads[block]?.isAttempt(upload.attempt) ?? false { state.uploads[block]?.isSent = true }
            }
        }
    }

    private func answered(_ block: BlockID, _ attempt: UInt64, _ result: Result<Reply, NetworkError>) {
        var released: [CheckedContinuation<Bool, Never>] = []
        let waiters = state.withLock { state -> [CheckedContinuation<Bool, Never>] in
            guard state.uploads[block]?.isAttempt(attempt) ?? false else { return [] }
            switch result {
            case .success(let reply):
                switch reply.response {
                case .done: state.uploads[block]?.isAcknowledged = true
                case .refused(let refusal):
                    state.uploads[block]?.connection = nil
                    if refusal.reason != .closing {
                        // There may be no room for long: who waits goes on, and hears of it from the commit.
                        state.refusal = refusal
                        released = state.waitersForRoom
                        state.waitersForRoom = []
                    }
                default: state.uploads[block]?.connection = nil
                }
            case .failure: state.uploads[block]?.connection = nil
            }
            defer { state.waitersForAnswers = [] }
            return state.waitersForAnswers
        }
        for waiter in waiters { waiter.resume(returning: false) }
        for waiter in released { waiter.resume(returning: false) }
    }

    /// Returns once every block uploaded before is on the server's disk (B2). Blocks that a lost connection may have
    /// lost are sent again.
    func flush() async throws(VolumeError) {
        let blocks = state.withLock { state in
            state.bytesSinceFlush = 0
            state.refusal = nil
            return Array(state.uploads.keys)
        }
        guard !blocks.isEmpty else { return }
        while true {
            let connection = try await connect()
            send(blocks, on: connection)
            let covered = state.withLock { state in
                blocks.compactMap { block -> Sending? in
                    guard let upload = state.uploads[block], upload.connection == connection.number, upload.isSent
                    else { return nil }
                    return Sending(block: block, attempt: upload.attempt)
                }
            }
            // The flush follows the blocks on the wire at once: the server answers it after all of them.
            let reply: Reply
            do throws(NetworkError) {
                reply = try await flush(on: connection).get()
            } catch {
                try check(error)
                continue
            }
            if case .refused(let refusal) = reply.response {
                if refusal.reason == .closing { continue }
                throw .refused(refusal)
            }
            await waitForAnswers(to: covered)
            try settle(covered)
            if state.withLock({ state in blocks.allSatisfy { state.uploads[$0] == nil } }) { return }
        }
    }

    /// The server tells a connection once that its disk lost blocks of before: they are forgotten as sent in the order
    /// the answers come, before a later flush could vouch for them.
    private func flush(on connection: RPCConnection) async -> Result<Reply, NetworkError> {
        await withCheckedContinuation { continuation in
            connection.call(.flush) { result in
                if case .success(let reply) = result, case .refused = reply.response {
                    self.forgetSent(on: connection.number)
                }
                continuation.resume(returning: result)
            }
        }
    }

    /// Everything sent on this connection has to be sent again.
    private func forgetSent(on connection: UInt64) {
        let waiters = state.withLock { state in
            for (block, upload) in state.uploads where upload.connection == connection {
                state.uploads[block]?.connection = nil
            }
            defer { state.waitersForAnswers = [] }
            return state.waitersForAnswers
        }
        for waiter in waiters { waiter.resume(returning: false) }
    }

    private func waitForAnswers(to sendings: [Sending]) async {
        while true {
            let isDone = await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
                let isOpen = state.withLock { state in
                    let isOpen = sendings.contains { sending in
                        state.uploads[sending.block].map { $0.isAttempt(sending.attempt) && !$0.isAcknowledged } ?? false
                    }
                    if isOpen { state.waitersForAnswers.append(continuation) }
                    return isOpen
                }
                if !isOpen { continuation.resume(returning: true) }
            }
            if isDone { return }
        }
    }

    /// Forgets the blocks that are now durable.
    private func settle(_ sendings: [Sending]) throws(VolumeError) {
        let (refusal, waiters) = state.withLock { state in
            for sending in sendings {
                guard let upload = state.uploads[sending.block], upload.isAttempt(sending.attempt), upload.isAcknowledged
                else { continue }
                state.uploads[sending.block] = nil
                state.bytes -= upload.bytes.readableBytes
                if upload.bytes.capacity > 1 << 20 { state.spares.append(upload.bytes) }
            }
            if state.uploads.isEmpty { state.spares = [] }
            let waiters = state.waitersForRoom
            state.waitersForRoom = []
            return (state.refusal, waiters)
        }
        for waiter in waiters { waiter.resume(returning: true) }
        if let refusal { throw .refused(refusal) }
    }

    /// Blocks the server may not have on disk.
    var unflushed: [(id: BlockID, bytes: ByteBuffer)] {
        state.withLock { $0.uploads.map { ($0.key, $0.value.bytes) } }
    }

    /// Acknowledged to applications and not yet known to be stored, in bytes.
    var outstandingBytes: Int { state.withLock { $0.bytes } }

    // MARK: Fetching

    /// The opened frames of a run: each of `Limits.chunkSize` but the last.
    func frames(_ run: FrameRef) async throws(VolumeError) -> [[UInt8]] {
        let size = UInt32(Limits.sealedChunkSize)
        var frames: [FrameRef] = []
        var offset: UInt32 = 0
        while offset < run.length {
            frames.append(
                FrameRef(
                    block: run.block, key: run.key, index: run.index + UInt32(frames.count),
                    offset: run.offset + offset, length: min(size, run.length - offset)))
            offset += size
        }
        return try await self.frames(of: frames)
    }

    /// Opened frames that lie one after the other in one block, fetched in one request.
    func frames(of frames: [FrameRef]) async throws(VolumeError) -> [[UInt8]] {
        guard let first = frames.first else { return [] }
        let length = frames.reduce(0) { $0 + Int($1.length) }
        guard length <= Limits.blockSize else { throw .damaged("the reference to block \(first.block.hex.prefix(16))") }
        let bytes = try await range(of: first.block, offset: first.offset, length: UInt32(length))
        var opened: [[UInt8]] = []
        opened.reserveCapacity(frames.count)
        do {
            try bytes.withUnsafeReadableBytes { bytes in
                for frame in frames {
                    let start = Int(frame.offset - first.offset)
                    opened.append(
                        try frame.open(UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(frame.length)])))
                }
            }
        } catch {
            throw .damaged("block \(first.block.hex.prefix(16)) (\(error))")
        }
        return opened
    }

    private func range(of block: BlockID, offset: UInt32, length: UInt32) async throws(VolumeError) -> ByteBuffer {
        let unflushed = state.withLock { $0.uploads[block]?.bytes }
        if let slice = unflushed?.getSlice(at: Int(offset), length: Int(length)) { return slice }
        let reply = try await call(.get(block: block, offset: offset, length: length))
        guard case .block = reply.response, let payload = reply.payload, payload.readableBytes == Int(length) else {
            throw .damaged("the answer for block \(block.hex.prefix(16))")
        }
        return payload
    }

    // MARK: Asking

    func free(_ blocks: [BlockID], gcEpoch: UInt64) async throws(VolumeError) {
        _ = try await call(.free(blocks: blocks, gcEpoch: gcEpoch))
    }

    func status() async throws(VolumeError) -> ServerStatus {
        guard case .status(let status) = try await call(.status).response else {
            throw .damaged("the server's answer about its room")
        }
        return status
    }

    /// A request that may be repeated: carried to its answer over as many connections as it takes.
    private func call(_ request: Request) async throws(VolumeError) -> Reply {
        while true {
            let connection = try await connect()
            let reply: Reply
            do throws(NetworkError) {
                reply = try await connection.call(request)
            } catch {
                try check(error)
                continue
            }
            if case .refused(let refusal) = reply.response {
                if refusal.reason == .closing { continue }
                throw .refused(refusal)
            }
            return reply
        }
    }

    private func connect() async throws(VolumeError) -> RPCConnection {
        do throws(NetworkError) {
            return try await link.connection(wait: timeout)
        } catch {
            throw .network(error)
        }
    }

    /// Passes on what another connection would not cure.
    private func check(_ error: NetworkError) throws(VolumeError) {
        if error.isPermanent { throw .network(error) }
    }
}
