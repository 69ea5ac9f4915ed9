import LanfsNetwork
import LanfsProtocol
import LanfsStore
import NIOCore
import Synchronization

/// What one connection asks of its volume. `received` is called in the order the client sent; answers leave in any.
final class VolumeSession: OpenSession {
    fileprivate struct Flush {
        var id: RequestID
        /// To be looked for once the disk is flushed.
        var expected: [BlockID] = []
        var commit: Commit?
        var refusal: Refusal?
        /// The disk must be flushed for it. What a commit carries needs none: it goes to disk with the vote.
        var needsDisk = true
    }

    fileprivate struct Commit {
        /// To be on disk before the keeper is asked.
        var blocks: [BlockID]
        var carried: [CarriedBlock]
        var request: RegisterRequest
    }

    private struct Put {
        var block: BlockID
        var payload: ByteBuffer
        var gcEpoch: UInt64
        var id: RequestID
        /// Of `PutOrder`.
        var number: Int
    }

    private struct State {
        var order = PutOrder()
        /// Small puts of which nothing has been done yet.
        var gathered: [Put] = []
        /// May go: their puts are stored.
        var flushes: [Flush] = []
        var isFlushing = false
        /// What this connection was told of lost blocks; used by one flush at a time.
        var mark: FlushMark
    }

    /// What of a long get the page cache may keep, in bytes: a file of this size may well be wanted again.
    private static let keptOfTransfer = 64 << 20

    private let volume: ServedVolume
    private let connection: ServerConnection
    private let volumes: Volumes
    private let threads: DiskThreads
    private let isTransfer: Bool
    /// Bytes of long reads.
    private let transferred = Atomic<Int>(0)
    private let state: Mutex<State>

    /// `isTransfer`: as in `Request.open`.
    init(
        _ volume: ServedVolume, connection: ServerConnection, volumes: Volumes, threads: DiskThreads, isTransfer: Bool
    ) {
        self.isTransfer = isTransfer
        self.volume = volume
        self.connection = connection
        self.volumes = volumes
        self.threads = threads
        state = Mutex(State(mark: volume.blocks.mark()))
    }

    func received(_ request: Request, payload: ByteBuffer?, id: RequestID) {
        switch request {
        case .put(let block, _, let gcEpoch): put(block, payload ?? ByteBuffer(), gcEpoch: gcEpoch, id: id)
        case .pass(let block, let length, let gcEpoch, let servers):
            let order = CopyOrder(block: block, length: length, gcEpoch: gcEpoch)
            pass(order, payload ?? ByteBuffer(), to: servers, id: id)
        case .get(let block, let offset, let length): get(block, offset: Int(offset), length: Int(length), id: id)
        case .flush, .commit, .touch, .free, .sweep, .list:
            carryOut(state.withLock { $0.order.wait(request, payload: payload, id: id) })
        case .register(let request): volume.register.submit(call(request, id: id))
        case .status:
            threads.work { [connection, volumes, volume] in connection.reply(id, .status(volumes.status(of: volume))) }
        case .introduce(let record, let endpoints):
            threads.flush { [connection, volume] in
                let isTaken = volume.members.introduced(record, endpoints)
                connection.reply(id, isTaken ? .done : .refused(Refusal(.badProof, "the record is not this volume's")))
            }
        case .ask: connection.reply(id, .refused(.notMember))
        case .open, .member: connection.reply(id, .refused(Refusal(.invalid, "this connection is about a volume already")))
        }
    }

    /// The connection has ended.
    func left() {
        volume.register.left(ObjectIdentifier(self))
    }

    private func call(_ request: RegisterRequest, carrying blocks: [CarriedBlock] = [], id: RequestID) -> RegisterCall {
        RegisterCall(request: request, session: ObjectIdentifier(self), carried: blocks) { [connection] response in
            connection.reply(id, response)
        }
    }

    // MARK: Blocks

    /// Counts the bytes of a long read; whether it belongs to a transfer that is too long for the page cache. Short
    /// ones stay: what the kernel read ahead around them will be asked for next.
    private func isPassing(_ bytes: Int) -> Bool {
        guard isTransfer, bytes > ServedVolume.shortWrite else { return false }
        return transferred.wrappingAdd(min(bytes, Limits.blockSize), ordering: .relaxed).newValue > Self.keptOfTransfer
    }

    private func put(_ block: BlockID, _ payload: ByteBuffer, gcEpoch: UInt64, id: RequestID) {
        let isShort = payload.readableBytes <= ServedVolume.shortWrite
        let (put, isFirst) = state.withLock { state -> (Put, Bool) in
            let put = Put(block: block, payload: payload, gcEpoch: gcEpoch, id: id, number: state.order.began())
            guard isShort else { return (put, false) }
            state.gathered.append(put)
            return (put, state.gathered.count == 1)
        }
        if !isShort {
            threads.work { self.carryOutLong(put) }
        } else if isFirst {
            connection.eventLoop.execute { self.startGathered() }
        }
    }

    private func carryOutLong(_ put: Put) {
        volume.store(put.block, put.payload, gcEpoch: put.gcEpoch) { [self] refusal in
            // A flush does not keep the worker, who may have more to write.
            carryOut(state.withLock { $0.order.finished(put.number, refusal) })
            connection.reply(put.id, refusal.map { .refused($0) } ?? .done)
        }
    }

    /// Small puts that came together go to one worker, once what came with them is known as well: a commit behind them is
    /// then carried out right there. Each thread woken costs as much as a small put.
    private func startGathered() {
        let puts = state.withLock { state in
            defer { state.gathered = [] }
            return state.gathered
        }
        threads.work { self.carryOut(puts) }
    }

