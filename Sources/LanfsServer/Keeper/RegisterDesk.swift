import LanfsProtocol
import LanfsStore

/// Who asked: a connection's handler, by identity.
typealias SessionName = ObjectIdentifier

/// One register request on its way through the desk.
struct RegisterCall: Sendable {
    var request: RegisterRequest
    var session: SessionName
    /// Blocks that a yes needs on disk; the store has them, not flushed.
    var carried: [CarriedBlock] = []
    var answer: @Sendable (Response) -> Void
}

/// The keeper of one volume and those who wait for news of it: takes calls in order, says which answers may leave at
/// once and which only after the keeper's state is on disk (A5). No I/O: the lane around it does that.
struct RegisterDesk: Sendable {
    struct Reply: Sendable {
        var call: RegisterCall
        var response: Response
    }

    /// What to do about some calls.
    struct Outcome: Sendable {
        /// Answers that tell of nothing newer than what is on disk.
        var ready: [Reply] = []
        /// To be on disk before `held` leaves.
        var persist: KeeperState?
        var held: [Reply] = []
        /// What the state and the answers rest on, unless it is taken back.
        var claims: [DeferredSignatures.Claim] = []
        /// What the keeper was before.
        fileprivate var before: Keeper<DeferredSignatures>?
    }

    private struct Parked {
        var call: RegisterCall
        var until: Duration
    }

    /// How long a watch without news waits before it is answered all the same.
    static let patience = Duration.seconds(20)
    /// Watches at once; the one that waits longest is answered when there are more.
    static let parkedLimit = 512

    private var keeper: Keeper<DeferredSignatures>
    private let signatures: DeferredSignatures
    private var parked: [Parked] = []
    /// Who joined over which connection (L4).
    private var joined: [SessionName: ProposerID] = [:]
    /// A state that the disk refused, or that has to replace another there: nothing that could tell of it may leave before
    /// it is there.
    private var unpersisted: KeeperState?
    /// Watches were last looked at with a state in mind that is not so.
    private var isTakenBack = false
    private var isClosed = false
    /// Of the last record that was handed on as news.
    private var told = (epoch: UInt64(0), version: UInt64(0))

    /// `signatures`: the keeper's verifier.
    init(_ keeper: Keeper<DeferredSignatures>, signatures: DeferredSignatures) {
        self.keeper = keeper
        self.signatures = signatures
    }

    /// When the first watch has waited long enough; `nil` when none waits.
    var nextDeadline: Duration? { parked.first?.until }

    /// The record that is known to be chosen, if its configuration was not told yet.
    mutating func takeNews() -> RootRecord? {
        guard let record = keeper.state.accepted, record.ballot == keeper.state.learned,
            (record.epoch, record.config.version) > told
        else { return nil }
        told = (record.epoch, record.config.version)
        return record
    }

    /// As `take`, without checking signatures: the outcome may be acted upon, and persisted, but nobody told of it before
    /// all its `claims` are found true.
    mutating func takeUnchecked(_ calls: [RegisterCall], now: Duration) -> Outcome {
        guard calls.contains(where: \.request.bringsRecord) else { return take(calls, now: now) }
        let before = keeper
        // Nothing is ready at once: to take back the state would take back a lease that somebody was told of.
        if unpersisted == nil { unpersisted = keeper.state }
        var outcome = Outcome()
        let claims = signatures.deferring { outcome = take(calls, now: now) }
        outcome.claims = claims
        outcome.before = before
        return outcome
    }

    /// Makes an outcome undone of which nobody has heard, because something it rests on is not so. The journals may have its
    /// state; the keeper's, as it was before, goes there first of all. Returns the calls to be taken again.
    mutating func takeBack(_ outcome: Outcome) -> [RegisterCall] {
        if let before = outcome.before { keeper = before }
        unpersisted = keeper.state
        isTakenBack = true
        return outcome.held.map(\.call)
    }

