@testable import LanfsProtocol

/// The shell around a proposer and its fast reads: a client process that commits, reads, stalls and dies.
struct SimulatedClient {
    var index: Int
    var clock: SimulatedClock
    var proposer: Proposer<SimulatedAuthority>
    var run = 0
    var isUp = true
    var pausedUntil: Int64 = 0
    var wakeGeneration = 0

    /// The last number used; a commit keeps its number until its outcome is known (P5).
    var number: UInt64 = 0
    var pending: UInt64?
    var isInFlight = false
    var wantsLease = false
    var isWanted = false
    /// Others wait to join until all that was closed is committed (L4).
    var isJoined = false
    /// What was closed is still on its way to the servers, and cannot be committed yet (B2).
    var uploadsUntil: Int64 = 0

    /// When files were closed whose contents are in no commit yet, and in the one that is under way.
    var closed: [Int64] = []
    var closedInFlight: [Int64] = []
    /// Does not read for a while: the keepers forget it, and a holder may find itself alone.
    var quietUntil: Int64 = 0

    var read: FastRead<SimulatedAuthority>?
    var readCount = 0
    var readFloor: UInt64 = 0
    var readSince: Int64 = 0
    var readGeneration = 0
    var known: RootRecord?
    /// Values whose blocks it has.
    var blocks: Set<[UInt8]> = []
    var session = SessionTickets()

    /// After healing: one commit and one read each, and the client is done.
    var lastCommit: UInt64?
    var lastRead: RootRecord?

    func holdsLease(_ now: Int64) -> Bool { isUp && proposer.holdsLease(clock.local(now)) }

    /// L6: what was acknowledged and not committed when the lease ended others may have missed.
    mutating func forgetClosed() {
        closed = []
        closedInFlight = []
    }
}

private enum Resolution {
    case nothingToResolve, succeeded, failed, toRetry
}

extension RegisterWorld {
    mutating func addClient(_ index: Int) {
        let clock = SimulatedClock(&random)
        clients.append(SimulatedClient(index: index, clock: clock, proposer: newProposer()))
        clients[index].quietUntil = Int64(random.below(4000)) * Self.millisecond
        push(.act(client: index), in: Int64(random.below(100)) * Self.millisecond)
        push(.clientFault(index), in: Int64(500 + random.below(4000)) * Self.millisecond)
    }

    private mutating func newProposer() -> Proposer<SimulatedAuthority> {
        var proposer = Proposer(
            id: random.wide(), volume: volume, epoch: 1, keepers: quorum, signer: SimulatedAuthority(), timing: timing)
        if options.mutant == .everyYesCounts { proposer.mutants = .countsEveryYes }
        if options.mutant == .fetchesNothing { proposer.mutants = .fetchesNothing }
        if options.mutant == .believesOldWord { proposer.mutants = .believesOldWord }
        if options.mutant == .extendsWhileJoining || options.mutant == .countsSigns { proposer.mutants = .countsSigns }
        return proposer
    }

    mutating func startClient(_ index: Int) {
        guard !clients[index].isUp else { return }
        clients[index].session = SessionTickets()
        clients[index].proposer = newProposer()
        clients[index].isUp = true
    }

    mutating func clientFault(_ index: Int) {
        guard !isHealed else { return }
        note(4, UInt64(index))
        if random.chance(0.4) {
            tally[.crashes] += 1
            clients[index].isUp = false
            clients[index].run += 1
            // What it had not been told by now, nobody will tell: either outcome is right.
            clients[index].pending = nil
            clients[index].isInFlight = false
            clients[index].wantsLease = false
            clients[index].isWanted = false
            clients[index].isJoined = false
            clients[index].forgetClosed()
            clients[index].read = nil
            clients[index].blocks = []
            push(.restartClient(index), in: Int64(random.below(1500)) * Self.millisecond + 1)
        } else {
            tally[.pauses] += 1
            clients[index].pausedUntil = now + Int64(random.below(2500)) * Self.millisecond
        }
        push(.clientFault(index), in: Int64(800 + random.below(6000)) * Self.millisecond)
    }

    // MARK: What clients do

