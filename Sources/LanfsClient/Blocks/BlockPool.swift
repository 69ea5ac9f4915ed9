import LanfsNetwork
import LanfsProtocol
import NIOCore
import Synchronization

/// The blocks of the volume on its servers: sending new ones, making them durable, fetching what is asked for.
final class BlockPool: Sendable {
    /// Bytes sent and not yet flushed at most; they are kept here, because a server that crashes may lose them.
    private static let largestWindow = 32 << 20
    /// As long as nothing is known of the way to the server.
    private static let firstWindow = 4 << 20
    /// What is on its way must not take longer: the lease's renewals queue behind it (L1), and it lasts ten seconds.
    private static let windowTime = Duration.seconds(2)
    /// Bytes after which a flush starts by itself, so that a long write never waits for one large flush.
    private static let flushAfter = 8 << 20

    private struct Upload {
        let bytes: ByteBuffer
        var gcEpoch: UInt64
        /// The connection it was last given to.
        var connection: UInt64?
        /// It is on that connection's way, so a flush sent from now on comes after it.
        var isSent = false
        var isAcknowledged = false
        /// Grows each time it is sent: a flush vouches for the sending it followed, not for a later one.
        var attempt: UInt64 = 0

        /// Whether this sending is the newest and nothing has come between.
        func isAttempt(_ number: UInt64) -> Bool { connection != nil && attempt == number }
        func isAttempt(_ sending: Sending) -> Bool {
            sending.isCarried ? attempt == sending.attempt : isAttempt(sending.attempt)
        }
    }

    /// One sending of a block.
    private struct Sending {
        let block: BlockID
        let attempt: UInt64
        /// Within a commit request, not as a put.
        var isCarried = false
    }

    private struct State {
        var uploads: [BlockID: Upload] = [:]
        var bytes = 0
        /// Memory of large blocks that are flushed, for those that come.
        var spares: [ByteBuffer] = []
        var bytesSinceFlush = 0
        var isFlushing = false
        var refusal: Refusal?
        var waitersForRoom: [CheckedContinuation<Result<Bool, VolumeError>, Never>] = []
        var waitersForAnswers: [CheckedContinuation<Bool, Never>] = []

        var window = BlockPool.firstWindow

        var wantsFlush: Bool {
            bytesSinceFlush > min(BlockPool.flushAfter, window / 2) || !waitersForRoom.isEmpty
        }

        /// Whether the block is to be sent, for the first time or with a newer tag (G2).
        mutating func take(_ block: SealedBlock, gcEpoch: UInt64) -> Bool {
            guard var upload = uploads[block.id] else {
                uploads[block.id] = Upload(bytes: block.bytes, gcEpoch: gcEpoch)
                bytes += block.bytes.readableBytes
                return true
            }
            guard upload.gcEpoch < gcEpoch else { return false }
            upload.gcEpoch = gcEpoch
            upload.connection = nil
            upload.attempt += 1
            uploads[block.id] = upload
            return true
        }

        /// So many bytes were made durable in this time.
        mutating func note(_ bytes: Int, in time: Duration) {
            guard bytes >= 1 << 20, time > .zero else { return }
            window = min(max(1 << 20, Int(Double(bytes) * (BlockPool.windowTime / time))), BlockPool.largestWindow)
        }
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
    ///
    /// - Throws: what keeps the server from storing anything, once no room is left here.
    func upload(_ block: SealedBlock, gcEpoch: UInt64) async throws(VolumeError) {
        try await waitForRoom()
        let isToBeSent = state.withLock { state in
            guard state.take(block, gcEpoch: gcEpoch) else { return false }
            state.bytesSinceFlush += block.bytes.readableBytes
            return true
        }
        if isToBeSent, let connection = link.current { send([block.id], on: connection) }
        flushInBackground()
    }

    /// Memory for a block to be sealed, while others are on their way: giving it back each time would cost fresh pages, and a
    /// heap in which blocks and chunks alternate grows to twice what is in use.
    func spareBuffer() -> ByteBuffer {
        state.withLock { $0.spares.popLast() } ?? ByteBuffer()
    }

    /// Returns once a block more may be kept here.
    func waitForRoom() async throws(VolumeError) {
        while try await waitsForRoom() {}
    }

    /// Whether there was no room; waits until there is some then, which others may take first.
    private func waitsForRoom() async throws(VolumeError) -> Bool {
        try await withCheckedContinuation { (continuation: CheckedContinuation<Result<Bool, VolumeError>, Never>) in
            let waits = state.withLock { state in
                guard state.bytes > state.window else { return false }
                state.waitersForRoom.append(continuation)
                return true
            }
            if waits { flushInBackground() } else { continuation.resume(returning: .success(false)) }
        }.get()
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
            do throws(VolumeError) {
                repeat { try await self.flush() } while self.goesOnFlushing()
            } catch {
                // Whoever waits for room has to know; the next who comes tries again.
                let waiters = self.state.withLock { state in
                    state.isFlushing = false
                    state.bytesSinceFlush = 0
                    defer { state.waitersForRoom = [] }
                    return state.waitersForRoom
                }
                for waiter in waiters { waiter.resume(returning: .failure(error)) }
            }
        }
    }

