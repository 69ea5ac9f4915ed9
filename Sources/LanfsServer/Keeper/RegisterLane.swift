import LanfsProtocol
import LanfsStore
import Logging
import NIOCore
import Synchronization

/// Carries register requests to the keeper one after the other, on a thread that may wait for the disk. Requests that
/// came while the disk was busy share its next write (group commit): a keeper's state holds the whole of it, so the
/// newest alone makes all of them durable (A5).
final class RegisterLane: Sendable {
    private struct Inbox {
        var calls: [RegisterCall] = []
        /// Watches may have waited long enough.
        var mustLook = false
        var isRunning = false
        var isTimerSet = false

        /// What waits, as much as one record of the journal can carry.
        mutating func take() -> [RegisterCall] {
            var (bytes, blocks) = (0, 0)
            let count = calls.prefix { call in
                bytes += call.carried.reduce(0) { $0 + $1.bytes.count }
                blocks += call.carried.count
                return bytes <= Limits.carriedSize && blocks <= Limits.carriedBlocks
            }.count
            // What is too much even alone is for the journal to refuse.
            let taken = calls.prefix(max(1, count))
            defer { calls.removeFirst(taken.count) }
            return Array(taken)
        }

        /// Whether the caller must start the lane.
        mutating func start() -> Bool {
            defer { isRunning = true }
            return !isRunning
        }
    }

    private let inbox = Mutex(Inbox())
    private let desk: Mutex<RegisterDesk>
    /// `nil` for an amnesiac keeper, which has nothing to promise.
    private let journal: KeeperJournal?
    private let blocks: BlockStore
    private let threads: DiskThreads
    private let eventLoop: any EventLoop
    private let failures: DiskFailures
    private let onNews: @Sendable (RootRecord) -> Void
    private let origin = ContinuousClock.now

    /// `journal`: `nil` when it cannot be trusted (A5): the keeper never votes again. `onNews` hears, on a thread that may
    /// block, of chosen records with a configuration that is new; of the one there is at once.
    init(
        server: ServerID, volume: VolumeID, journal: KeeperJournal?, blocks: BlockStore, threads: DiskThreads,
        eventLoop: any EventLoop, failures: DiskFailures, onNews: @escaping @Sendable (RootRecord) -> Void = { _ in }
    ) throws(DecodingError) {
        let recovery: KeeperRecovery =
            switch journal?.recovered {
            case .empty: .empty
            case .state(let bytes): .state(try KeeperState(encoded: bytes))
            case .amnesiac, nil: .amnesiac
            }
        let signatures = DeferredSignatures()
        let keeper = Keeper(server: server, volume: volume, recovery: recovery, verifier: signatures, now: .zero)
        var desk = RegisterDesk(keeper, signatures: signatures)
        let known = desk.takeNews()
        self.desk = Mutex(desk)
        self.onNews = onNews
        self.journal = journal
        self.blocks = blocks
        self.threads = threads
        self.eventLoop = eventLoop
        self.failures = failures
        if let known { onNews(known) }
    }

    /// Any thread; does not block.
    func submit(_ call: RegisterCall) {
        if enqueue(call) { threads.flush { self.run() } }
    }

    /// For a thread that waits for the disk anyway: carries the call out right there unless the lane is busy.
    func submitFromFlusher(_ call: RegisterCall) {
        if enqueue(call) { run() }
    }

    private func enqueue(_ call: RegisterCall) -> Bool {
        inbox.withLock { inbox in
            inbox.calls.append(call)
            return inbox.start()
        }
    }

    /// The session's connection has ended: whatever it waits for is forgotten.
    func left(_ session: SessionName) {
        desk.withLock { $0.left(session) }
    }

    /// Refuses whatever waits and whatever comes.
    func close() {
        let outcome = desk.withLock { $0.close() }
        for reply in outcome.ready { reply.call.answer(reply.response) }
    }

    /// Brings what the journals carry to the segments. Blocks.
    func settle() throws(StoreError) { try journal?.settle() }

    private var now: Duration { origin.duration(to: .now) }