    mutating func act(_ index: Int) throws {
        push(.act(client: index), in: Int64(10 + random.below(isHealed ? 60 : 160)) * Self.millisecond)
        guard clients[index].isUp, clients[index].pausedUntil <= now else { return }
        if clients[index].isJoined, clients[index].uploadsUntil <= now { try admit(index) }
        if isHealed { return try finish(index) }
        let holds = clients[index].holdsLease(now)
        if clients[index].read == nil, clients[index].quietUntil <= now, random.chance(0.3) { try startRead(index) }
        if holds { close(index) }
        guard !clients[index].isInFlight else {
            // As a client whose servers refuse a block of it.
            if random.chance(0.02) { try step(index, .abandon) }
            return
        }
        if holds {
            guard clients[index].uploadsUntil <= now else { return }
            if random.chance(0.8) { try commit(index) } else if random.chance(0.3) { try release(index) }
        } else if clients[index].pending != nil || random.chance(0.25) {
            try acquire(index)
        } else if clients[index].wantsLease, random.chance(0.1) {
            try release(index)
        }
    }

    /// After healing.
    private mutating func finish(_ index: Int) throws {
        let holds = clients[index].holdsLease(now)
        if clients[index].isInFlight { return }
        if clients[index].lastCommit == nil || clients[index].pending != nil {
            if holds { try commit(index) } else { try acquire(index) }
        } else if holds || clients[index].wantsLease {
            try release(index)
        } else if clients.allSatisfy({ $0.lastCommit != nil && $0.pending == nil }), clients[index].read == nil {
            if clients[index].lastRead == nil { try startRead(index) }
        }
        guard clients.allSatisfy({ $0.lastRead != nil }) else { return }
        // A round may have completed what a client that died left half done: then read once more.
        isOver = true
        for client in clients.indices {
            guard let newest = oracle.newest, clients[client].lastRead?.sameValue(as: newest) == true else {
                clients[client].lastRead = nil
                isOver = false
                continue
            }
        }
    }

    /// Solo, close() does not wait: the work is committed within a second. Else it is the commit that somebody waits for.
    private mutating func close(_ index: Int) {
        let isSolo =
            options.mutant == .closeNeverWaits || clients[index].proposer.isSolo(clients[index].clock.local(now))
        guard isSolo, random.chance(0.6) else { return }
        tally[.closes] += 1
        clients[index].closed.append(now)
        if random.chance(0.1) { clients[index].uploadsUntil = now + Int64(random.below(2500)) * Self.millisecond }
    }

    /// L4: acknowledges those who join, once all that was closed is committed.
    private mutating func admit(_ index: Int) throws {
        guard clients[index].isJoined, !clients[index].isInFlight else { return }
        if !clients[index].holdsLease(now) { clients[index].forgetClosed() }
        let isCommitted = clients[index].closed.isEmpty && clients[index].closedInFlight.isEmpty
        guard isCommitted || options.mutant == .admitsBeforeCommit else {
            return clients[index].uploadsUntil <= now ? try commit(index) : ()
        }
        clients[index].isJoined = false
        tally[.joins] += 1
        try step(index, .admit)
    }

    private mutating func acquire(_ index: Int) throws {
        clients[index].wantsLease = true
        try step(index, .acquire)
    }

    private mutating func release(_ index: Int) throws {
        // L2: all that is acknowledged is committed first.
        if !clients[index].closed.isEmpty || !clients[index].closedInFlight.isEmpty, clients[index].holdsLease(now) {
            clients[index].isWanted = true
            return clients[index].isInFlight || clients[index].uploadsUntil > now ? () : try commit(index)
        }
        clients[index].wantsLease = false
        clients[index].isWanted = false
        clients[index].isJoined = false
        try step(index, .release)
    }

    private mutating func commit(_ index: Int) throws {
        guard let base = clients[index].proposer.base else { return }
        let number = clients[index].pending ?? clients[index].number + 1
        clients[index].number = number
        clients[index].pending = number
        clients[index].isInFlight = true
        clients[index].closedInFlight += clients[index].closed
        clients[index].closed = []
        // The moment that matters most: connections break while the commit is on its way, or its answers are.
        if !isHealed, random.chance(network.cuts) {
            if random.chance(0.5) {
                cut(client: index)
            } else {
                push(.cut(client: index), in: Int64(random.below(3_000_000)))
            }
        }
        tally.noteCommit(by: clients[index].proposer)
        let contents = SimulatedContents(base).committing(number, by: index)
        oracle.carries(contents.encoded)
        clients[index].blocks.insert(contents.encoded)
        try step(index, .commit(RootChange(contents: contents.encoded, gcEpoch: base.gcEpoch)))
    }

    // MARK: The proposer

    private mutating func step(_ index: Int, _ event: ProposerEvent) throws {
        let local = clients[index].clock.local(now)
        if !clients[index].holdsLease(now) { clients[index].forgetClosed() }
        let effects = clients[index].proposer.step(event, now: local, random: random.next())
        try checkLeases(index)
        for effect in effects {
            tally.note(effect, after: event, isCommitting: clients[index].isInFlight)
            try perform(effect, index, local)
        }
    }

