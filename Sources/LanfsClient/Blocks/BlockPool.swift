import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore
import Synchronization

/// The blocks of the volume on its servers: which of them get a new one, and when it is safe. `ServerLane` does the sending
/// to one server.
final class BlockPool: Sendable {
    /// Bytes after which a flush starts by itself, so that a long write never waits for one large flush.
    private static let flushAfter = 8 << 20
    /// A server that others have overtaken by so much gives its place to the next in rank (B3).
    private static let patience = Duration.seconds(1)
    /// One that answers within this keeps up with what it gets.
    private static let promptness = Duration.milliseconds(250)
    /// How often a flush that waits looks whether servers have gone quiet.
    private static let interval = Duration.milliseconds(250)

    struct Target {
        let server: ServerID
        let since: ContinuousClock.Instant
    }

    struct Upload {
        let bytes: ByteBuffer
        var gcEpoch: UInt64
        /// The servers it was given to, in that order.
        var targets: [Target] = []
        /// Those that have it on disk, by their own word (B2).
        var stored: [ServerID] = []
        var refusals: [ServerID: Refusal] = [:]
        /// Where it is being passed on.
        var chain: Chain?
        /// When the first of them said so.
        var storedAt: ContinuousClock.Instant?
    }

    struct State {
        var uploads: [BlockID: Upload] = [:]
        /// Those under way, and those that did not work lately.
        var chains: [Chain: ChainState] = [:]
        var bytes = 0
        /// Memory of large blocks that are stored, for those that come.
        var spares: [ByteBuffer] = []
        var bytesSinceFlush = 0
        var isFlushing = false
        var waitersForRoom: [CheckedContinuation<Result<Bool, VolumeError>, Never>] = []
        /// What comes to the keepers with the vote for a value, by its sealed contents: the same however often it is proposed. While
        /// somebody's value is completed a commit may be waiting for its turn.
        var votes: [[UInt8]: [BlockID]] = [:]
        /// Since when too few servers can be reached.
        var shortSince: ContinuousClock.Instant?
        var window = Int.max

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
            upload.targets = []
            upload.stored = []
            upload.chain = nil
            upload.storedAt = nil
            uploads[block.id] = upload
            return true
        }
    }

    let state = Mutex(State())
    /// Everything that may let a flush go on.
    let changes: Changes
    let receipts = Receipts()
    let absence = Absence()
    let servers: Servers
    let timeout: Duration?
    let log: Logger

    init(servers: Servers, timeout: Duration?, log: Logger) {
        self.servers = servers
        self.timeout = timeout
        self.log = log
        changes = Changes(on: servers.eventLoop)
        servers.reportUploads { [weak self] in self?.heard(of: $0, $1) }
    }

    // MARK: Taking blocks in

    /// Sends a block without waiting for the answer; waits only while too much is on its way. It can be read back at
    /// once. Durable after `flush`.
    ///
    /// - Throws: what keeps the servers from storing anything, once no room is left here.
    func upload(_ block: SealedBlock, gcEpoch: UInt64) async throws(VolumeError) {
        try await waitForRoom()
        let (lanes, chain) = take(block, gcEpoch: gcEpoch)
        if let chain {
            lanes.first?.pass(block.id, to: chain.rest)
        } else {
            for lane in lanes { lane.send(block.id) }
        }
        flushInBackground()
    }

    /// Takes a block in without waiting: it can be read back at once, and the next flush or commit sends it.
    func hold(_ block: SealedBlock, gcEpoch: UInt64) { _ = take(block, gcEpoch: gcEpoch, isHeld: true) }

    /// - Returns: the servers it is to be sent to now, each or the first for all.
    private func take(_ block: SealedBlock, gcEpoch: UInt64, isHeld: Bool = false) -> ([ServerLane], Chain?) {
        let placement = servers.placement
        return state.withLock { state in
            guard state.take(block, gcEpoch: gcEpoch) else { return ([], nil) }
            if !isHeld {
                state.bytesSinceFlush += block.bytes.readableBytes
                state.window = servers.window
            }
            let now = ContinuousClock.now
            // In one order whatever the rank: blocks then follow each other along one way, and each link is used all the time.
            let lanes = state.place(block.id, by: placement, now: now).sorted { $0.server < $1.server }
            return (lanes, isHeld ? nil : state.chain(block.id, along: lanes, now: now))
        }
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

    // MARK: Making them durable

    /// Returns once every block taken in before is on the disks of as many servers as a commit needs (B2).
    func flush() async throws(VolumeError) {
        let blocks = state.withLock { state in
            state.bytesSinceFlush = 0
            for block in state.uploads.keys { state.uploads[block]?.refusals = [:] }
            return Array(state.uploads.keys)
        }
        var shortSince: ContinuousClock.Instant?
        while true {
            let changes = changes.count
            let placement = servers.placement
            let now = ContinuousClock.now
            let look = state.withLock { $0.look(at: blocks, placement, now: now) }
            if look.hasForgotten { release(look.superfluous) }
            // Others take their places at once.
            if look.late.count(where: { servers.lane(of: $0)?.lags() ?? false }) > 0 { continue }
            for (server, blocks) in look.work { servers.lane(of: server)?.flush(blocks) }
            if look.isDone { return }
            if let failure = look.failure { throw failure }
            noteShortage(look.isShort)
            shortSince = look.isShort ? shortSince ?? now : nil
            let deadline = shortSince.flatMap { since in timeout.map { since + $0 } }
            if let deadline, now >= deadline {
                throw .network(.deadlineExceeded(server: servers.awayNames, lastFailure: nil))
            }
            await self.changes.next(after: changes, until: [look.nextLook, deadline].compactMap { $0 }.min())
        }
    }

    /// Moves the root of a volume of which one server is all: its blocks are flushed and the keeper asked in one round.
    func commit(
        _ request: RegisterRequest, on lane: ServerLane, _ completion: @escaping @Sendable (RootRegister.Answer) -> Void
    ) {
        state.withLock { $0.bytesSinceFlush = 0 }
        if lane.commit(request, completion) { return }
        Task.detached {
            do throws(VolumeError) {
                try await self.flush()
                lane.link.call(.register(request)) { completion(RootRegister.Answer($0)) }
            } catch .refused(let refusal) {
                completion(.refused(refusal))
            } catch {
                completion(.lost)
            }
        }
    }

    func heard(of lane: ServerLane, _ report: ServerLane.Report) {
        switch report {
        case .stored(let blocks):
            receipts.note(blocks.lazy.map(\.block), of: lane.server)
            stored(blocks, on: lane.server)
        case .refused(let blocks, let refusal):
            state.withLock { state in
                for block in blocks { state.uploads[block]?.refusals[lane.server] = refusal }
            }
        case .passed(let block, let gcEpoch, let servers, let failed):
            passed(block, gcEpoch, along: Chain(head: lane.server, rest: servers), failed: failed)
        case .moved: break
        }
        changes.happened()
    }

    private func stored(_ blocks: [(block: BlockID, gcEpoch: UInt64)], on server: ServerID) {
        let placement = servers.placement
        let superfluous = state.withLock { state in
            var rest: [(BlockID, ServerID)] = []
            for (block, gcEpoch) in blocks {
                guard var upload = state.uploads[block], upload.gcEpoch == gcEpoch else { continue }
                if !upload.stored.contains(server) { upload.stored.append(server) }
                if upload.storedAt == nil { upload.storedAt = .now }
                state.uploads[block] = upload
                guard upload.copies(placement) >= placement.required else { continue }
                state.forget(block, upload)
                for target in upload.missing { rest.append((block, target.server)) }
            }
            return rest
        }
        release(superfluous)
    }

    /// Nobody needs these any more, whatever was sent of them.
    func forget(_ blocks: [BlockID]) {
        let superfluous = state.withLock { state in
            var rest: [(BlockID, ServerID)] = []
            for block in blocks {
                guard let upload = state.uploads[block] else { continue }
                state.forget(block, upload)
                for target in upload.missing { rest.append((block, target.server)) }
            }
            return rest
        }
        release(superfluous)
        changes.happened()
    }

    /// Blocks went out of memory; these servers need not have them any more.
    func release(_ superfluous: [(block: BlockID, server: ServerID)]) {
        for (block, server) in superfluous { servers.lane(of: server)?.drop(block) }
        let waiters = state.withLock { state in
            if state.uploads.isEmpty { state.spares = [] }
            defer { state.waitersForRoom = [] }
            return state.waitersForRoom
        }
        for waiter in waiters { waiter.resume(returning: .success(true)) }
    }

    private func passed(_ block: BlockID, _ gcEpoch: UInt64, along chain: Chain, failed: [ServerID]) {
        let isAwaited = state.withLock { state in
            state.noteEnd(of: chain, isWhole: failed.isEmpty, now: .now)
            guard let upload = state.uploads[block], upload.gcEpoch == gcEpoch, upload.chain == chain else { return false }
            state.uploads[block]?.chain = nil
            return true
        }
        guard isAwaited else { return }
        for lane in chain.rest.compactMap(servers.lane) {
            let isThere = !failed.contains(lane.server)
            lane.stopExpecting(block, gcEpoch: gcEpoch, isThere: isThere)
            if !isThere { lane.send(block) }
            // Somebody may wait for it.
            lane.flush([])
        }
    }

    /// One line when writes have to wait for servers, one when they go on.
    private func noteShortage(_ isShort: Bool) {
        guard servers.lanes.count > 1 else { return }
        let before = state.withLock { state in
            defer { if isShort != (state.shortSince != nil) { state.shortSince = isShort ? .now : nil } }
            return state.shortSince
        }
        if isShort, before == nil {
            log.warning(
                "new data waits: \(servers.placement.required) servers have to store it, and too few can be reached. What is stored can be read. Start those that are away; one that stays away is taken out with 'lanfs drain', and with 'lanfs mount --replicas' fewer servers have to store everything",
                metadata: ["away": "\(servers.awayNames)"])
        } else if !isShort, let before {
            log.notice("new data is stored again, after \((ContinuousClock.now - before).components.seconds) s")
        }
    }

    /// Blocks that too few servers have on disk, as far as is known.
    var unflushed: [(id: BlockID, bytes: ByteBuffer)] {
        state.withLock { $0.uploads.map { ($0.key, $0.value.bytes) } }
    }

    /// Acknowledged to applications and not yet known to be stored, in bytes.
    var outstandingBytes: Int { state.withLock { $0.bytes } }

    /// The bytes of a block that is still here.
    func unflushed(_ block: BlockID) -> ByteBuffer? { state.withLock { $0.uploads[block]?.bytes } }
}

