import Glibc
import LanfsNetwork
import LanfsProtocol
import NIOCore
import Synchronization

/// One server of the volume: the blocks on their way to it, and how it has been doing. Blocks that a lost connection may
/// have lost are sent again on the next.
final class ServerLane: Sendable {
    /// What came of blocks on their way.
    enum Report: Sendable {
        /// They are on this server's disk, under these tags; only its own word counts (B2).
        case stored([(block: BlockID, gcEpoch: UInt64)])
        /// The server does not take these.
        case refused([BlockID], Refusal)
        /// It has passed a block with this tag on to these, but not to those that failed, as far as it knows.
        case passed(BlockID, gcEpoch: UInt64, to: [ServerID], failed: [ServerID])
        /// The server came or went.
        case moved
    }

    /// As long as nothing is known of the way to the server.
    private static let firstWindow = 4 << 20
    private static let largestWindow = 32 << 20
    /// What is on its way must not take longer: the lease's renewals queue behind it (L1), and it lasts ten seconds.
    private static let windowTime = Duration.seconds(2)
    /// A server that says three times that it took a block and does not have it is not asked again.
    private static let missesAtMost = 3
    /// After a refusal others are asked first for so long.
    private static let refusalMemory = Duration.seconds(5)
    /// After it held others up they are asked first for so long: or one on a slow way would do so again as soon as it has
    /// answered everything.
    private static let lagMemory = Duration.seconds(10)
    /// As long as nothing that it owes comes from it others are asked first (B3). A block takes a second where 8 Mbit/s are
    /// all there is.
    private static let patience = Duration.seconds(2)

    struct Upload {
        let bytes: ByteBuffer
        var gcEpoch: UInt64
        /// The connection it was last given to.
        var connection: UInt64?
        /// It is on that connection's way, so a flush sent from now on comes after it.
        var isSent = false
        /// Somebody waits until it is on the disk.
        var isAwaited = false
        /// It takes part in a chain and is not there yet: neither sent nor flushed from here.
        var isPassedOn = false
        /// Another server has brought it there.
        var wasPassedOn = false
        var misses = 0
        /// Grows each time it is sent: a flush vouches for the sending it followed, not for a later one.
        var attempt: UInt64 = 0

        /// Whether this sending is the newest and nothing has come between.
        func isAttempt(_ sending: Sending) -> Bool {
            attempt == sending.attempt && (sending.isCarried || connection != nil)
        }
    }

    /// One sending of a block.
    struct Sending {
        let block: BlockID
        let attempt: UInt64
        /// Within a commit request, not as a put.
        var isCarried = false
    }

    struct State {
        var uploads: [BlockID: Upload] = [:]
        var isFlushing = false
        var window = ServerLane.firstWindow
        /// It keeps a connection open but takes nothing new: it stops, or it has not answered for long.
        var leaving: UInt64?
        var isLagging = false
        var laggedAt: ContinuousClock.Instant?
        /// When it was asked for answers about blocks that it owes, and when the last one came, or the first of them was asked
        /// for.
        var owed: [UInt64: ContinuousClock.Instant] = [:]
        var answeredAt = ContinuousClock.now
        private var questions: UInt64 = 0
        /// Those before it are answered.
        private var oldest: UInt64 = 1
        var refusedAt: ContinuousClock.Instant?
        var speed = AnswerSpeed()

        /// - Returns: the number of the question.
        mutating func asked() -> UInt64 {
            let now = ContinuousClock.now
            if owed.isEmpty { answeredAt = now }
            questions += 1
            owed[questions] = now
            return questions
        }

        mutating func answered(_ question: UInt64) {
            owed[question] = nil
            answeredAt = .now
            if owed.isEmpty, isLagging {
                isLagging = false
                laggedAt = .now
            }
            while oldest <= questions, owed[oldest] == nil { oldest += 1 }
        }

        func arrears(_ now: ContinuousClock.Instant) -> Duration { owed[oldest].map { now - $0 } ?? .zero }