    private func carryOut(_ puts: [Put]) {
        var answers: [(id: RequestID, response: Response)] = []
        for put in puts {
            var refusal: Refusal?
            if case .failure(let reason) = put.payload.withUnsafeReadableBytes({
                volume.store(put.block, $0, gcEpoch: put.gcEpoch)
            }) {
                refusal = reason
            }
            answers.append((put.id, refusal.map { .refused($0) } ?? .done))
            // A flush that waited for this put runs right here: all answers then leave in one packet.
            carryOut(state.withLock { $0.order.finished(put.number, refusal) }, onWorker: true)
        }
        for (id, response) in answers { connection.reply(id, response) }
    }

    /// The next server gets it while this one stores it.
    private func pass(_ order: CopyOrder, _ payload: ByteBuffer, to servers: [ServerID], id: RequestID) {
        let number = state.withLock { $0.order.began() }
        let isShort = payload.readableBytes <= ServedVolume.shortWrite
        volume.pass(order, payload, to: servers) { refusal in
            self.carryOut(self.state.withLock { $0.order.finished(number, refusal) }, onWorker: isShort)
        } answer: { [connection] failed in
            connection.reply(id, failed.isEmpty ? .done : .passed(failed: failed))
        }
    }

    private func get(_ block: BlockID, offset: Int, length: Int, id: RequestID) {
        if let bytes = volume.readAtOnce(block, offset: offset, length: length) {
            return connection.reply(id, .block(length: UInt32(bytes.readableBytes)), payload: bytes)
        }
        let once = isPassing(length == 0 ? Limits.blockSize : length)
        threads.work { [connection, volume] in
            do throws(StoreError) {
                let bytes = try volume.read(block, offset: offset, length: length, once: once)
                connection.reply(id, .block(length: UInt32(bytes.readableBytes)), payload: bytes)
            } catch {
                volume.failures.report(error, "reading a block")
                connection.reply(id, .refused(Refusal(error)))
            }
        }
    }

    // MARK: What waits for puts

    private func carryOut(_ requests: [PutOrder.Waiting], onWorker: Bool = false) {
        var startsFlush = false
        for waiting in requests {
            if waiting.request.flushes {
                let isFirst = state.withLock { state in
                    state.flushes.append(Flush(waiting))
                    defer { state.isFlushing = true }
                    return !state.isFlushing
                }
                if isFirst { startsFlush = true }
            } else {
                threads.flush { [connection, volume] in connection.reply(waiting.id, volume.answer(waiting.request)) }
            }
        }
        guard startsFlush else { return }
        if onWorker {
            threads.flushFromWorker { self.runFlushes() }
        } else {
            threads.flush { self.runFlushes() }
        }
    }

    /// One flush of the disk answers every flush whose puts are stored by then.
    private func runFlushes() {
        while true {
            var (flushes, mark) = state.withLock { state -> ([Flush], FlushMark) in
                var flushes: [Flush] = []
                swap(&flushes, &state.flushes)
                if flushes.isEmpty { state.isFlushing = false }
                return (flushes, state.mark)
            }
            if flushes.isEmpty { return }
            for index in flushes.indices { takeIn(&flushes[index]) }
            var failure: Refusal?
            if flushes.contains(where: \.needsDisk) {
                do throws(StoreError) {
                    try volume.blocks.flush(&mark)
                } catch {
                    volume.failures.report(error, "flushing")
                    failure = Refusal(error)
                }
                state.withLock { [mark] in $0.mark = mark }
            }
            for flush in flushes {
                if let refusal = flush.refusal ?? failure {
                    connection.reply(flush.id, .refused(refusal))
                } else if let commit = flush.commit {
                    carryOut(commit, id: flush.id)
                } else {
                    connection.reply(flush.id, .missing(volume.blocks.missing(of: flush.expected)))
                }
            }
        }
    }

    /// Stores what a commit carries. One that was here before may have got a newer tag or left quarantine (G1, G7), which
    /// only a flush brings to disk.
    private func takeIn(_ flush: inout Flush) {
        guard let commit = flush.commit, flush.refusal == nil else { return }
        flush.needsDisk = !commit.blocks.isEmpty
        for block in commit.carried {
            switch block.bytes.withUnsafeBytes({ volume.store(block.id, $0, gcEpoch: block.gcEpoch) }) {
            case .success(.stored): break
            case .success(.present): flush.needsDisk = true
            case .failure(let refusal):
                flush.refusal = refusal
                return
            }
        }
    }

    /// Asks the keeper if the blocks are there. A flush does not say that: a put before it may have been refused, or its
    /// block lost, and an earlier flush of this connection may have been told instead.
    private func carryOut(_ commit: Commit, id: RequestID) {
        let missing = volume.blocks.missing(of: commit.blocks)
        if missing.isEmpty {
            volume.register.submitFromFlusher(call(commit.request, carrying: commit.carried, id: id))
        } else {
            connection.reply(id, .missing(missing))
        }
    }
}

extension VolumeSession.Flush {
    init(_ waiting: PutOrder.Waiting) {
        self.init(id: waiting.id, refusal: waiting.refusal)
        if case .flush(let blocks) = waiting.request { expected = blocks }
        guard case .commit(let blocks, let carried, let request) = waiting.request else { return }
        var payload = waiting.payload ?? ByteBuffer()
        // Its length is the sum of theirs: the connection has seen to that.
        let bytes = carried.map { CarriedBlock(id: $0.block, gcEpoch: $0.gcEpoch, bytes: payload.readBytes(length: Int($0.length)) ?? []) }
        commit = VolumeSession.Commit(blocks: blocks, carried: bytes, request: request)
    }
}
