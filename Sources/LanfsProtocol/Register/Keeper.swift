/// What a keeper does about one request.
public struct KeeperStep: Equatable, Sendable {
    /// `nil`: a `watch` without news. Ask again with the same request and `now` when a later step `wakesWatchers`, and
    /// answer it in any case before the asker's patience ends.
    public var response: RegisterResponse?
    /// A5: to be on disk in both journals before this response or any later one leaves. Later ones too, because they
    /// may tell of it.
    public var persist: KeeperState?
    /// A record was learned, the holder's lease is newly wanted, or it was given back and somebody is next.
    public var wakesWatchers = false
    /// The lease went to whoever asked. What a watch of theirs that waits says it knows is of an earlier time: it is to be asked
    /// from now on as if they knew nothing (``RegisterRequest/forgetWanted()``).
    public var beginsHold = false
}

/// One vote on the root register of one volume: the acceptor's half of protocol.md section 2, and of the write lease.
public struct Keeper<Verifier: RecordVerifier>: Sendable {
    public let server: ServerID
    public let volume: VolumeID
    public private(set) var state: KeeperState

    private let verifier: Verifier
    private let timing: LeaseTiming
    /// L2: when this keeper last said yes to whoever holds `promised`; its own start counts as such a yes, because it
    /// no longer knows when the last one was.
    private var lastYes: Duration
    /// When a Prepare was last refused for the lease's sake.
    private var lastWanted: Duration?
    /// L4.
    private var sessions = Sessions()
    /// L7: who was refused first since the lease was last given, and asks on; and until when nobody else gets it.
    private var first: (proposer: ProposerID, askedAt: Duration)?
    private var reservedUntil: Duration?
    #if DEBUG
        var mutants: KeeperMutants = []
    #else
        var mutants: KeeperMutants { [] }
    #endif

    /// `now`: the monotonic clock that every later `step` uses, from any origin.
    public init(
        server: ServerID, volume: VolumeID, recovery: KeeperRecovery, verifier: Verifier,
        timing: LeaseTiming = .standard, now: Duration
    ) {
        self.server = server
        self.volume = volume
        self.verifier = verifier
        self.timing = timing
        lastYes = now
        switch recovery {
        case .empty:
            state = KeeperState()
        case .state(let recovered):
            state = recovered
        case .amnesiac:
            state = .amnesiac
        }
    }

    /// L4: the session's connection is gone. Like a restart it may be forgotten at any moment; so a holder is solo again as soon
    /// as everybody else has left.
    public mutating func left(_ session: ProposerID) { sessions.forget(session) }

    public mutating func step(_ request: RegisterRequest, now: Duration) -> KeeperStep {
        sessions.settle(now, isLeased: leaseLeft(now) != nil, timing)
        sessions.heard(of: request.sender, now)
        let held = holdsLease(request.sender, now)
        let before = (
            learned: state.learned, revision: state.revision, wanted: isWanted(now), waits: sessions.isWaiting,
            reservedUntil: reservedUntil
        )
        if let chosen = request.chosen { consider(chosen) }

        var leased = false
        var ticket: UInt64?
        let verdict: RegisterResponse.Verdict?
        if state.isAmnesiac {
            verdict = .refused(.amnesiac)
        } else if case .initialize(let record, let next) = request.body {
            verdict = initialize(record, next: next, epoch: request.epoch, now: now)
        } else if case .recover(let record, let next) = request.body {
            verdict = recover(record, next: next, epoch: request.epoch, now: now)
        } else if let accepted = state.accepted {
            verdict = answer(request, accepted: accepted, now: now, leased: &leased, ticket: &ticket)
        } else {
            verdict = .refused(.uninitialized)
        }

        let wanted = isWanted(now)
        return KeeperStep(
            response: verdict.map {
                var isRefusal = false
                if case .refused = $0 { isRefusal = true }
                return RegisterResponse(
                    epoch: state.epoch, highest: state.highest, learned: state.learned, wanted: wanted, leased: leased,
                    ticket: ticket, mayRead: request.names(ticket), isAlone: !isRefusal && sessions.isAlone(request.sender),
                    joining: isHolder(request.sender) ? sessions.waiting : [], verdict: $0)
            },
            persist: state.revision != before.revision ? state : nil,
            wakesWatchers: state.learned != before.learned || (wanted && !before.wanted)
                || (sessions.isWaiting && !before.waits) || (reservedUntil != nil && reservedUntil != before.reservedUntil),
            beginsHold: !held && holdsLease(request.sender, now))
    }
}