    mutating func take(_ calls: [RegisterCall], now: Duration) -> Outcome {
        var outcome = Outcome(persist: unpersisted)
        // A yes to what was accepted before changes no state, but the blocks that came with it must be on disk.
        if calls.contains(where: { !$0.carried.isEmpty }) { outcome.persist = keeper.state }
        var wakesWatchers = isTakenBack
        isTakenBack = false
        for call in calls {
            if isClosed {
                outcome.ready.append(Reply(call: call, response: .refused(.closing)))
                continue
            }
            if case .join = call.request.body { joined[call.session] = call.request.sender }
            let step = keeper.step(call.request, now: now)
            if let state = step.persist { outcome.persist = state }
            if step.wakesWatchers { wakesWatchers = true }
            if step.beginsHold { forgetWanted(by: call.request.sender) }
            if let response = step.response {
                outcome.add(call, .register(response))
            } else {
                parked.append(Parked(call: call, until: now + Self.patience))
            }
        }
        if wakesWatchers { askAgain(&outcome, now) }
        if parked.count > Self.parkedLimit { dismiss(parked.count - Self.parkedLimit, &outcome, now) }
        return outcome
    }

    /// Answers the watches that waited long enough.
    mutating func look(now: Duration) -> Outcome {
        var outcome = Outcome(persist: unpersisted)
        dismiss(parked.prefix { $0.until <= now }.count, &outcome, now)
        return outcome
    }

    /// The session's connection has ended.
    mutating func left(_ session: SessionName) {
        parked.removeAll { $0.call.session == session }
        if let session = joined.removeValue(forKey: session) { keeper.left(session) }
    }

    /// Refuses whatever waits and whatever comes.
    mutating func close() -> Outcome {
        isClosed = true
        defer { parked = [] }
        return Outcome(ready: parked.map { Reply(call: $0.call, response: .refused(.closing)) })
    }

    /// Whether the state of an outcome reached the disk.
    mutating func persisted(_ state: KeeperState, _ isOnDisk: Bool) {
        unpersisted = isOnDisk ? nil : state
    }

    private mutating func forgetWanted(by holder: ProposerID) {
        for index in parked.indices where parked[index].call.request.sender == holder {
            parked[index].call.request.forgetWanted()
        }
    }

    /// The keeper learned something: which of the watches has news now?
    private mutating func askAgain(_ outcome: inout Outcome, _ now: Duration) {
        var waiting: [Parked] = []
        for watch in parked {
            let step = keeper.step(watch.call.request, now: now)
            if let state = step.persist { outcome.persist = state }
            if let response = step.response {
                outcome.add(watch.call, .register(response))
            } else {
                waiting.append(watch)
            }
        }
        parked = waiting
    }

    /// No news for the first `count` watches: each gets what a read would.
    private mutating func dismiss(_ count: Int, _ outcome: inout Outcome, _ now: Duration) {
        for watch in parked.prefix(count) {
            var request = watch.call.request
            if case .watch(let known, _) = request.body { request.body = .read(known: known) }
            let step = keeper.step(request, now: now)
            if let state = step.persist { outcome.persist = state }
            if let response = step.response { outcome.add(watch.call, .register(response)) }
        }
        parked.removeFirst(count)
    }
}

extension RegisterDesk.Outcome {
    fileprivate mutating func add(_ call: RegisterCall, _ response: Response) {
        let reply = RegisterDesk.Reply(call: call, response: response)
        if persist == nil { ready.append(reply) } else { held.append(reply) }
    }
}

extension RegisterRequest {
    /// A signed one, for the keeper to accept.
    fileprivate var bringsRecord: Bool {
        switch body {
        case .accept, .initialize, .recover: true
        case .read, .join, .leave, .watch, .sessions, .prepare, .learn, .renew, .release, .admit: false
        }
    }
}

extension Refusal {
    static let closing = Refusal(.closing, "the server is shutting down")
}
