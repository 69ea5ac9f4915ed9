/// Holding the lease: renewing, being asked for it, losing it, giving it back (protocol.md section 3).
extension Proposer {
    mutating func hold(
        _ base: RootRecord, next: Ballot, establish: RegisterRequest.Body, _ round: Round,
        isAnnounced: Bool = false, isWanted: Bool = false, learnAt: Duration? = nil, _ now: Duration
    ) {
        attempt = 0
        if base.isSealed(in: epoch), !mutants.contains(.ignoresSeal) {
            phase = .idle
            return move(to: base, epoch: epoch + 1)
        }
        var holding = Holding(
            base: base, next: next, establish: establish, standing: round.yes,
            askedAt: now - timing.shortestRenewal, renewAt: now, isAnnounced: isAnnounced, isWanted: isWanted,
            learnAt: learnAt)
        settle(&holding, now)
    }

    /// Answers that matter to a holder: to renewals, and late ones to the round that it stands on.
    func isAbout(_ holding: Holding, _ body: RegisterRequest.Body) -> Bool {
        switch body {
        case .renew(let ballot), .prepare(let ballot): ballot == holding.next
        case .accept(let record, _): record.ballot == holding.base.ballot
        case .read, .join, .leave, .watch, .sessions, .learn, .release, .admit, .initialize, .recover: false
        }
    }

    mutating func held(
        _ holding: inout Holding, _ keeper: Int, sentAt: Duration, _ response: RegisterResponse, _ now: Duration
    ) {
        if response.leased, !company.mustCommit {
            lease.yes(keeper, sentAt: sentAt)
            holding.standing.insert(keeper)
            holding.outbid.remove(keeper)
            if response.wanted { holding.isWanted = true }
        } else if response.leased || !response.joining.isEmpty {
            // The promise stands, and what was said before counts as long as it did.
            if response.wanted { holding.isWanted = true }
        } else {
            lease.no(keeper)
            holding.standing.remove(keeper)
            if response.highest > holding.next { holding.outbid.insert(keeper) }
        }
        // Without a lease there is nothing to wait for where somebody else came first: with others down or amnesiac a quorum may
        // never come together again, while the few that still stand keep everybody out.
        let isOutbid = holding.outbid.count > 0 && !isLeased(now)
        if isOutbid || holding.outbid.count > keepers.members.count - keepers.quorum {
            lease.clear()
            phase = .idle
            effects.append(.lost)
        } else {
            settle(&holding, now)
        }
    }

    mutating func keep(_ holding: inout Holding, _ now: Duration) {
        if let learnAt = holding.learnAt, now >= learnAt {
            holding.learnAt = nil
            send(.learn(holding.base.ballot))
        }
        if now >= holding.renewAt {
            let standing = holding.standing
            send(.renew(holding.next)) { standing.contains($0) }
            send(holding.establish) { !standing.contains($0) }
            holding.askedAt = now
        }
        settle(&holding, now)
    }

    /// Tells the client what changed, and sets the time of the next renewal.
    mutating func settle(_ holding: inout Holding, _ now: Duration) {
        let due = lease.start(quorum: keepers.quorum).map { $0 + timing.renewal } ?? now
        holding.renewAt = max(due, holding.askedAt + timing.shortestRenewal)
        phase = .holding(holding)  // leaseEnd reads it
        announce(&holding, now)
        if holding.isWanted, !holding.isWantedTold {
            holding.isWantedTold = true
            effects.append(.wanted)
        }
        phase = .holding(holding)
    }

    func isLeased(_ now: Duration) -> Bool {
        guard let start = lease.start(quorum: keepers.quorum) else { return false }
        return now < start + timing.trusted
    }

    mutating func announce(_ holding: inout Holding, _ now: Duration) {
        let leased = isLeased(now)
        if leased, !holding.isAnnounced {
            holding.isAnnounced = true
            effects.append(.acquired(holding.base))
        } else if !leased, holding.isAnnounced {
            holding.isAnnounced = false
            effects.append(.expired)
        }
    }

    /// L4.
    mutating func admit() {
        let next: Ballot
        switch phase {
        case .holding(let holding): next = holding.next
        case .accepting(let accepting): next = accepting.next
        case .idle, .backingOff, .preparing, .fetching: return company.admitted()
        }
        for (keeper, tickets) in company.waiting.enumerated() where !tickets.isEmpty {
            send(.admit(next, tickets)) { $0 == keeper }
        }
        company.admitted()
    }

    mutating func release() {
        switch phase {
        case .idle: return
        case .accepting(let accepting) where accepting.parent != nil: return
        case .backingOff: break
        case .preparing(let preparing): send(.release(preparing.ballot))
        case .fetching(let fetching): send(.release(fetching.ballot))
        case .accepting(let accepting): send(.release(accepting.next))
        case .holding(let holding): send(.release(holding.next))
        }
        lease.clear()
        phase = .idle
    }
}