extension RegisterRequest {
    /// L2: a watch that waits since an earlier hold of the lease is to tell again that somebody wants it.
    public mutating func forgetWanted() {
        if case .watch(let known, true) = body { body = .watch(known: known, knowsWanted: false) }
    }

    /// L4: it counts on this registration.
    fileprivate func names(_ ticket: UInt64?) -> Bool {
        if case .join(_, let named?) = body { named == ticket } else { false }
    }
}

/// Rules that a test may break on purpose, to show that the simulator notices.
struct KeeperMutants: OptionSet, Sendable {
    let rawValue: Int
    /// M3 broken: whatever was accepted here gives way.
    static let recoversBlindly = KeeperMutants(rawValue: 1)
    /// A6 broken: what it acknowledged and has not is no matter.
    static let ignoresEvidence = KeeperMutants(rawValue: 2)
    /// L4 broken: a session that is not known may read at once.
    static let admitsStrangers = KeeperMutants(rawValue: 4)
    /// L4 broken: the lease is extended while a join waits.
    static let extendsMeanwhile = KeeperMutants(rawValue: 8)
}

extension Keeper {
    /// A6. What a keeper acknowledged it has on disk for ever; one that lacks it went back.
    private mutating func consider(_ chosen: ChosenEvidence) {
        let mine = state.accepted?.ballot ?? .zero
        guard !mutants.contains(.ignoresEvidence) else { return }
        if chosen.acknowledgedBy.contains(server), (chosen.epoch, chosen.ballot) > (state.epoch, mine) {
            guard !state.isAmnesiac else { return }
            state.isAmnesiac = true
            state.revision += 1
        } else if chosen.epoch == state.epoch {
            learn(chosen.ballot)
        }
    }

    private mutating func learn(_ ballot: Ballot) {
        if ballot == state.accepted?.ballot, ballot > state.learned { state.learned = ballot }
    }

    private mutating func answer(
        _ request: RegisterRequest, accepted: RootRecord, now: Duration, leased: inout Bool, ticket: inout UInt64?
    ) -> RegisterResponse.Verdict? {
        if case .join(let known, _) = request.body {
            // The holder knows what it has acknowledged itself.
            let mustWait =
                leaseLeft(now) != nil && !isHolder(request.sender) && !mutants.contains(.admitsStrangers)
            ticket = sessions.reads(request.sender, now, mustWait: mustWait)
            return .accepted(accepted.ballot, known == accepted.ballot ? nil : accepted)
        }
        if case .leave = request.body {
            sessions.forget(request.sender)
            return .yes
        }
        if case .read(let known) = request.body {
            return .accepted(accepted.ballot, known == accepted.ballot ? nil : accepted)
        }
        if case .watch(let known, let knowsWanted) = request.body {
            if isTurn(of: request.sender, now) { return .yes }
            // The holder's commits are no news to it.
            let news = !isHolder(request.sender) && state.learned == accepted.ballot && known < accepted.ballot
            let wanted = !knowsWanted && isHolder(request.sender) && (isWanted(now) || sessions.isWaiting)
            guard news || wanted || request.epoch != state.epoch else { return nil }
            return .accepted(accepted.ballot, known == accepted.ballot ? nil : accepted)
        }
        if case .sessions(let sessions) = request.body { return .silence(sessions.map { silence(of: $0, now) }) }
        guard request.epoch == state.epoch else { return .refused(.wrongEpoch(accepted)) }  // A4

        switch request.body {
        case .prepare(let ballot):
            return prepare(ballot, accepted: accepted, now: now, leased: &leased)
        case .accept(let record, let next):
            return accept(record, next: next, accepted: accepted, now: now, leased: &leased)
        case .learn(let ballot):
            learn(ballot)
            return .yes
        case .renew(let ballot):
            guard ballot == state.promised, ballot != state.released else { return .refused(.outbid) }
            leased = extendLease(now)
            return .yes
        case .release(let ballot):
            return release(ballot, now)
        case .admit(let ballot, let tickets):
            guard isHolder(ballot.proposer) else { return .refused(.outbid) }
            sessions.admit(tickets)
            return .yes
        case .read, .join, .leave, .watch, .sessions, .initialize, .recover:
            return nil  // answered above
        }
    }