        /// So many bytes were made durable in this time.
        mutating func note(_ bytes: Int, in time: Duration) {
            guard bytes >= 1 << 20, time > .zero else { return }
            window = min(max(1 << 20, Int(Double(bytes) * (ServerLane.windowTime / time))), ServerLane.largestWindow)
        }
    }

    let link: ServerLink
    private let executor: EventLoopExecutor
    let report: @Sendable (ServerLane, Report) -> Void
    let state = Mutex(State())

    /// `report`: is told on any thread, must not block.
    init(link: ServerLink, executor: EventLoopExecutor, report: @escaping @Sendable (ServerLane, Report) -> Void) {
        self.link = link
        self.executor = executor
        self.report = report
        Task { [weak self, link] in
            for await state in link.states() {
                guard let self else { return }
                if case .connected = state {
                    self.state.withLock { state in
                        state.isLagging = false
                        state.laggedAt = nil
                    }
                }
                self.report(self, .moved)
            }
        }
    }

    var server: ServerID { link.server }

    /// The connection, unless the server is about to close it.
    var connection: RPCConnection? {
        guard let connection = link.current, state.withLock({ $0.leaving }) != connection.number else { return nil }
        return connection
    }

    /// How well a new block is sent here, as far as one knows.
    enum Prospect: Int, CaseIterable {
        case away
        /// It owes answers for long.
        case stuck
        /// It held others up, or refused something, not long ago.
        case doubtful
        case good
    }

    var prospect: Prospect {
        guard let connection else { return .away }
        if connection.isQuiet { return .stuck }
        return state.withLock { state in
            let now = ContinuousClock.now
            if state.isLagging || !state.owed.isEmpty && now - state.answeredAt > Self.patience { return .stuck }
            if let laggedAt = state.laggedAt, now - laggedAt < Self.lagMemory { return .doubtful }
            return state.refusedAt.map { now - $0 > Self.refusalMemory } ?? true ? .good : .doubtful
        }
    }

    var isWilling: Bool { prospect == .good }

    /// For how long it has owed its oldest answer about blocks.
    func arrears(_ now: ContinuousClock.Instant) -> Duration { state.withLock { $0.arrears(now) } }

    /// Others gave long ago an answer that it still owes; until it has given all it is not asked for more.
    ///
    /// - Returns: whether that is news.
    func lags() -> Bool {
        state.withLock { state in
            guard !state.isLagging, !state.owed.isEmpty else { return false }
            state.isLagging = true
            return true
        }
    }

    /// Bytes that may be on their way to it.
    var window: Int { state.withLock { $0.window } }

    // MARK: Sending

    /// Takes a block in: the next flush or commit sends it, or `send`.
    func hold(_ block: BlockID, _ bytes: ByteBuffer, gcEpoch: UInt64) {
        state.withLock { state in
            guard var upload = state.uploads[block] else {
                state.uploads[block] = Upload(bytes: bytes, gcEpoch: gcEpoch)
                return
            }
            // With a newer tag it has to go again (G2).
            guard upload.gcEpoch < gcEpoch else { return }
            upload.gcEpoch = gcEpoch
            upload.connection = nil
            upload.isPassedOn = false
            upload.attempt += 1
            state.uploads[block] = upload
        }
    }

    /// Sends a block that was taken in, if the server is there.
    func send(_ block: BlockID) {
        if let connection { send([block], on: connection) }
    }

    /// Enough other servers have it.
    func drop(_ block: BlockID) {
        state.withLock { _ = $0.uploads.removeValue(forKey: block) }
    }

    /// - Returns: those that are on this connection's way now, so that a flush sent on it vouches for them.
    @discardableResult
    private func send(_ blocks: [BlockID], on connection: RPCConnection) -> [Sending] {
        let name = connection.number
        for block in blocks {
            guard let (upload, sending) = begin(block, on: connection) else { continue }
            let request = Request.put(
                block: block, length: UInt32(upload.bytes.readableBytes), gcEpoch: upload.gcEpoch)
            let question = state.withLock { $0.asked() }
            connection.call(request, payload: upload.bytes) { result in
                self.state.withLock { $0.answered(question) }
                // The flush that comes after it says why.
                if case .success(let reply) = result, case .done = reply.response { return }
                self.forgetSent([sending])
            }
            isSent(sending)
        }
        return state.withLock { state in
            blocks.compactMap { block -> Sending? in
                guard let upload = state.uploads[block], upload.connection == name, upload.isSent else { return nil }
                return Sending(block: block, attempt: upload.attempt)
            }
        }
    }

