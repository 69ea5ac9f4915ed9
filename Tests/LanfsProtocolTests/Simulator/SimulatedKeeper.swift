@testable import LanfsProtocol

/// The shell around a keeper: its process, its clock and its two journals.
struct SimulatedKeeper {
    var server: ServerID
    var clock: SimulatedClock
    var core: Keeper<SimulatedAuthority>
    var journals: [SimulatedJournal]
    var isUp = true
    /// Grows at every crash; what the last process had not finished is gone.
    var run = 0
    /// When all states handed out so far are on disk.
    var allOnDiskAt: Int64 = 0
    /// At most one journal rots between two recoveries: two at once are more than A5 promises to survive undamaged.
    var rottenJournal: Int?
    /// Values whose blocks lie in the journals beside the vote for them; those on their way there, and when they are; and those
    /// that a crash may have kept from getting there.
    var blocks: Set<[UInt8]> = []
    var blocksOnTheirWay: [(contents: [UInt8], until: Int64)] = []
    var doubtfulBlocks: [[UInt8]] = []
    var isAmnesiac = false
    /// It has said so: it never votes again (A5).
    var hasNoVote = false
    /// What its disk held once, should it be put back.
    var image: KeeperState
    /// It was: it will vote no more as soon as it hears what it has lost (A6).
    var isRolledBack = false
    var awayUntil: Int64 = 0
    /// What anybody was told by this keeper.
    var shownPromise = Ballot.zero
    var shownAccepted = Ballot.zero
}

extension RegisterWorld {
    mutating func addKeeper(_ index: Int, _ server: ServerID, _ genesis: RootRecord) {
        let clock = SimulatedClock(&random)
        var core = Keeper(
            server: server, volume: volume, recovery: .empty, verifier: SimulatedAuthority(), timing: timing,
            now: clock.local(0))
        let request = RegisterRequest(epoch: 1, sender: 1, body: .initialize(genesis, next: nil))
        let step = core.step(request, now: clock.local(0))
        guard step.response?.verdict == .yes, let state = step.persist else {
            preconditionFailure("a keeper refused the first record: \(step)")
        }
        var keeper = SimulatedKeeper(
            server: server, clock: clock, core: core, journals: [.init(), .init()], image: state)
        for journal in 0..<2 { keeper.journals[journal].restart(with: state, now: 0) }
        keeper.core.mutants = keeperMutants(isRestarted: false)
        keepers.append(keeper)
        guard (try? oracle.accepted(genesis, in: 1, by: index)) != nil else { preconditionFailure("a bad first record") }
        push(.keeperFault(index), in: Int64(300 + random.below(3000)) * Self.millisecond)
    }

    mutating func deliver(_ envelope: Envelope) throws {
        let index = envelope.keeper
        guard keepers[index].isUp else { return }
        let local = keepers[index].clock.local(now)
        let isBehind = isBehind(index, envelope.request.chosen)
        let before = keepers[index].core.state
        let step = keepers[index].core.step(envelope.request, now: local)
        // Invariant 12.
        if isBehind, let verdict = step.response?.verdict, verdict != .refused(.amnesiac) {
            throw Violation("keeper \(index) answers although it lacks what it acknowledged")
        }
        note(1, UInt64(index))
        tally.note(envelope.request, step)
        if case .refused(.held) = step.response?.verdict, before.promised == before.released { tally.note(.L7) }
        var leavesAt = max(now, keepers[index].allOnDiskAt)
        if let state = step.persist {
            var onDiskAt = now
            for journal in 0..<2 {
                let delay =
                    random.chance(0.02) ? Int64(random.below(50)) * Self.millisecond : Int64(random.below(900_000))
                onDiskAt = max(
                    onDiskAt, keepers[index].journals[journal].append(state, now: now, taking: delay))
            }
            keepers[index].allOnDiskAt = max(keepers[index].allOnDiskAt, onDiskAt)
            leavesAt = keepers[index].allOnDiskAt
            heap.push(.onDisk(keeper: index, run: keepers[index].run, state), at: leavesAt)
        }
        if envelope.hasBlocks, step.response?.verdict == .yes, case .accept(let record, _) = envelope.request.body,
            keepers[index].blocks.insert(record.contents).inserted
        {
            keepers[index].blocksOnTheirWay.removeAll { $0.until <= now }
            keepers[index].blocksOnTheirWay.append((record.contents, leavesAt))
        }
        if options.mutant == .answerBeforeDisk { leavesAt = now }
        if let response = step.response {
            heap.push(.answer(envelope, response, keeperRun: keepers[index].run), at: leavesAt)
        }
        // Crash between the disk and the answer, and between one effect and the next.
        if !isHealed, step.persist != nil, random.chance(0.004) {
            let exactly = random.chance(0.5) ? leavesAt : now + Int64(random.below(1_000_000))
            heap.push(.keeperFault(index), at: exactly)
        }
    }

