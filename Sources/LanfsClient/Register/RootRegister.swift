import LanfsProtocol
import Logging
import NIOCore
import Synchronization

/// The shell around the register's proposer: carries its messages to the keepers, keeps its time, and turns its effects
/// into answers to those who wait.
final class RootRegister: Sendable {
    /// What came of a request to a keeper.
    enum Answer: Sendable {
        case response(RegisterResponse)
        /// Whether it was carried out is unknown.
        case lost
        /// The server has trouble of its own, such as a full disk. What the keeper did is unknown.
        case refused(Refusal)

        var response: RegisterResponse? { if case .response(let response) = self { response } else { nil } }
    }

    typealias Transport = @Sendable (ServerID, RegisterRequest, @escaping @Sendable (Answer) -> Void) -> Void

    /// What happened to the lease, told to the volume in order.
    enum Event: Sendable {
        /// Its end is another now: renewed, expired (L3) or lost to another client's ballot. `leaseEnd` says.
        case leaseMoved
        /// L2: another client waits for the lease.
        case wanted
        /// L4: another session waits to read what is acknowledged here: it is to be committed, and then `admit`.
        case joining
    }

    enum CommitOutcome: Sendable {
        case committed(RootRecord)
        /// P5: acquire again to find out.
        case unknown
        case notHeld
        case tooLarge
        /// The server could not store what the commit consists of. It is tried again all the same.
        case refused(Refusal)
    }

    fileprivate struct State {
        var proposer: Proposer<VolumeSigner>
        /// The epoch is over, and the keepers of the next are being told (M2).
        var isMoving = false
        var acquiring: [CheckedContinuation<RootRecord?, Never>] = []
        var committing: CheckedContinuation<CommitOutcome, Never>?
        /// When the proposer wants to hear the time, and for when a timer is set: that one may be earlier, never later.
        var wake: Duration?
        var timer: Duration?
        var isHeld = false
        var toldEnd: Duration?
        var isClosed = false
        var releasesUnderWay = 0
        var waitingForRelease: [CheckedContinuation<Void, Never>] = []
        var waitingForCommit: [CheckedContinuation<Bool, Never>] = []
        var warnings = SaidLately()

        /// Fewer keepers know of it than the next client needs.
        var isReleasing: Bool { releasesUnderWay > proposer.keepers.members.count - proposer.keepers.quorum }
    }

    private let state: Mutex<State>
    private let clock = ContinuousClock()
    private let origin = ContinuousClock.now
    let queries: RegisterQueries
    /// In the order things happened.
    let events: AsyncStream<Event>
    private let sink: AsyncStream<Event>.Continuation
    private let log: Logger
    private let eventLoop: any EventLoop
    private let fetch: @Sendable (RootRecord) async -> Bool

    /// `fetch`: gets the blocks that keepers need for a vote for this value, which another client may have proposed (P1).
    init(
        proposer: Proposer<VolumeSigner>, queries: RegisterQueries, log: Logger, eventLoop: any EventLoop,
        fetch: @escaping @Sendable (RootRecord) async -> Bool
    ) {
        self.state = Mutex(State(proposer: proposer))
        self.log = log
        self.eventLoop = eventLoop
        self.fetch = fetch
        self.queries = queries
        (events, sink) = AsyncStream.makeStream(of: Event.self)
    }

    /// Gets the write lease, after as many rounds and waits as it takes; `nil` once closed.
    func acquire() async -> RootRecord? {
        await withCheckedContinuation { continuation in
            let held = state.withLock { state -> RootRecord?? in
                if state.isClosed { return .some(nil) }
                // While a commit is under way nobody is told that the lease has ended meanwhile.
                if state.isHeld, let end = state.proposer.leaseEnd, now < end, let base = state.proposer.base { return base }
                state.acquiring.append(continuation)
                return nil
            }
            if let held {
                continuation.resume(returning: held)
            } else {
                acquireForWaiting()
            }
        }
    }

    /// Commits a child of `base`, which must be the held root: `notHeld` when another client's has taken its place. One at a
    /// time.
    func commit(_ change: RootChange, on base: RootRecord) async -> CommitOutcome {
        await withCheckedContinuation { continuation in
            // In one breath: a lease lost between would leave a commit that was never proposed, and never answered.
            let isProposed = step(.commit(change)) { state in
                precondition(state.committing == nil, "two commits at once")
                guard state.isHeld, let held = state.proposer.base, held.sequence == base.sequence,
                    held.sameValue(as: base)
                else { return false }
                state.committing = continuation
                return true
            }
            if !isProposed { continuation.resume(returning: .notHeld) }
        }
    }

    /// Gives the lease back; not while a commit is under way: who waits is then heard of again after it.
    func release() {
        let mayRelease = state.withLock { state in
            guard state.committing == nil, state.acquiring.isEmpty else { return false }
            state.isHeld = false
            return true
        }
        if mayRelease { step(.release) }
    }