extension BlockPool {
    /// What a flush finds.
    fileprivate struct Look {
        /// Everything is stored.
        var isDone = true
        var work: [ServerID: [BlockID]] = [:]
        /// Servers that hold others up.
        var late: Set<ServerID> = []
        var nextLook: ContinuousClock.Instant?
        /// Too few servers can be reached.
        var isShort = false
        /// Blocks that are on enough servers although others were to have them.
        var hasForgotten = false
        var superfluous: [(block: BlockID, server: ServerID)] = []
        var failure: VolumeError?
    }
}

extension BlockPool.Upload {
    /// Those that count.
    func copies(_ placement: Servers.Placement) -> Int { stored.count { placement.isActive($0) } }

    /// Those that do not have it yet.
    var missing: [BlockPool.Target] { targets.filter { !stored.contains($0.server) } }
}

extension BlockPool.State {
    mutating func forget(_ block: BlockID, _ upload: BlockPool.Upload) {
        uploads[block] = nil
        bytes -= upload.bytes.readableBytes
        if upload.bytes.capacity > 1 << 20, spares.count < 8 { spares.append(upload.bytes) }
    }

    /// Gives the block to as many servers as have to store it: the first in rank of those with the best prospects, and only
    /// when all others are too few those that are away, which get it when they come (B3). On a bad day all that are there are
    /// slow, and the one that is not there is the one to do without.
    ///
    /// - Returns: those that had it not been given to before.
    mutating func place(_ block: BlockID, by placement: Servers.Placement, now: ContinuousClock.Instant) -> [ServerLane] {
        guard var upload = uploads[block] else { return [] }
        var missing = placement.required - upload.copies(placement)
        guard missing > 0 else { return [] }
        let ranking = placement.ranking(of: block).filter { !upload.stored.contains($0.server) }
        var fresh: [ServerLane] = []
        func give(_ lane: ServerLane) {
            missing -= 1
            guard !upload.targets.contains(where: { $0.server == lane.server }) else { return }
            upload.targets.append(BlockPool.Target(server: lane.server, since: now))
            lane.hold(block, upload.bytes, gcEpoch: upload.gcEpoch)
            fresh.append(lane)
        }
        let prospects = ranking.map { lane in
            placement.isAlone ? .good : upload.refusals[lane.server] == nil ? lane.prospect : .away
        }
        for prospect in ServerLane.Prospect.allCases.reversed() {
            for (lane, its) in zip(ranking, prospects) where its == prospect && missing > 0 { give(lane) }
        }
        if !fresh.isEmpty { uploads[block] = upload }
        return fresh
    }