    /// `nil`: there is nothing to send, or it is on this connection's way already.
    func begin(_ block: BlockID, on connection: RPCConnection) -> (Upload, Sending)? {
        state.withLock { state in
            guard var upload = state.uploads[block], upload.connection != connection.number, !upload.isPassedOn else {
                return nil
            }
            upload.connection = connection.number
            upload.isSent = false
            upload.wasPassedOn = false
            upload.attempt += 1
            state.uploads[block] = upload
            return (upload, Sending(block: block, attempt: upload.attempt))
        }
    }

    func isSent(_ sending: Sending) {
        state.withLock { state in
            if state.uploads[sending.block]?.isAttempt(sending) ?? false { state.uploads[sending.block]?.isSent = true }
        }
    }

    // MARK: Flushing

    /// Sees to it that these get on the server's disk; reports tell when, or that they do not. Does nothing while the
    /// server is away: whoever hears that it `moved` asks again.
    func flush(_ blocks: some Sequence<BlockID>) {
        let starts = state.withLock { state in
            for block in blocks { state.uploads[block]?.isAwaited = true }
            guard !state.isFlushing else { return false }
            state.isFlushing = true
            return true
        }
        guard starts else { return }
        Task.detached(executorPreference: executor) { await self.flushAwaited() }
    }

    private func flushAwaited() async {
        while let blocks = nextToFlush() {
            guard let connection else {
                state.withLock { $0.isFlushing = false }
                // It may have come back while this still counted as flushing.
                if self.connection != nil { flush([]) }
                return
            }
            await flush(blocks, on: connection)
        }
    }

    private func nextToFlush() -> [BlockID]? {
        state.withLock { state in
            let blocks = state.uploads.lazy.filter { $0.value.isAwaited && !$0.value.isPassedOn }.map(\.key).prefix(Request.blockLimit)
            guard blocks.isEmpty else { return Array(blocks) }
            state.isFlushing = false
            return nil
        }
    }

    private func flush(_ blocks: [BlockID], on connection: RPCConnection) async {
        let start = ContinuousClock.now
        // The flush follows the blocks on the wire at once: the server answers it after all of them.
        let covered = send(blocks, on: connection)
        let result = await call(.flush(expecting: covered.map(\.block)), on: connection)
        switch result.map(\.response) {
        case .failure:
            // A connection that is lost is not used again; what else went wrong must not be repeated without a pause.
            if connection.failure == nil { try? await Task.sleep(for: .milliseconds(100)) }
        case .success(.missing(let missing)):
            let missing = Set(missing)
            settle(covered.filter { !missing.contains($0.block) }, since: start)
            if !missing.isEmpty { missed(covered.filter { missing.contains($0.block) }) }
        case .success(.refused(let refusal)) where refusal.reason == .closing: leave(connection)
        case .success(.refused(let refusal)): refused(blocks, refusal)
        case .success: refused(blocks, Refusal(.invalid, "the answer to a flush makes no sense"))
        }
    }

    private func leave(_ connection: RPCConnection) {
        state.withLock { $0.leaving = connection.number }
        report(self, .moved)
    }

    private func refused(_ blocks: [BlockID], _ refusal: Refusal) {
        state.withLock { state in
            state.refusedAt = .now
            for block in blocks { state.uploads[block]?.isAwaited = false }
        }
        report(self, .refused(blocks, refusal))
    }