    private mutating func perform(_ effect: ProposerEffect, _ index: Int, _ local: Duration) throws {
        switch effect {
        case .send(let server, let request): send(index, server, request, read: 0, local)
        case .wake(let time):
            clients[index].wakeGeneration += 1
            let generation = clients[index].wakeGeneration
            heap.push(
                .wake(client: index, run: clients[index].run, generation: generation),
                at: max(now, clients[index].clock.world(time)))
        case .fetch(let record, let ballot):
            let delay = random.chance(0.1) ? Int64(random.below(3000)) * Self.millisecond : Int64(random.below(3_000_000))
            push(.fetched(client: index, run: clients[index].run, record, ballot), in: delay)
        case .acquired(let base):
            note(5, base.sequence)
            try oracle.checkAcquired(base)
            clients[index].known = base
            if resolve(index, base) == .failed, !isHealed, random.chance(0.5) { try release(index) }
        case .committed(let record):
            note(6, record.sequence)
            guard oracle.isChosen(record) else { throw Violation("a commit was called done that is not chosen") }
            clients[index].known = record
            clients[index].isInFlight = false
            clients[index].closedInFlight = []
            settle(index, success: true)
            if clients[index].isJoined {
                try admit(index)
            } else if clients[index].isWanted {
                try release(index)
            } else if !isHealed, clients[index].uploadsUntil <= now, random.chance(0.5) {
                try commit(index)
            }
        case .unknown(let record):
            note(7, record.sequence)
            clients[index].isInFlight = false
            // Whoever has an unknown outcome comes back for it.
            if random.chance(0.5) { try acquire(index) }
        case .wanted:
            clients[index].isWanted = true
            if !clients[index].isInFlight { try release(index) }
        case .joining:
            clients[index].isJoined = true
            try admit(index)
        case .lost: clients[index].wantsLease = false
        case .expired, .troubled: break
        case .tooLarge: throw Violation("a record did not fit")
        case .moved: throw Violation("a client was sent to another epoch")
        }
    }

    /// P5: the root of a full round settles what was unknown.
    private mutating func resolve(_ index: Int, _ base: RootRecord) -> Resolution {
        guard let number = clients[index].pending, !clients[index].isInFlight else { return .nothingToResolve }
        if SimulatedContents(base).table[index] == number {
            settle(index, success: true)
            return .succeeded
        }
        guard random.chance(0.5) else { return .toRetry }
        settle(index, success: false)
        return .failed
    }

    private mutating func settle(_ index: Int, success: Bool) {
        guard let number = clients[index].pending else { return }
        oracle.told(index, number, success: success)
        clients[index].pending = nil
        if success, isHealed { clients[index].lastCommit = number }
    }

    /// From any keeper that is there and has them.
    mutating func fetched(_ index: Int, _ run: Int, _ record: RootRecord, _ ballot: Ballot) throws {
        guard clients[index].isUp, clients[index].run == run else { return }
        if clients[index].pausedUntil > now {
            return heap.push(.fetched(client: index, run: run, record, ballot), at: clients[index].pausedUntil)
        }
        let isThere = keepers.indices.contains { keepers[$0].isUp && oracle.hasBlocks($0, of: record.contents) }
        if isThere, isHealed || random.chance(0.9) { clients[index].blocks.insert(record.contents) }
        let isHere = !oracle.isCarried(record.contents) || clients[index].blocks.contains(record.contents)
        tally.note(.B2)
        try step(index, .fetched(ballot, isHere))
    }

    mutating func wake(_ index: Int, _ run: Int, _ generation: Int) throws {
        guard clients[index].isUp, clients[index].run == run, clients[index].wakeGeneration == generation else {
            return
        }
        if clients[index].pausedUntil > now {
            heap.push(.wake(client: index, run: run, generation: generation), at: clients[index].pausedUntil)
        } else {
            try step(index, .tick)
        }
    }

    // MARK: Fast reads

    private mutating func startRead(_ index: Int) throws {
        let client = clients[index]
        clients[index].readCount += 1
        clients[index].readFloor = oracle.newest?.sequence ?? 0
        clients[index].readSince = now
        var read = FastRead(
            volume: volume, epoch: 1, keepers: quorum, sender: client.proposer.id, known: client.known,
            chosen: client.proposer.evidence, session: client.session, verifier: SimulatedAuthority(), timing: timing)
        read.takesLowerOfMixed = options.mutant == .readTakesLowerOfMixed
        let local = client.clock.local(now)
        let effects = read.start(now: local)
        clients[index].read = read
        for effect in effects { try perform(effect, index, local) }
    }