    /// Servers on slow ways: they go on answering, but what they get takes long, and there is one that is done at once. A
    /// block that is nowhere yet, because the first of its chain is such a one, would else be waited for.
    private static func behind(_ placement: Servers.Placement, _ now: ContinuousClock.Instant) -> Set<ServerID> {
        let arrears = placement.stores.filter(\.isWilling).map { ($0.server, $0.arrears(now)) }
        guard arrears.contains(where: { $0.1 < BlockPool.promptness }) else { return [] }
        return Set(arrears.lazy.filter { $0.1 >= BlockPool.patience }.map(\.0))
    }

    /// What is left to do for these blocks.
    fileprivate mutating func look(
        at blocks: [BlockID], _ placement: Servers.Placement, now: ContinuousClock.Instant
    ) -> BlockPool.Look {
        var look = BlockPool.Look()
        if !placement.isAlone { look.nextLook = now + BlockPool.interval }
        let behind = Self.behind(placement, now)
        for block in blocks {
            guard let upload = uploads[block] else { continue }
            if upload.copies(placement) >= placement.required {
                // Fewer are needed than when it was sent.
                forget(block, upload)
                look.hasForgotten = true
                for target in upload.missing { look.superfluous.append((block, target.server)) }
                continue
            }
            look.isDone = false
            for target in upload.missing {
                let isOvertaken = upload.storedAt.map { now - max($0, target.since) >= BlockPool.patience } ?? false
                if isOvertaken || behind.contains(target.server) { look.late.insert(target.server) }
            }
            for lane in breakChain(of: block, placement, now: now) {
                lane.stopExpecting(block, gcEpoch: upload.gcEpoch, isThere: false)
            }
            _ = place(block, by: placement, now: now)
            guard let placed = uploads[block] else { continue }
            for target in placed.missing where placed.refusals[target.server] == nil {
                look.work[target.server, default: []].append(block)
            }
            let possible = placement.ranking(of: block).filter { placed.refusals[$0.server] == nil }
            let reachable = possible.count { $0.connection != nil }
            if reachable < placement.required { look.isShort = true }
            let hopeful = possible.count { $0.permanentFailure == nil }
            if hopeful < placement.required {
                look.failure =
                    placed.refusals.values.first.map { .refused($0) }
                    ?? possible.lazy.compactMap(\.permanentFailure).first.map { .network($0) }
            }
        }
        return look
    }
}

extension ServerLane {
    /// Waiting does not help: a person must act, or the volume is being closed.
    var permanentFailure: NetworkError? {
        switch link.state {
        case .refused(let error): error
        case .closed: .closed(address: link.name)
        case .connected, .disconnected: nil
        }
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
