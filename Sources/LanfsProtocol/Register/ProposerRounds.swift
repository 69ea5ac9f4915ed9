/// The rounds: Prepare, Accept, and what their answers mean.
extension Proposer {
    mutating func acquire(_ now: Duration) {
        switch phase {
        case .idle: prepare(now)
        case .holding(var holding):
            holding.isAnnounced = false
            announce(&holding, now)
            phase = .holding(holding)
        case .backingOff, .preparing, .fetching, .accepting: break  // on the way already
        }
    }

    mutating func prepare(_ now: Duration) {
        // Whoever refused us goes on committing meanwhile, a ballot each time: be above those to come as well, or the
        // lease is free and we are refused once more.
        highest = highest.next(for: id, skipping: attempt == 0 ? 0 : 1024)
        company = Company(keepers: keepers.members.count, since: now)
        phase = .preparing(Preparing(ballot: highest, round: newRound(now)))
        send(.prepare(highest))
    }

    /// P2, in one round thanks to P6.
    mutating func commit(_ change: RootChange, _ now: Duration) {
        guard case .holding(let holding) = phase else { return }
        let record = holding.base.child(change, epoch: epoch, ballot: holding.next, signer: signer)
        guard record.fits else {
            effects.append(.tooLarge)
            return
        }
        propose(record, parent: holding.base, isWanted: holding.isWanted, now)
    }

    private mutating func propose(_ record: RootRecord, parent: RootRecord?, isWanted: Bool = false, _ now: Duration) {
        let next = record.ballot.next(for: id)
        highest = max(highest, next)
        phase = .accepting(
            Accepting(record: record, next: next, round: newRound(now), parent: parent, isWanted: isWanted))
        send(.accept(record, next: next))
    }

    mutating func answered(
        _ keeper: Int, _ request: RegisterRequest, sentAt: Duration, _ response: RegisterResponse, now: Duration,
        random: UInt64
    ) {
        if response.highest.isCredible { highest = max(highest, response.highest) }
        note(keeper, response.verdict)
        if case .refused(.wrongEpoch(let record)) = response.verdict, response.epoch > epoch,
            record.belongs(to: response.epoch), record.isSigned(for: volume, signer)
        {
            return move(to: record, epoch: response.epoch)
        }

        switch (request.body, phase) {
        case (.prepare(let ballot), .preparing(var preparing)) where preparing.ballot == ballot:
            if case .accepted(_, let record?) = response.verdict, isCredible(record) {
                count(response, keeper, sentAt: sentAt)
                promised(record, by: keeper, &preparing, now)
            } else {
                preparing.round.no.insert(keeper)
                phase = .preparing(preparing)
                if isHopeless(preparing.round) { retreat(from: preparing.ballot, random, now) }
            }
        case (.accept(let record, _), .accepting(var accepting)) where accepting.record.ballot == record.ballot:
            if response.verdict == .yes {
                count(response, keeper, sentAt: sentAt)
                accepting.round.yes.insert(keeper)
                phase = .accepting(accepting)
                if accepting.round.yes.count >= keepers.quorum {
                    isChosen(accepting, wanted: response.wanted && response.leased, now)
                }
            } else {
                lease.no(keeper)
                accepting.round.no.insert(keeper)
                phase = .accepting(accepting)
                if isHopeless(accepting.round) { giveUp(accepting, random, now) }
            }
        case (_, .holding(var holding)) where isAbout(holding, request.body):
            held(&holding, keeper, sentAt: sentAt, response, now)
        // Hints: what they say is only believed where it costs no safety.
        case (.watch, .holding(var holding)) where response.wanted:
            holding.isWanted = true
            settle(&holding, now)
        case (.watch, .accepting(var accepting)) where response.wanted:
            accepting.isWanted = true
            phase = .accepting(accepting)
        case (.watch, .backingOff) where response.verdict == .yes:
            prepare(now)
        default:
            break  // an answer to a question that no longer matters
        }
    }

    /// Refusals that waiting does not cure are worth a line in the log.
    private mutating func note(_ keeper: Int, _ verdict: RegisterResponse.Verdict) {
        switch verdict {
        case .refused(.amnesiac), .refused(.uninitialized), .refused(.invalid):
            if case .refused(let refusal) = verdict { effects.append(.troubled(keepers.members[keeper], refusal)) }
        default: break
        }
    }

    /// A keeper may lie: what it shows must be signed, and of this epoch or the seal that began it.
    private func isCredible(_ record: RootRecord) -> Bool {
        record.epoch <= epoch && record.isSigned(for: volume, signer)
    }

    private mutating func count(_ response: RegisterResponse, _ keeper: Int, sentAt: Duration) {
        if (response.leased && !company.mustCommit) || mutants.contains(.countsEveryYes) { lease.yes(keeper, sentAt: sentAt) }
    }

    private mutating func promised(
        _ record: RootRecord, by keeper: Int, _ preparing: inout Preparing, _ now: Duration
    ) {
        guard !preparing.round.yes.contains(keeper) else { return }
        preparing.round.yes.insert(keeper)
        preparing.promises.append(record)
        phase = .preparing(preparing)
        guard preparing.round.yes.count >= keepers.quorum else { return }

        guard let base = Self.base(of: preparing.promises, mutants) else { return }
        let isChosenAlready = preparing.promises.allSatisfy { $0.ballot == base.ballot }  // P3
        // A quorum's promises cannot show what a keeper outside the quorum accepted of an unknown commit; only a value
        // chosen above it buries it (P5).
        let provesAbsence =
            !isUnresolved || preparing.round.yes.count == keepers.members.count
            || mutants.contains(.promisesProveAbsence)
        if (isChosenAlready && provesAbsence) || mutants.contains(.ignoresUnchosen) {
            remember(base, acknowledgedBy: preparing.round.yes)
            hold(base, next: preparing.ballot, establish: .prepare(preparing.ballot), preparing.round, now)
        } else if base.epoch < epoch {
            // The seal was chosen in its own epoch; here a child of it that changes nothing takes its place, so that
            // every record this epoch's keepers accept is signed for this epoch.
            let change = RootChange(contents: base.contents, gcEpoch: base.gcEpoch)
            let child = base.child(change, epoch: epoch, ballot: preparing.ballot, signer: signer)
            propose(child, parent: nil, now)
        } else if mutants.contains(.fetchesNothing) {
            propose(base.signed(ballot: preparing.ballot, signer), parent: nil, now)
        } else {
            phase = .fetching(Fetching(record: base, ballot: preparing.ballot, until: now + timing.longestRetry))
            effects.append(.fetch(base, for: preparing.ballot))
        }
    }