    private func keeperMutants(isRestarted: Bool) -> KeeperMutants {
        switch options.mutant {
        case .rolledBackKeeperVotesOn: .ignoresEvidence
        case .strangersMayRead where isRestarted: .admitsStrangers
        case .extendsWhileJoining: .extendsMeanwhile
        default: []
        }
    }

    /// A6: a request says that the keeper acknowledged something newer than it has.
    private func isBehind(_ index: Int, _ chosen: ChosenEvidence?) -> Bool {
        guard let chosen, chosen.acknowledgedBy.contains(keepers[index].server) else { return false }
        return chosen.ballot > keepers[index].core.state.accepted?.ballot ?? .zero
    }

    mutating func onDisk(_ index: Int, _ run: Int, _ state: KeeperState) throws {
        guard keepers[index].run == run, let accepted = state.accepted else { return }
        try isOnDisk(accepted, index)
    }

    private mutating func isOnDisk(_ accepted: RootRecord, _ index: Int) throws {
        if keepers[index].blocks.contains(accepted.contents) { oracle.stored(accepted.contents, by: index) }
        try oracle.accepted(accepted, in: 1, by: index)
    }

    mutating func answer(_ envelope: Envelope, _ response: RegisterResponse, _ run: Int) {
        let index = envelope.keeper
        guard keepers[index].run == run else { return }
        keepers[index].shownPromise = max(keepers[index].shownPromise, response.highest)
        if case .accepted(let ballot, _) = response.verdict {
            keepers[index].shownAccepted = max(keepers[index].shownAccepted, ballot)
        }
        if case .accept(let record, _) = envelope.request.body, response.verdict == .yes {
            keepers[index].shownAccepted = max(keepers[index].shownAccepted, record.ballot)
        }
        transmit(envelope, response)
    }

    mutating func keeperFault(_ index: Int) {
        guard !isHealed, keepers[index].isUp else { return }
        if random.chance(0.1), rollBack(index) { return }
        let onlyRot = random.chance(0.3)
        if random.chance(0.5) { rot(index) }
        if !onlyRot {
            note(2, UInt64(index))
            keepers[index].isUp = false
            keepers[index].run += 1
            tally[.crashes] += 1
            if keepers[index].allOnDiskAt > now { tally[.torn] += 1 }
            for journal in 0..<2 { keepers[index].journals[journal].cut(now: now, tears: random.chance(0.5)) }
            keepers[index].doubtfulBlocks = keepers[index].blocksOnTheirWay.filter { $0.until > now }.map(\.contents)
            keepers[index].blocksOnTheirWay = []
            let away = random.chance(0.7) ? random.below(50) : random.below(2500)
            push(.restartKeeper(index), in: Int64(away) * Self.millisecond + 1)
        }
        push(.keeperFault(index), in: Int64(500 + random.below(5000)) * Self.millisecond)
    }

    /// How many more may lose their votes.
    private var mayLose: Int {
        keepers.count - quorum.quorum - keepers.count { $0.isAmnesiac || $0.isRolledBack }
    }