    private func run() {
        while true {
            let (calls, mustLook) = inbox.withLock { inbox -> ([RegisterCall], Bool) in
                let calls = inbox.take()
                defer { inbox.mustLook = false }
                if calls.isEmpty, !inbox.mustLook { inbox.isRunning = false }
                return (calls, inbox.mustLook)
            }
            if calls.isEmpty, !mustLook { return }
            if !calls.isEmpty { carryOut(calls) }
            if mustLook { finish(desk.withLock { $0.look(now: now) }) }
            if let deadline = desk.withLock({ $0.nextDeadline }) { setTimer(deadline) }
        }
    }

    /// What the answers rest on is seen to while the disks write them down: that signatures are good (A2), and that the
    /// store has the blocks (B2). Where it is not so nobody has heard anything yet, and all is done again, in order.
    private func carryOut(_ calls: [RegisterCall]) {
        let outcome = desk.withLock { $0.takeUnchecked(calls, now: now) }
        var holds = true
        let refusal = persist(outcome, calls) {
            holds = outcome.claims.allSatisfy(\.isTrue) && calls.allSatisfy { self.store($0.carried) == nil }
        }
        if holds { return finish(outcome, persisted: refusal) }
        let again = desk.withLock { $0.takeBack(outcome) }.filter { call in
            let refusal = store(call.carried)
            if let refusal { call.answer(.refused(refusal)) }
            return refusal == nil
        }
        let checked = desk.withLock { $0.take(again, now: now) }
        finish(checked, persisted: persist(checked, again))
    }

    private func finish(_ outcome: RegisterDesk.Outcome) { finish(outcome, persisted: persist(outcome, [])) }

    /// `refusal`: why the state is not on disk.
    private func finish(_ outcome: RegisterDesk.Outcome, persisted refusal: Refusal?) {
        if let state = outcome.persist { desk.withLock { $0.persisted(state, refusal == nil) } }
        for reply in outcome.ready { reply.call.answer(reply.response) }
        for reply in outcome.held { reply.call.answer(refusal.map { .refused($0) } ?? reply.response) }
        // Not before: a signature that was not checked yet may have had to be taken back.
        if refusal == nil, let news = desk.withLock({ $0.takeNews() }) { onNews(news) }
    }

    /// One lane runs at a time, so states reach the journal in the order in which they replace each other. The desk's
    /// lock is not held while the disk works.
    private func persist(
        _ outcome: RegisterDesk.Outcome, _ calls: [RegisterCall], meanwhile: () -> Void = {}
    ) -> Refusal? {
        guard let journal, let state = outcome.persist else { return nil }
        do throws(StoreError) {
            try journal.append(state.encoded, carrying: calls.flatMap(\.carried), meanwhile: meanwhile)
            return nil
        } catch {
            failures.report(error, "writing the register")
            return Refusal(error)
        }
    }

    /// Has the store take blocks in that the journals carry.
    private func store(_ carried: [CarriedBlock]) -> Refusal? {
        do throws(StoreError) {
            var mark = blocks.mark()
            var wasThere = false
            for block in carried {
                if try blocks.put(block) == .present { wasThere = true }
            }
            // It may have got a newer tag or left quarantine (G1, G7), which only a flush brings to disk.
            if wasThere { try blocks.flush(&mark) }
            return nil
        } catch {
            failures.report(error, "storing a block")
            return Refusal(error)
        }
    }

    private func setTimer(_ deadline: Duration) {
        let mustSet = inbox.withLock { inbox in
            defer { inbox.isTimerSet = true }
            return !inbox.isTimerSet
        }
        guard mustSet else { return }
        let wait = max(.milliseconds(10), deadline - now)
        eventLoop.scheduleTask(in: TimeAmount(wait)) { [weak self] in
            guard let self else { return }
            let mustStart = self.inbox.withLock { inbox in
                inbox.isTimerSet = false
                inbox.mustLook = true
                return inbox.start()
            }
            if mustStart { self.threads.flush { self.run() } }
        }
    }
}