    private func goesOnFlushing() -> Bool {
        state.withLock { state in
            state.isFlushing = state.wantsFlush
            return state.isFlushing
        }
    }

    /// Takes a block in without waiting: it can be read back at once, and the next flush or commit sends it.
    func hold(_ block: SealedBlock, gcEpoch: UInt64) {
        state.withLock { _ = $0.take(block, gcEpoch: gcEpoch) }
    }

    /// - Returns: those that are on this connection's way now, so that a flush sent on it vouches for them.
    @discardableResult
    private func send(_ blocks: [BlockID], on connection: RPCConnection) -> [Sending] {
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
        return state.withLock { state in
            blocks.compactMap { block -> Sending? in
                guard let upload = state.uploads[block], upload.connection == name, upload.isSent else { return nil }
                return Sending(block: block, attempt: upload.attempt)
            }
        }
    }

    private func answered(_ block: BlockID, _ attempt: UInt64, _ result: Result<Reply, NetworkError>) {
        let waiters = state.withLock { state -> [CheckedContinuation<Bool, Never>] in
            guard state.uploads[block]?.isAttempt(attempt) ?? false else { return [] }
            switch result {
            case .success(let reply):
                switch reply.response {
                case .done: state.uploads[block]?.isAcknowledged = true
                case .refused(let refusal):
                    state.uploads[block]?.connection = nil
                    // The flush that comes after it says so.
                    if refusal.reason != .closing { state.refusal = refusal }
                default: state.uploads[block]?.connection = nil
                }
            case .failure: state.uploads[block]?.connection = nil
            }
            defer { state.waitersForAnswers = [] }
            return state.waitersForAnswers
        }
        for waiter in waiters { waiter.resume(returning: false) }
    }

    /// Returns once every block uploaded before is on the server's disk (B2). Blocks that a lost connection may have
    /// lost are sent again.
    func flush() async throws(VolumeError) {
        let blocks = blocksToFlush()
        guard !blocks.isEmpty else { return }
        while true {
            let connection = try await connect()
            let start = ContinuousClock.now
            let covered = send(blocks, on: connection)
            // The flush follows the blocks on the wire at once: the server answers it after all of them.
            let reply: Reply
            do throws(NetworkError) {
                reply = try await call(.flush, on: connection).get()
            } catch {
                try check(error)
                continue
            }
            if case .refused(let refusal) = reply.response {
                if refusal.reason == .closing { continue }
                throw .refused(refusal)
            }
            await waitForAnswers(to: covered)
            settle(covered.filter(isAcknowledged), since: start)
            if let refusal = state.withLock({ $0.refusal }) { throw .refused(refusal) }
            if state.withLock({ state in blocks.allSatisfy { state.uploads[$0] == nil } }) { return }
        }
    }

    /// Flushes every block uploaded before and then asks the keeper, both in one round. What cannot be done that way,
    /// because another thread is just sending a block, takes two.
    func commit(_ request: RegisterRequest, _ completion: @escaping @Sendable (RootRegister.Answer) -> Void) {
        let blocks = blocksToFlush()
        guard let connection = link.current else { return completion(.lost) }
        let carried = carry(blocks, on: connection)
        let others = blocks.filter { block in !carried.names.contains { $0.block == block } }
        let covered = send(others, on: connection)
        guard covered.count == others.count, others.count <= Request.blockLimit else {
            Task.detached { completion(await self.flushThenAsk(request)) }
            return
        }
        call(
            .commit(blocks: others, carrying: carried.names, request),
            payload: carried.names.isEmpty ? nil : carried.payload, on: connection
        ) { result in
            switch result.map(\.response) {
            // What was carried is on disk with a vote, and not without.
            case .success(.register(let response)):
                self.settle(response.verdict == .yes ? covered + carried.sendings : covered)
            case .success(.missing(let blocks)): self.forgetSent(covered.filter { blocks.contains($0.block) })
            default: break
            }
            completion(RootRegister.Answer(result))
        }
    }

    /// Small blocks that are to travel within a commit request.
    private struct Carried {
        var names: [Request.Carried] = []
        var sendings: [Sending] = []
        var payload = ByteBuffer()
    }