    /// Stops trying a commit that was refused, which the proposer would else go on with; `acquire` then finds out what became of it.
    func abandon() {
        let isOver = state.withLock { $0.committing == nil }
        if isOver { step(.abandon) }
    }

    /// Releases, and returns once the keepers know (L2): the next client, or this one started again, need not wait. A commit
    /// under way is finished first: a lease that is not given back keeps others out for all its length.
    func releaseAndWait() async {
        while await waitsForCommit() {}
        release()
        await withCheckedContinuation { continuation in
            let isDone = state.withLock { state in
                guard state.isReleasing else { return true }
                state.waitingForRelease.append(continuation)
                return false
            }
            if isDone { continuation.resume() }
        }
    }

    /// Whether a commit was under way; it is not any more.
    private func waitsForCommit() async -> Bool {
        await withCheckedContinuation { continuation in
            let isIdle = state.withLock { state in
                guard state.committing != nil else { return true }
                state.waitingForCommit.append(continuation)
                return false
            }
            if isIdle { continuation.resume(returning: false) }
        }
    }

    private func finishRelease() {
        let waiting = state.withLock { state in
            state.releasesUnderWay -= 1
            guard !state.isReleasing else { return [CheckedContinuation<Void, Never>]() }
            defer { state.waitingForRelease = [] }
            return state.waitingForRelease
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Releases, and answers nobody from now on.
    func close() {
        release()
        let (waiting, committing, releasing) = state.withLock { state in
            state.isClosed = true
            state.isHeld = false
            defer {
                state.acquiring = []
                state.committing = nil
                state.waitingForCommit = []
            }
            return (state.acquiring, state.committing, state.waitingForCommit)
        }
        for continuation in waiting { continuation.resume(returning: nil) }
        for continuation in releasing { continuation.resume(returning: true) }
        // P5: nobody will hear what became of it.
        committing?.resume(returning: .unknown)
        sink.finish()
    }

    /// Where the register is; `nil` once closed.
    var place: RegisterPlace? {
        state.withLock { $0.isClosed ? nil : RegisterPlace(epoch: $0.proposer.epoch, keepers: $0.proposer.keepers) }
    }
    /// L2: another client is known to wait for the lease held here.
    var isWanted: Bool { state.withLock { $0.proposer.isWanted } }

    /// What a keeper said unasked.
    func heard(_ keeper: ServerID, _ request: RegisterRequest, _ response: RegisterResponse) {
        step(.answered(keeper, request, sentAt: .zero, response))
    }

    var isHeld: Bool { state.withLock { $0.isHeld } }
    /// Whether the lease is held, and this is the root that it came with.
    func holds(_ record: RootRecord) -> Bool {
        state.withLock { $0.isHeld && $0.proposer.base?.sameValue(as: record) ?? false }
    }
    /// L4: the lease is held, and no other session may read.
    var isSolo: Bool { state.withLock { $0.isHeld && $0.proposer.isSolo(now) } }

    /// When the lease held now must no longer be trusted (L1).
    var leaseEnd: ContinuousClock.Instant? {
        state.withLock { $0.isHeld ? $0.proposer.leaseEnd : nil }.map { origin + $0 }
    }

    // MARK: Driving the proposer

    private var now: Duration { origin.duration(to: clock.now) }

    /// Returns whether the proposer was asked: not once closed, nor unless `condition`.
    @discardableResult
    private func step(_ event: ProposerEvent, if condition: (inout State) -> Bool = { _ in true }) -> Bool {
        let happened = state.withLock { state -> ([ProposerEffect], [Event])? in
            guard !state.isClosed, condition(&state) else { return nil }
            let effects = state.proposer.step(event, now: now, random: .random(in: 0...UInt64.max))
            return (effects, state.note(effects))
        }
        guard let (effects, events) = happened else { return false }
        for event in events { sink.yield(event) }
        for effect in effects { carryOut(effect) }
        return true
    }

    /// The proposer is idle now; whoever still waits for the lease makes it ask anew.
    private func acquireForWaiting() {
        step(.acquire) { !$0.isMoving && !$0.acquiring.isEmpty }
    }

    private func carryOut(_ effect: ProposerEffect) {
        switch effect {
        case .send(let keeper, let request):
            let sentAt = now
            let isRelease = if case .release = request.body { true } else { false }
            if isRelease { state.withLock { $0.releasesUnderWay += 1 } }
            queries.transport(keeper, request) { [weak self] answer in
                if isRelease { self?.finishRelease() }
                switch answer {
                case .response(let response): self?.step(.answered(keeper, request, sentAt: sentAt, response))
                case .lost: break
                case .refused(let refusal):
                    if case .accept = request.body { self?.refused(refusal, by: keeper) }
                }
            }
        case .wake: setTimer()
        case .fetch(let record, let ballot):
            Task.detached { [weak self, fetch] in
                let isHere = await fetch(record)
                self?.step(.fetched(ballot, isHere))
            }
        case .acquired(let record): finishAcquiring(record)
        case .committed(let record):
            finishCommit(.committed(record))
            // Who came while the commit was under way: it renewed the lease as well.
            finishAcquiring(record)
        case .unknown:
            finishCommit(.unknown)
            acquireForWaiting()
        case .lost: acquireForWaiting()
        case .tooLarge: finishCommit(.tooLarge)
        case .troubled(let keeper, let refusal):
            warn("keeper \(keeper.hex.prefix(16)) refused: \(refusal)")
        case .moved(let record, let epoch): move(after: record, to: epoch)
        case .expired, .wanted, .joining: break
        }
    }

    /// L4: what was acknowledged before others were heard of is committed. Not at once: a keeper that lies about who waits
    /// would keep both sides busy.
    func admit() {
        eventLoop.scheduleTask(in: .milliseconds(5)) { [weak self] in self?.step(.admit) }
    }

    /// Each commit moves the proposer's time to be woken: usually to later than a timer is set for, which then sets itself
    /// again. No task with a sleep: that would wake another thread.
    private func setTimer() {
        let time = state.withLock { state -> Duration? in
            guard let wake = state.wake, state.timer.map({ wake < $0 }) ?? true else { return nil }
            state.timer = wake
            return wake
        }
        guard let time else { return }
        eventLoop.scheduleTask(in: TimeAmount(time - now)) { [weak self] in self?.timerFired(time) }
    }

    private func timerFired(_ time: Duration) {
        let isDue = state.withLock { state in
            // An earlier one was set after it.
            guard state.timer == time else { return false }
            state.timer = nil
            guard let wake = state.wake, wake <= now else { return false }
            state.wake = nil
            return true
        }
        if isDue { step(.tick) } else { setTimer() }
    }

    /// M2 (4): goes on in the next epoch. Who sealed goes on holding the lease there.
    private func move(after record: RootRecord, to epoch: UInt64) {
        let starts = state.withLock { state in
            defer { state.isMoving = true }
            return !state.isMoving
        }
        if starts { Task.detached { await self.goOn(after: record, in: epoch) } }
    }

    private func goOn(after record: RootRecord, in epoch: UInt64) async {
        guard let place = await queries.place(after: record, in: epoch) else { return }
        let isOurs = state.withLock { state in
            let id = state.proposer.id
            state.proposer = Proposer(
                id: id, volume: queries.volume, epoch: place.epoch, keepers: place.keepers, signer: queries.signer,
                above: record.ballot.next(for: record.ballot.proposer))
            state.isMoving = false
            return record.ballot.proposer == id
        }
        log.info("the volume goes on with \(place.keepers.members.count) keepers in epoch \(place.epoch)")
        if isOurs { step(.acquire) } else { acquireForWaiting() }
    }

    private func finishAcquiring(_ record: RootRecord?) {
        let waiting = state.withLock { state in
            defer { state.acquiring = [] }
            return state.acquiring
        }
        for continuation in waiting { continuation.resume(returning: record) }
    }

    /// Where no commit waits for it, what is completed for somebody else has to.
    private func refused(_ refusal: Refusal, by keeper: ServerID) {
        if state.withLock({ $0.committing == nil }) {
            warn("what another client was saving cannot be completed: server \(keeper.hex.prefix(16)) does not take it: \(refusal)")
        }
        finishCommit(.refused(refusal))
    }

    private func warn(_ text: String) {
        if state.withLock({ $0.warnings.isNews(text) }) { log.warning("\(text)") }
    }

    private func finishCommit(_ outcome: CommitOutcome) {
        let (continuation, waiting) = state.withLock { state in
            defer {
                state.committing = nil
                state.waitingForCommit = []
            }
            return (state.committing, state.waitingForCommit)
        }
        continuation?.resume(returning: outcome)
        for continuation in waiting { continuation.resume(returning: true) }
    }
}

extension RootRegister.State {
    /// What the volume must hear of these effects, with the lease's end as it now is; and when the proposer wants to be
    /// woken.
    fileprivate mutating func note(_ effects: [ProposerEffect]) -> [RootRegister.Event] {
        var events: [RootRegister.Event] = []
        for effect in effects {
            switch effect {
            case .acquired:
                isHeld = true
                toldEnd = proposer.leaseEnd
            case .unknown, .lost, .moved:
                isHeld = false
                events.append(.leaseMoved)
            case .expired:
                // Not held until it is renewed (`acquired` comes again): who wants to change something waits for that.
                isHeld = false
                events.append(.leaseMoved)
            case .wanted: events.append(.wanted)
            case .joining: events.append(.joining)
            case .wake(let time): wake = time
            case .send, .fetch, .committed, .tooLarge, .troubled: break
            }
        }
        // An end that is a little too early is on the safe side (L1), and each commit moves it.
        if isHeld, let end = proposer.leaseEnd, toldEnd.map({ end < $0 || end - $0 > .seconds(1) }) ?? true {
            toldEnd = end
            events.append(.leaseMoved)
        }
        return events
    }
}