    private mutating func perform(_ effect: FastReadEffect, _ index: Int, _ local: Duration) throws {
        switch effect {
        case .send(let server, let request): send(index, server, request, read: clients[index].readCount, local)
        case .wake(let time):
            clients[index].readGeneration += 1
            let generation = clients[index].readGeneration
            heap.push(
                .wakeRead(client: index, run: clients[index].run, generation: generation),
                at: max(now, clients[index].clock.world(time)))
        case .chosen(let record):
            note(8, record.sequence)
            try oracle.checkRead(record, from: clients[index].readFloor)
            try checkCloseToOpen(index, record)
            tally[.reads] += 1
            tally.note(.P4)
            clients[index].session = clients[index].read?.session ?? SessionTickets()
            if !isHealed, random.chance(0.2) {
                clients[index].quietUntil = now + Int64(random.below(5000)) * Self.millisecond
                if random.chance(0.5) { leave(index, local) }
            }
            if !clients[index].holdsLease(now) { tally.note(.L5) }
            clients[index].read = nil
            clients[index].known = record
            if isHealed, clients.allSatisfy({ $0.lastCommit != nil && $0.pending == nil }) {
                clients[index].lastRead = record
            }
        case .stuck:
            clients[index].read = nil
            try acquire(index)
        case .rejoin:
            let (floor, since) = (clients[index].readFloor, clients[index].readSince)
            clients[index].session = clients[index].read?.session ?? SessionTickets()
            try startRead(index)
            (clients[index].readFloor, clients[index].readSince) = (floor, since)
        case .moved: throw Violation("a read was sent to another epoch")
        }
    }

    /// L4: the session says that it does not read any more.
    private mutating func leave(_ index: Int, _ local: Duration) {
        tally[.leaves] += 1
        clients[index].session = SessionTickets()
        let request = RegisterRequest(epoch: 1, sender: clients[index].proposer.id, body: .leave)
        for server in quorum.members { send(index, server, request, read: 0, local) }
    }

    /// Invariant 11: what anybody who still holds the lease closed before the read began is in what it shows.
    private func checkCloseToOpen(_ reader: Int, _ record: RootRecord) throws {
        let since = clients[reader].readSince
        for (index, client) in clients.enumerated() where index != reader && client.holdsLease(now) {
            let isThere = SimulatedContents(record).table[index] == client.pending
            guard client.closed.allSatisfy({ $0 >= since }),
                isThere || client.closedInFlight.allSatisfy({ $0 >= since })
            else { throw Violation("client \(reader) opened a file and does not see what client \(index) closed before") }
        }
    }

    mutating func wakeRead(_ index: Int, _ run: Int, _ generation: Int) throws {
        guard clients[index].isUp, clients[index].run == run, clients[index].readGeneration == generation else {
            return
        }
        if clients[index].pausedUntil > now {
            heap.push(.wakeRead(client: index, run: run, generation: generation), at: clients[index].pausedUntil)
            return
        }
        let local = clients[index].clock.local(now)
        for effect in clients[index].read?.tick(now: local) ?? [] { try perform(effect, index, local) }
    }

    // MARK: Messages

    private mutating func send(
        _ index: Int, _ server: ServerID, _ request: RegisterRequest, read: Int, _ local: Duration
    ) {
        guard let keeper = quorum.members.firstIndex(of: server) else { return }
        var hasBlocks = false
        if case .accept(let record, _) = request.body { hasBlocks = clients[index].blocks.contains(record.contents) }
        transmit(
            Envelope(
                client: index, clientRun: clients[index].run, read: read, keeper: keeper, request: request,
                hasBlocks: hasBlocks, sentAt: local))
    }

    mutating func reply(_ envelope: Envelope, _ response: RegisterResponse, _ sentAt: Duration) throws {
        let index = envelope.client
        guard clients[index].isUp, clients[index].run == envelope.clientRun else { return }
        if clients[index].pausedUntil > now {
            heap.push(.reply(envelope, response, sentAt: sentAt), at: clients[index].pausedUntil)
            return
        }
        note(9, UInt64(envelope.keeper))
        let server = quorum.members[envelope.keeper]
        let local = clients[index].clock.local(now)
        if envelope.read == 0 {
            let counted = options.mutant == .leaseCountedFromReply ? local : sentAt
            try step(index, .answered(server, envelope.request, sentAt: counted, response))
        } else if envelope.read == clients[index].readCount {
            for effect in clients[index].read?.answered(server, response, now: local) ?? [] {
                try perform(effect, index, local)
            }
        }
    }
}