    /// Those of `blocks` that were not sent and that one request has room for.
    private func carry(_ blocks: [BlockID], on connection: RPCConnection) -> Carried {
        var carried = Carried()
        let waiters = state.withLock { state in
            for block in blocks where carried.names.count < Limits.carriedBlocks {
                guard var upload = state.uploads[block], upload.connection != connection.number,
                    carried.payload.readableBytes + upload.bytes.readableBytes <= Limits.carriedSize
                else { continue }
                // It stays unsent: a flush meanwhile sends it as well, and is the one that vouches for it then.
                upload.connection = nil
                upload.attempt += 1
                state.uploads[block] = upload
                carried.sendings.append(Sending(block: block, attempt: upload.attempt, isCarried: true))
                carried.names.append(
                    Request.Carried(block: block, length: UInt32(upload.bytes.readableBytes), gcEpoch: upload.gcEpoch))
                carried.payload.writeImmutableBuffer(upload.bytes)
            }
            defer { state.waitersForAnswers = [] }
            return state.waitersForAnswers
        }
        // What they wait for will not be answered.
        for waiter in waiters { waiter.resume(returning: false) }
        return carried
    }

    private func flushThenAsk(_ request: RegisterRequest) async -> RootRegister.Answer {
        do throws(VolumeError) {
            try await flush()
        } catch .refused(let refusal) {
            return .refused(refusal)
        } catch {
            return .lost
        }
        return await withCheckedContinuation { continuation in
            link.call(.register(request)) { continuation.resume(returning: RootRegister.Answer($0)) }
        }
    }

    private func blocksToFlush() -> [BlockID] {
        state.withLock { state in
            state.bytesSinceFlush = 0
            state.refusal = nil
            return Array(state.uploads.keys)
        }
    }

    private func call(_ request: Request, on connection: RPCConnection) async -> Result<Reply, NetworkError> {
        await withCheckedContinuation { continuation in
            call(request, on: connection) { continuation.resume(returning: $0) }
        }
    }

    /// Asks for a flush. The server tells a connection once that its disk lost blocks of before: they are forgotten as
    /// sent in the order the answers come, before a later flush could vouch for them.
    private func call(
        _ request: Request, payload: ByteBuffer? = nil, on connection: RPCConnection,
        _ completion: @escaping @Sendable (Result<Reply, NetworkError>) -> Void
    ) {
        connection.call(request, payload: payload) { result in
            if case .success(let reply) = result, case .refused = reply.response {
                self.forgetSent(on: connection.number)
            }
            completion(result)
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

    /// The server does not have these.
    private func forgetSent(_ sendings: [Sending]) {
        let waiters = state.withLock { state in
            for sending in sendings where state.uploads[sending.block]?.isAttempt(sending.attempt) ?? false {
                state.uploads[sending.block]?.connection = nil
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

    private func isAcknowledged(_ sending: Sending) -> Bool {
        state.withLock { state in
            state.uploads[sending.block].map { $0.isAttempt(sending.attempt) && $0.isAcknowledged } ?? false
        }
    }

    /// Forgets the blocks that are now durable, unless they were sent again since.
    private func settle(_ sendings: [Sending], since start: ContinuousClock.Instant? = nil) {
        let (forRoom, forAnswers) = state.withLock { state in
            let before = state.bytes
            for sending in sendings {
                guard let upload = state.uploads[sending.block], upload.isAttempt(sending) else { continue }
                state.uploads[sending.block] = nil
                state.bytes -= upload.bytes.readableBytes
                if upload.bytes.capacity > 1 << 20, state.spares.count < 8 { state.spares.append(upload.bytes) }
            }
            if state.uploads.isEmpty { state.spares = [] }
            if let start { state.note(before - state.bytes, in: ContinuousClock.now - start) }
            defer {
                state.waitersForRoom = []
                state.waitersForAnswers = []
            }
            return (state.waitersForRoom, state.waitersForAnswers)
        }
        for waiter in forRoom { waiter.resume(returning: .success(true)) }
        for waiter in forAnswers { waiter.resume(returning: false) }
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

    /// What an audit found unreachable (G5).
    func sweep(_ blocks: [BlockID], gcEpoch: UInt64, cutoff: UInt64) async throws(VolumeError) {
        _ = try await call(.sweep(blocks: blocks, gcEpoch: gcEpoch, cutoff: cutoff))
    }

    /// Blocks that are stored, in id order; none after the last.
    func list(after block: BlockID?) async throws(VolumeError) -> [StoredBlock] {
        guard case .listed(let blocks) = try await call(.list(after: block)).response else {
            throw .damaged("the server's list of blocks")
        }
        return blocks
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

extension RootRegister.Answer {
    init(_ result: Result<Reply, NetworkError>) {
        guard case .success(let reply) = result else {
            self = .lost
            return
        }
        switch reply.response {
        case .register(let response): self = .response(response)
        case .refused(let refusal) where refusal.reason != .closing: self = .refused(refusal)
        default: self = .lost
        }
    }
}