    /// Its disk is put back from an old image. Until somebody tells it what it has lost it votes as it did then: that does harm,
    /// which is for clients to notice (F1), unless all others have what it lost and nothing that its promise kept from being chosen
    /// is left anywhere; so it is here. It takes longer than a lease, which it no longer knows of.
    private mutating func rollBack(_ index: Int) -> Bool {
        let state = keepers[index].core.state
        let image = keepers[index].image
        let othersHaveAll = keepers.indices.allSatisfy { other in
            let its = keepers[other].core.state
            return other == index
                || keepers[other].isUp && keepers[other].allOnDiskAt <= now && !its.isAmnesiac
                    && its.promised >= state.promised
                    && its.accepted?.ballot ?? .zero >= state.accepted?.ballot ?? .zero
        }
        guard mayLose > 0, othersHaveAll, oracle.isDecided(below: state.promised), keepers[index].rottenJournal == nil, !state.isAmnesiac,
            keepers[index].allOnDiskAt <= now, image.accepted?.ballot != state.accepted?.ballot
        else { return false }
        note(10, UInt64(index))
        tally[.rolledBack] += 1
        keepers[index].isUp = false
        keepers[index].isRolledBack = true
        keepers[index].run += 1
        keepers[index].shownPromise = .zero
        keepers[index].shownAccepted = .zero
        for journal in 0..<2 { keepers[index].journals[journal].restart(with: image, now: now) }
        let away = 1100 * Self.millisecond + Int64(random.below(500)) * Self.millisecond
        keepers[index].awayUntil = now + away
        push(.restartKeeper(index), in: away)
        push(.keeperFault(index), in: away + Int64(500 + random.below(5000)) * Self.millisecond)
        return true
    }

    private mutating func rot(_ index: Int) {
        tally[.rot] += 1
        // A keeper whose both journals rot votes no more; the others must still be able to go on.
        if mayLose > 0, random.chance(0.1), keepers[index].rottenJournal == nil {
            if keepers[index].journals[0].rotOlder(now: now), keepers[index].journals[1].rotOlder(now: now) {
                keepers[index].isAmnesiac = true
            }
            keepers[index].rottenJournal = 0
            return
        }
        let journal = keepers[index].rottenJournal ?? random.below(2)
        keepers[index].rottenJournal = journal
        keepers[index].journals[journal].rotNewest(now: now)
    }

    mutating func restartKeeper(_ index: Int) throws {
        guard !keepers[index].isUp, keepers[index].awayUntil <= now else { return }
        let scans = keepers[index].journals.map { $0.scan() }
        let second = options.mutant == .singleJournalWithRot ? scans[0] : scans[1]
        let recovery = KeeperRecovery(scans[0], second)
        note(3, UInt64(index))
        if scans.contains(where: { $0.condition != .clean }) { tally.note(.A5) }
        // One record has the vote and the blocks.
        var found: [UInt8]?
        if case .state(let state) = recovery { found = state.accepted?.contents }
        for contents in keepers[index].doubtfulBlocks where contents != found { keepers[index].blocks.remove(contents) }
        keepers[index].doubtfulBlocks = []
        switch recovery {
        case .state(let state) where !state.isAmnesiac:
            // Invariant 12: a keeper never goes back without AMNESIAC.
            guard !keepers[index].hasNoVote else { throw Violation("keeper \(index) votes again, although it is amnesiac") }
            let accepted = state.accepted?.ballot ?? .zero
            guard state.highest >= keepers[index].shownPromise, accepted >= keepers[index].shownAccepted else {
                throw Violation("keeper \(index) came back with less than it had shown")
            }
            keepers[index].image = state
            if let record = state.accepted { try isOnDisk(record, index) }
        case .state, .amnesiac:
            guard keepers[index].isAmnesiac || keepers[index].isRolledBack else { throw Violation("keeper \(index) lost its memory for no reason") }
            keepers[index].hasNoVote = true
        case .empty:
            throw Violation("keeper \(index) forgot that it was ever initialized")
        }
        // Rot in both journals does not always show: writes may have replaced the bad records since.
        if !keepers[index].hasNoVote { keepers[index].isAmnesiac = false }
        keepers[index].rottenJournal = nil
        let local = keepers[index].clock.local(now)
        keepers[index].core = Keeper(
            server: keepers[index].server, volume: volume, recovery: recovery, verifier: SimulatedAuthority(),
            timing: timing, now: options.mutant == .restartedKeeperGrantsAtOnce ? local - timing.length : local)
        keepers[index].core.mutants = keeperMutants(isRestarted: true)
        if options.mutant != .forgetsAmnesia || !keepers[index].hasNoVote {
            for journal in 0..<2 { keepers[index].journals[journal].restart(with: keepers[index].core.state, now: now) }
        }
        keepers[index].isUp = true
        keepers[index].allOnDiskAt = now
    }
}