    /// A1, and L2. The promise that stands is given again to whoever repeats the question, as A2 does; unless it was
    /// given back since, when the question is a late copy.
    private mutating func prepare(
        _ ballot: Ballot, accepted: RootRecord, now: Duration, leased: inout Bool
    ) -> RegisterResponse.Verdict {
        if ballot.proposer != state.promised.proposer, let left = leaseLeft(now) {
            lastWanted = now
            if first == nil || !isInLine(now) || first?.proposer == ballot.proposer { first = (ballot.proposer, now) }
            return .refused(.held(milliseconds: UInt32(clamping: Int64(left / .milliseconds(1)))))
        }
        if let first, first.proposer != ballot.proposer, let reservedUntil, now < reservedUntil {
            let left = (reservedUntil - now) / .milliseconds(1)
            return .refused(.held(milliseconds: UInt32(clamping: Int64(left))))
        }
        let repeated = ballot == state.promised && ballot != state.released
        guard ballot > state.promised || repeated, ballot > accepted.ballot else { return .refused(.outbid) }
        if !repeated { promise(ballot) }
        if first?.proposer == ballot.proposer { first = nil }
        leased = extendLease(now)
        return .accepted(accepted.ballot, accepted)
    }

    /// A2.
    private mutating func accept(
        _ record: RootRecord, next: Ballot?, accepted: RootRecord, now: Duration, leased: inout Bool
    ) -> RegisterResponse.Verdict {
        let ballot = record.ballot
        if let next, next.proposer != ballot.proposer || next <= ballot { return .refused(.invalid(.badBallot)) }
        if ballot == accepted.ballot {
            guard record.sameValue(as: accepted) else { return .refused(.invalid(.badBallot)) }
        } else {
            guard ballot >= state.promised, ballot > accepted.ballot else { return .refused(.outbid) }
            guard record.volume == volume else { return .refused(.invalid(.wrongVolume)) }
            guard record.epoch == state.epoch else { return .refused(.invalid(.badEpoch)) }
            guard record.isSigned(for: volume, verifier) else { return .refused(.invalid(.badSignature)) }
            state.accepted = record
            promise(max(ballot, next ?? ballot))
            if record.config.keepers.quorum == 1 { state.learned = ballot }  // this yes alone is the quorum (P3)
        }
        // A yes to what was accepted before counts for the lease only while its proposer still has the promise.
        leased = state.promised.proposer == ballot.proposer && state.promised != state.released && extendLease(now)
        return .yes
    }

    /// A yes counts for the lease, from now on; but not while a session waits for the holder (L4).
    private mutating func extendLease(_ now: Duration) -> Bool {
        guard !sessions.isWaiting || mutants.contains(.extendsMeanwhile) else { return false }
        lastYes = now
        return true
    }

    /// Whether it has the promise, and the lease with it while that lasts.
    private func isHolder(_ sender: ProposerID) -> Bool {
        sender == state.promised.proposer && state.promised != state.released
    }

    private func holdsLease(_ sender: ProposerID, _ now: Duration) -> Bool { isHolder(sender) && leaseLeft(now) != nil }

    /// L7: the lease was given back, and it was this session that asked for it first.
    private func isTurn(of sender: ProposerID, _ now: Duration) -> Bool {
        first?.proposer == sender && leaseLeft(now) == nil && reservedUntil.map { now < $0 } ?? false
    }