    /// The server took them and does not have them.
    private func missed(_ sendings: [Sending]) {
        forgetSent(sendings)
        let given = state.withLock { state in
            sendings.map(\.block).filter { block in
                guard var upload = state.uploads[block] else { return false }
                upload.misses += 1
                state.uploads[block] = upload
                return upload.misses >= Self.missesAtMost
            }
        }
        if !given.isEmpty { refused(given, Refusal(.notFound, "blocks that were sent are not there")) }
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
        let question = state.withLock { $0.asked() }
        connection.call(request, payload: payload) { result in
            self.state.withLock { $0.answered(question) }
            if case .success(let reply) = result, case .refused = reply.response {
                self.forgetSent(on: connection.number)
            }
            completion(result)
        }
    }

    /// Everything sent on this connection has to be sent again.
    private func forgetSent(on connection: UInt64) {
        state.withLock { state in
            for (block, upload) in state.uploads where upload.connection == connection {
                state.uploads[block]?.connection = nil
            }
        }
    }

    /// The server does not have these.
    func forgetSent(_ sendings: [Sending]) {
        state.withLock { state in
            for sending in sendings where state.uploads[sending.block]?.isAttempt(sending) ?? false {
                state.uploads[sending.block]?.connection = nil
            }
        }
    }

    /// Forgets and reports the blocks that are now durable, unless they were sent again since.
    private func settle(_ sendings: [Sending], since start: ContinuousClock.Instant? = nil) {
        let stored = state.withLock { state in
            var bytes = 0
            let stored = sendings.compactMap { sending -> (block: BlockID, gcEpoch: UInt64)? in
                guard let upload = state.uploads[sending.block], upload.isAttempt(sending) else { return nil }
                state.uploads[sending.block] = nil
                if !upload.wasPassedOn { bytes += upload.bytes.readableBytes }
                return (sending.block, upload.gcEpoch)
            }
            if let start { state.note(bytes, in: ContinuousClock.now - start) }
            state.refusedAt = nil
            return stored
        }
        report(self, .stored(stored))
    }

    // MARK: Asking for a vote that needs blocks

    /// Small blocks that are to travel within a commit request.
    private struct Carried {
        var names: [Request.Carried] = []
        var sendings: [Sending] = []
        var payload = ByteBuffer()
    }

    /// Flushes blocks that were taken in before and then asks the keeper, both in one round.
    ///
    /// - Parameter named: those; `nil`: all.
    /// - Returns: false, and nothing was done, when that is impossible because another thread is just sending a block.
    func commit(
        _ request: RegisterRequest, with named: [BlockID]? = nil,
        _ completion: @escaping @Sendable (RootRegister.Answer) -> Void
    ) -> Bool {
        guard let connection = link.current else {
            completion(.lost)
            return true
        }
        let blocks = state.withLock { state in named?.filter { state.uploads[$0] != nil } ?? Array(state.uploads.keys) }
        let carried = carry(blocks, on: connection)
        let others = blocks.filter { block in !carried.names.contains { $0.block == block } }
        let covered = send(others, on: connection)
        guard covered.count == others.count, others.count <= Request.blockLimit else { return false }
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
        return true
    }

    /// Those of `blocks` that were not sent and that one request has room for.
    private func carry(_ blocks: [BlockID], on connection: RPCConnection) -> Carried {
        var carried = Carried()
        state.withLock { state in
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
        }
        return carried
    }

    // MARK: Reading

    /// How long a read is likely to take here, with what is under way already.
    var expectedAnswer: Duration { state.withLock { $0.speed.expected } }
    /// An answer that has not come by then is late.
    var lateAfter: Duration { state.withLock { $0.speed.late } }

    /// Asks, and learns from how long the answer takes.
    func read(
        _ request: Request, on connection: RPCConnection,
        _ completion: @escaping @Sendable (Result<Reply, NetworkError>) -> Void
    ) {
        let start = ContinuousClock.now
        state.withLock { $0.speed.began() }
        connection.call(request) { result in
            self.state.withLock { $0.speed.ended(after: ContinuousClock.now - start) }
            // Or it would be asked again and again until the connection is closed.
            if case .refused(let refusal)? = try? result.get().response, refusal.reason == .closing {
                self.leave(connection)
            }
            completion(result)
        }
    }
}