    /// Where the blocks cannot be had those who accepted the value are away: the next round may do without them.
    mutating func fetched(_ ballot: Ballot, _ isHere: Bool, _ now: Duration, _ random: UInt64) {
        guard case .fetching(let fetching) = phase, fetching.ballot == ballot else { return }
        guard isHere else { return retreat(from: ballot, random, now) }
        propose(fetching.record.signed(ballot: ballot, signer), parent: nil, now)
    }

    /// P1: the highest ballot, never the highest sequence number: a value that lost can be longer than one that won.
    static func base(of promises: [RootRecord], _ mutants: ProposerMutants) -> RootRecord? {
        if mutants.contains(.baseBySequence) { return promises.max { $0.sequence < $1.sequence } }
        if mutants.contains(.ignoresUnchosen) { return promises.min { $1.isNewer(than: $0) } }
        return promises.max { $1.isNewer(than: $0) }
    }

    /// P3: now, and only now, may anybody hear of it.
    private mutating func isChosen(_ accepting: Accepting, wanted: Bool, _ now: Duration) {
        isUnresolved = false
        remember(accepting.record, acknowledgedBy: accepting.round.yes)
        // While nobody else reads, the next request tells it as well (`chosen`). Where all must agree one that is left alone shows
        // what it knows to be chosen (``FastRead``), and servers wait to hear of another configuration.
        let isNews = keepers.quorum == keepers.members.count || accepting.record.config != accepting.parent?.config
        let learnAt = isSolo(now) && !isNews && accepting.record.sealedNext == nil ? now + timing.news : nil
        if keepers.quorum > 1, learnAt == nil { send(.learn(accepting.record.ballot)) }
        if accepting.parent != nil { effects.append(.committed(accepting.record)) }
        hold(
            accepting.record, next: accepting.next, establish: .accept(accepting.record, next: accepting.next),
            accepting.round, isAnnounced: accepting.parent != nil, isWanted: wanted || accepting.isWanted,
            learnAt: learnAt, now)
    }

    private mutating func remember(_ record: RootRecord, acknowledgedBy acknowledged: KeeperSet) {
        let servers = keepers.members.indices.filter(acknowledged.contains).map { keepers.members[$0] }
        chosen = ChosenEvidence(epoch: epoch, ballot: record.ballot, acknowledgedBy: servers)
    }

    /// P7: refused by too many to win. Promises given meanwhile are handed back, because they hold leases that keep
    /// everybody out.
    private mutating func retreat(from ballot: Ballot, _ random: UInt64, _ now: Duration) {
        send(.release(ballot))
        lease.clear()
        phase = .backingOff(until: now + timing.backoff(attempt: attempt, random: random))
        attempt += 1
    }

    /// P5: refused by too many to be sure of winning; it may yet be found, and completed, by whoever comes next.
    private mutating func giveUp(_ accepting: Accepting, _ random: UInt64, _ now: Duration) {
        guard accepting.parent != nil else { return retreat(from: accepting.next, random, now) }
        isUnresolved = true
        lease.clear()
        phase = .idle
        effects.append(.unknown(accepting.record))
    }

    mutating func abandon(_ now: Duration, _ random: UInt64) {
        if case .accepting(let accepting) = phase, accepting.parent != nil { giveUp(accepting, random, now) }
    }

    mutating func move(to record: RootRecord, epoch: UInt64) {
        if case .accepting(let accepting) = phase, accepting.parent != nil {
            effects.append(.unknown(accepting.record))
        }
        lease.clear()
        phase = .idle
        effects.append(.moved(record, epoch: epoch))
    }

    mutating func tick(_ now: Duration, _ random: UInt64) {
        switch phase {
        case .idle: break
        case .fetching(let fetching):
            if now >= fetching.until { retreat(from: fetching.ballot, random, now) }
        case .backingOff(let until):
            if now >= until { prepare(now) }
        case .preparing(var preparing):
            guard now >= preparing.round.resendAt else { return }
            // The rest may be down for long, while those that refused may be free again.
            if preparing.round.no.count > 0 { return retreat(from: preparing.ballot, random, now) }
            preparing.round.postpone(now, timing)
            phase = .preparing(preparing)
            send(.prepare(preparing.ballot)) { !preparing.round.yes.contains($0) }
        case .accepting(var accepting):
            guard now >= accepting.round.resendAt else { return }
            if accepting.round.no.count > 0 { return giveUp(accepting, random, now) }
            accepting.round.postpone(now, timing)
            phase = .accepting(accepting)
            send(.accept(accepting.record, next: accepting.next)) { !accepting.round.yes.contains($0) }
        case .holding(var holding):
            keep(&holding, now)
        }
    }
}

extension Proposer.Round {
    mutating func postpone(_ now: Duration, _ timing: LeaseTiming) {
        delay = min(delay * 2, timing.longestRetry)
        resendAt = now + delay
    }
}