    /// Whoever holds the lease asks for that, and seldom reads.
    private func silence(of session: ProposerID, _ now: Duration) -> UInt32? {
        let silences = [sessions.silence(of: session, now), isHolder(session) ? now - lastYes : nil]
        return silences.compactMap { $0 }.min().map { UInt32(clamping: Int64($0 / .milliseconds(1))) }
    }

    private func isInLine(_ now: Duration) -> Bool {
        first.map { now - $0.askedAt <= timing.wantedMemory } ?? false
    }

    private mutating func promise(_ ballot: Ballot) {
        if ballot.proposer != state.promised.proposer { lastWanted = nil }
        state.promised = ballot
        state.revision += 1
    }

    /// Raising the promise to the ballot that is given back makes every late copy of the holder's requests too old to
    /// count. Kept on disk, so that a restart after an orderly end makes nobody wait for L.
    private mutating func release(_ ballot: Ballot, _ now: Duration) -> RegisterResponse.Verdict {
        guard ballot.proposer == state.promised.proposer, ballot >= state.promised else { return .refused(.outbid) }
        guard ballot != state.released else { return .yes }
        state.promised = ballot
        state.released = ballot
        state.revision += 1
        lastWanted = nil
        reservedUntil = isInLine(now) ? now + timing.turn : nil
        return .yes
    }

    /// F5 and M2 (3). A repeat finds its own record and starts no second lease.
    private mutating func initialize(
        _ record: RootRecord, next: Ballot?, epoch: UInt64, now: Duration
    ) -> RegisterResponse.Verdict {
        if let accepted = state.accepted, epoch <= state.epoch {
            guard epoch == state.epoch else { return .refused(.wrongEpoch(accepted)) }
            return record.sameValue(as: accepted) ? .yes : .refused(.occupied(accepted))
        }
        guard record.volume == volume else { return .refused(.invalid(.wrongVolume)) }
        if let next, next <= record.ballot { return .refused(.invalid(.badBallot)) }
        let creates = record.epoch == epoch && record.sequence == 0 && record.sealedNext == nil
        let moves = record.epoch < .max && record.epoch + 1 == epoch && record.sealedNext != nil
        guard epoch > 0, creates || moves, record.config(in: epoch).keepers.members.contains(server) else {
            return .refused(.invalid(.badEpoch))
        }
        guard !creates || state.accepted == nil else { return .refused(.invalid(.badEpoch)) }
        guard record.isSigned(for: volume, verifier) else { return .refused(.invalid(.badSignature)) }
        state.epoch = epoch
        state.accepted = record
        // A sealing record was chosen before it got here, and so is all that the only keeper accepts (P3).
        state.learned = moves || record.config.keepers.quorum == 1 ? record.ballot : .zero
        state.promised = next ?? record.ballot
        state.released = next == nil ? record.ballot : .zero
        state.revision += 1
        lastYes = now
        // They joined what came before.
        sessions = Sessions()
        return .yes
    }

    /// M3. Only on top of the very value that is accepted here: what came in meanwhile is not lost by a person's haste.
    private mutating func recover(
        _ record: RootRecord, next: Ballot?, epoch: UInt64, now: Duration
    ) -> RegisterResponse.Verdict {
        guard let accepted = state.accepted else { return .refused(.uninitialized) }
        if epoch > state.epoch, !mutants.contains(.recoversBlindly) {
            guard record.epoch == state.epoch, record.sequence == accepted.sequence &+ 1,
                record.previous == accepted.hash(verifier), record.ballot > accepted.ballot,
                !accepted.isSealed(in: state.epoch)
            else { return .refused(.occupied(accepted)) }
        }
        return initialize(record, next: next, epoch: epoch, now: now)
    }

    /// L2: how long others must still wait for whoever holds the promise.
    private func leaseLeft(_ now: Duration) -> Duration? {
        guard state.promised != state.released else { return nil }
        let left = lastYes + timing.length - now
        return left > .zero ? left : nil
    }

    private func isWanted(_ now: Duration) -> Bool {
        guard let lastWanted else { return false }
        return now - lastWanted <= timing.wantedMemory
    }
}
