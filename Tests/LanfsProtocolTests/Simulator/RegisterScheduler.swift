import TestSupport
@testable import LanfsProtocol

/// The agreement of the register alone: no clocks, no leases; any message may arrive next, or never, and servers crash.
/// Agreement must not depend on leases (they only save work), and rare interleavings come up here a thousand times
/// sooner than among messages that mostly arrive in order.
struct RegisterScheduler {
    enum Stage: CaseIterable, Sendable {
        /// The same three keepers for ever.
        case fixed
        /// Clients commit, and move the volume from any set of keepers to any other (M2).
        case moving
        /// Of two keepers one is held for lost, rightly or not, and the volume goes on from the other (M3).
        case recovering
    }

    enum Mutant: CaseIterable, Sendable {
        /// P1: the base is the longest value, not the one with the highest ballot.
        case baseBySequence
        /// P5: promises alone prove that an unknown commit failed.
        case promisesProveAbsence
        /// P5: a commit without an answer failed.
        case timeoutTakenAsFailure
        /// P1: what was accepted and not chosen is forgotten.
        case takeoverForgetsUnchosen
        /// The new keepers are told of a seal that is proposed, not chosen.
        case opensBeforeChosen
        /// Whoever sees a seal at one keeper takes it for chosen.
        case believesOneKeeper
        /// Commits go on in an epoch that is sealed.
        case sealIsNoEnd
        /// A keeper lets itself be put into an epoch that it is in already.
        case opensAgain
        /// M3: what the survivor accepted meanwhile gives way.
        case recoversBlindly
        /// B2: what others proposed is proposed again without its blocks.
        case fetchesNothing

        var stage: Stage {
            switch self {
            case .baseBySequence, .promisesProveAbsence, .timeoutTakenAsFailure, .takeoverForgetsUnchosen, .fetchesNothing: .fixed
            case .opensBeforeChosen, .believesOneKeeper, .sealIsNoEnd, .opensAgain: .moving
            case .recoversBlindly: .recovering
            }
        }
    }

    private struct Message {
        var client: Int
        var server: Int
        var request: RegisterRequest
        /// With the blocks that the vote needs.
        var hasBlocks = false
        var response: RegisterResponse?
    }

    private struct Fetch {
        var client: Int
        var record: RootRecord
        var ballot: Ballot
    }

    private struct Client {
        var proposer: Proposer<SimulatedAuthority>
        var move: KeeperMove<SimulatedAuthority>?
        var number: UInt64 = 0
        var pending: UInt64?
        var isInFlight = false
        /// M1: of the servers that its commit changes.
        var configVersion: UInt64?
        /// Values whose blocks it has.
        var blocks: Set<[UInt8]> = []
    }

    let stage: Stage
    let mutant: Mutant?
    private let servers: [ServerID]
    private let volume: VolumeID
    private var random: SplitMix64
    private var now = Duration.zero
    private var keepers: [Keeper<SimulatedAuthority>] = []
    private var onDisk: [KeeperState] = []
    private var clients: [Client] = []
    private var messages: [Message] = []
    private var fetches: [Fetch] = []
    private(set) var oracle: RegisterOracle
    private(set) var trace: UInt64 = 0
    private(set) var tally = Tally()

    private static let timing: LeaseTiming = {
        var timing = LeaseTiming()
        timing.length = .zero
        timing.trusted = .seconds(1_000_000)
        timing.renewal = .seconds(900_000)
        return timing
    }()

    init(seed: UInt64, stage: Stage, mutant: Mutant? = nil) {
        self.stage = stage
        self.mutant = mutant
        var random = SplitMix64(seed: seed)
        volume = random.id()
        let serverCount = stage == .fixed ? 3 : stage == .moving ? 3 + random.below(4) : 2 + random.below(2)
        servers = (0..<serverCount).map { _ in random.id(ServerID.self) }
        let first = Keepers(Array(servers.prefix(stage == .fixed ? 3 : stage == .moving ? random.pick([1, 1, 3]) : 2)))
        oracle = RegisterOracle(keepers: first, servers: servers)
        let clientCount = 2 + random.below(2)
        self.random = random
        let config = VolumeConfig(
            version: 1, servers: servers.map { Member(server: $0, weight: 1) }, keepers: first, replicas: 1)
        let contents = SimulatedContents(table: Array(repeating: 0, count: clientCount), writer: 255, number: 0)
        let ballot = Ballot(counter: 1, proposer: 1)
        let genesis = RootRecord(creating: volume, config: config, contents: contents.encoded, ballot: ballot)
            .signed(ballot: ballot, SimulatedAuthority())
        for server in servers {
            var state = KeeperState()
            if first.members.contains(server) {
                state.epoch = 1
                state.promised = ballot
                state.released = ballot
                state.accepted = genesis
            }
            keepers.append(keeper(server, state))
            onDisk.append(state)
        }
        for _ in 0..<clientCount { clients.append(Client(proposer: proposer(epoch: 1, first))) }
    }

    private func keeper(_ server: ServerID, _ state: KeeperState) -> Keeper<SimulatedAuthority> {
        var keeper = Keeper(
            server: server, volume: volume, recovery: state.epoch == 0 ? .empty : .state(state),
            verifier: SimulatedAuthority(), timing: Self.timing, now: now)
        if mutant == .recoversBlindly { keeper.mutants = .recoversBlindly }
        return keeper
    }

    private mutating func proposer(epoch: UInt64, _ keepers: Keepers) -> Proposer<SimulatedAuthority> {
        var proposer = Proposer(
            id: random.wide(), volume: volume, epoch: epoch, keepers: keepers, signer: SimulatedAuthority(),
            timing: Self.timing)
        switch mutant {
        case .baseBySequence: proposer.mutants = .baseBySequence
        case .promisesProveAbsence: proposer.mutants = .promisesProveAbsence
        case .takeoverForgetsUnchosen: proposer.mutants = .ignoresUnchosen
        case .sealIsNoEnd: proposer.mutants = .ignoresSeal
        case .fetchesNothing: proposer.mutants = .fetchesNothing
        default: break
        }
        return proposer
    }

    mutating func run() throws {
        for server in servers.indices { try accepted(by: server) }
        for _ in 0..<(stage == .fixed ? 150 : 400) { try turn() }
        try settle()
        try oracle.checkHistory()
    }

    /// Liveness: without faults, a client gets the lease in the newest epoch in bounded time.
    private mutating func settle() throws {
        guard mutant == nil else { return }
        for index in clients.indices where clients[index].move?.isOpening == false { clients[index].move = nil }
        for _ in 0..<6000 {
            if !fetches.isEmpty {
                try finish(fetches.removeFirst(), mayFail: false)
                continue
            }
            if !messages.isEmpty {
                try arrive(messages.remove(at: random.below(messages.count)))
                continue
            }
            let newest = clients.indices.max { clients[$0].proposer.epoch < clients[$1].proposer.epoch } ?? 0
            if clients[newest].proposer.base != nil, clients[newest].move?.isOver != false { return }
            now += .seconds(3)
            if clients[newest].move == nil, clients[newest].proposer.base == nil { try step(newest, .acquire) }
            try tick(newest)
        }
        throw Violation("nobody gets the lease although nothing fails any more")
    }

    private mutating func turn() throws {
        now += .milliseconds(1)
        trace = (trace ^ UInt64(messages.count)) &* 0x100_0000_01B3
        switch random.below(24) {
        case 0, 1: try act(random.below(clients.count))
        case 2: try tick(random.below(clients.count))
        case 3:
            let server = random.below(servers.count)
            keepers[server] = keeper(servers[server], onDisk[server])
            tally[.crashes] += 1
        case 4: try restart(random.below(clients.count))
        case 5 where !messages.isEmpty:
            messages.remove(at: random.below(messages.count))
            tally[.lost] += 1
        case 6 where !messages.isEmpty:
            messages.append(random.pick(messages))
            tally[.duplicated] += 1
        case 7 where stage == .recovering && random.chance(0.3): recover()
        case 8 where !fetches.isEmpty, 9 where !fetches.isEmpty:
            try finish(fetches.remove(at: random.below(fetches.count)), mayFail: true)
        default:
            guard !messages.isEmpty else { return try act(random.below(clients.count)) }
            try arrive(messages.remove(at: random.below(messages.count)))
        }
    }

    // MARK: Clients

    private mutating func act(_ index: Int) throws {
        let client = clients[index]
        guard client.proposer.base != nil else {
            return client.move?.isOpening == true ? () : try step(index, .acquire)
        }
        guard !client.isInFlight, client.move == nil else {
            // A move that some new keeper does not answer is given up.
            if client.move?.isOpening == false, random.chance(0.1) { clients[index].move = nil }
            if client.isInFlight, random.chance(0.05) { try step(index, .abandon) }
            return
        }
        switch random.below(10) {
        case 0, 1: try step(index, .release)
        case 2...4 where stage != .fixed:
            let count = random.pick((stage == .moving ? [1, 3, 5] : [1, 2, 2]).filter { $0 <= servers.count })
            var rest = servers
            let next = (0..<count).map { _ in rest.remove(at: random.below(rest.count)) }
            var move = move(of: client, to: Keepers(next.sorted()), epoch: client.proposer.epoch + 1)
            let effects = move.start(now: now)
            clients[index].move = move
            try carryOut(effects, index)
        default: try commit(index, sealing: nil)
        }
    }

    private func move(of client: Client, to keepers: Keepers, epoch: UInt64) -> KeeperMove<SimulatedAuthority> {
        KeeperMove(
            to: keepers, epoch: epoch, volume: volume, sender: client.proposer.id, verifier: SimulatedAuthority(),
            timing: Self.timing)
    }

    private mutating func commit(_ index: Int, sealing next: Keepers?) throws {
        guard let base = clients[index].proposer.base, !clients[index].isInFlight else { return }
        let number = clients[index].pending ?? clients[index].number + 1
        clients[index].number = number
        clients[index].pending = number
        clients[index].isInFlight = true
        tally.noteCommit(by: clients[index].proposer)
        let contents = SimulatedContents(base).committing(number, by: index)
        let config = next == nil ? membersChanged(in: base, clients[index].proposer.epoch) : nil
        clients[index].configVersion = config?.version
        // A change of servers or keepers has its blocks flushed before.
        if next == nil, config == nil {
            oracle.carries(contents.encoded)
            clients[index].blocks.insert(contents.encoded)
        }
        try step(index, .commit(RootChange(contents: contents.encoded, gcEpoch: 0, config: config, sealedNext: next)))
    }

    /// M1: a server gets more room, or less.
    private mutating func membersChanged(in base: RootRecord, _ epoch: UInt64) -> VolumeConfig? {
        guard stage == .moving, random.chance(0.2) else { return nil }
        var config = base.config(in: epoch)
        config.version += 1
        config.servers[random.below(config.servers.count)].weight = UInt16(1 + random.below(9))
        return config
    }

    /// A client's process ends and starts anew, knowing only the epoch it was in.
    private mutating func restart(_ index: Int) throws {
        guard random.chance(0.3) else { return }
        let old = clients[index].proposer
        clients[index].proposer = proposer(epoch: old.epoch, old.keepers)
        clients[index].move = nil
        clients[index].isInFlight = false
        clients[index].blocks = []
        // Nobody will tell what became of it: either outcome is right.
        clients[index].pending = nil
        tally[.crashes] += 1
    }

    private mutating func tick(_ index: Int) throws {
        now += .seconds(1)
        try step(index, .tick)
        if var move = clients[index].move {
            let effects = move.tick(now: now)
            clients[index].move = move
            try carryOut(effects, index)
        }
    }

    private mutating func carryOut(_ effects: [KeeperMoveEffect], _ index: Int) throws {
        for effect in effects {
            switch effect {
            case .send(let server, let request): send(index, server, request)
            case .ready:
                guard let keepers = clients[index].move?.keepers else { continue }
                if clients[index].proposer.base == nil { clients[index].move = nil }
                try commit(index, sealing: keepers)
            case .opened:
                guard let move = clients[index].move, clients[index].proposer.epoch < move.epoch else { continue }
                clients[index].proposer = proposer(epoch: move.epoch, move.keepers)
                clients[index].isInFlight = false
            case .complete: clients[index].move = nil
            case .refused:
                if clients[index].move?.isOpening == false { clients[index].move = nil }
            case .wake: break
            }
        }
    }

    private mutating func moved(_ index: Int, _ record: RootRecord, epoch: UInt64) throws {
        clients[index].isInFlight = false
        var epoch = epoch
        if mutant == .believesOneKeeper, record.sealedNext != nil { epoch = record.epoch + 1 }
        guard record.opens(epoch), let next = record.sealedNext else {
            clients[index].move = nil
            clients[index].proposer = proposer(epoch: epoch, record.config(in: epoch).keepers)
            return
        }
        var move = move(of: clients[index], to: next, epoch: epoch)
        let effects = move.open(record, next: nil, now: now)
        clients[index].move = move
        try carryOut(effects, index)
    }

    private mutating func step(_ index: Int, _ event: ProposerEvent) throws {
        for effect in clients[index].proposer.step(event, now: now, random: random.next()) {
            tally.note(effect, after: event, isCommitting: clients[index].isInFlight)
            switch effect {
            case .send(let server, let request):
                send(index, server, request)
                guard mutant == .opensBeforeChosen, case .accept(let record, _) = request.body,
                    let next = record.sealedNext
                else { continue }
                for keeper in next.members {
                    let body = RegisterRequest.Body.initialize(record, next: nil)
                    send(index, keeper, RegisterRequest(epoch: record.epoch + 1, sender: request.sender, body: body))
                }
            case .fetch(let record, let ballot): fetches.append(Fetch(client: index, record: record, ballot: ballot))
            case .acquired(let base):
                guard oracle.isChosen(base) else { throw Violation("a client acquired a root that is not chosen") }
                guard let number = clients[index].pending, !clients[index].isInFlight else { continue }
                let isThere = SimulatedContents(base).table[index] == number
                if isThere || random.chance(0.5) { settle(index, success: isThere) }
            case .committed(let record):
                clients[index].isInFlight = false
                if record.config.version == clients[index].configVersion { tally.note(.M1) }
                settle(index, success: true)
            case .unknown:
                clients[index].isInFlight = false
                if mutant == .timeoutTakenAsFailure { settle(index, success: false) }
            case .moved(let record, let epoch): try moved(index, record, epoch: epoch)
            case .wake, .wanted, .expired, .lost, .joining, .troubled: break
            case .tooLarge: throw Violation("not in this model: \(effect)")
            }
        }
    }

    /// From any keeper that has them.
    private mutating func finish(_ fetch: Fetch, mayFail: Bool) throws {
        let contents = fetch.record.contents
        let isThere = servers.indices.contains { oracle.hasBlocks($0, of: contents) } && !(mayFail && random.chance(0.2))
        if isThere { clients[fetch.client].blocks.insert(contents) }
        let isHere = !oracle.isCarried(contents) || clients[fetch.client].blocks.contains(contents)
        tally.note(.B2)
        try step(fetch.client, .fetched(fetch.ballot, isHere))
    }

    private mutating func settle(_ index: Int, success: Bool) {
        guard let number = clients[index].pending else { return }
        oracle.told(index, number, success: success)
        clients[index].pending = nil
    }

    // MARK: Servers

    /// A person gives a keeper up, which may be as well as ever, and have been heard of just now.
    private mutating func recover() {
        guard let newest = onDisk.max(by: { $0.epoch < $1.epoch }), let record = newest.accepted else { return }
        let members = record.config(in: newest.epoch).keepers
        // With more of them something chosen may be lost: then clients have to notice (F1).
        guard members.members.count == 2 else { return }
        // Both sides of an epoch, each held for lost by somebody, are two volumes.
        let survivor = members.members[Int(newest.epoch) % 2]
        guard let index = servers.firstIndex(of: survivor), onDisk[index].epoch == newest.epoch,
            let base = onDisk[index].accepted,
            let recovery = ForcedRecovery(from: [.init(server: survivor, record: base)], in: newest.epoch)
        else { return }
        let ballot = base.ballot.next(for: random.wide(), skipping: 1024)
        let seal = recovery.seal(contents: base.contents, ballot: ballot, SimulatedAuthority())
        let body = RegisterRequest.Body.recover(seal, next: nil)
        send(0, survivor, RegisterRequest(epoch: newest.epoch + 1, sender: ballot.proposer, body: body))
    }

    private mutating func send(_ client: Int, _ server: ServerID, _ request: RegisterRequest) {
        guard let server = servers.firstIndex(of: server) else { return }
        var hasBlocks = false
        if case .accept(let record, _) = request.body { hasBlocks = clients[client].blocks.contains(record.contents) }
        messages.append(Message(client: client, server: server, request: request, hasBlocks: hasBlocks))
    }

    private mutating func accepted(by server: Int) throws {
        let state = onDisk[server]
        if let record = state.accepted { try oracle.accepted(record, in: state.epoch, by: server) }
    }

    private mutating func arrive(_ message: Message) throws {
        if let response = message.response { return try answered(message, response) }
        if mutant == .opensAgain, case .initialize = message.request.body,
            keepers[message.server].state.epoch == message.request.epoch
        {
            keepers[message.server] = keeper(servers[message.server], KeeperState())
        }
        let before = onDisk[message.server].accepted
        let step = keepers[message.server].step(message.request, now: now)
        tally.note(message.request, step)
        if message.hasBlocks, step.response?.verdict == .yes, case .accept(let record, _) = message.request.body {
            oracle.stored(record.contents, by: message.server)
        }
        if let state = step.persist {
            onDisk[message.server] = state
            if case .recover(let seal, _) = message.request.body, let before {
                try oracle.recovered(seal, on: before)
                tally[.recoveries] += 1
            }
            try accepted(by: message.server)
        }
        var answer = message
        answer.response = step.response
        if step.response != nil { messages.append(answer) }
    }

    private mutating func answered(_ message: Message, _ response: RegisterResponse) throws {
        let (index, server) = (message.client, servers[message.server])
        // Of a process that is gone.
        guard message.request.sender == clients[index].proposer.id || clients[index].move?.isOpening == true else { return }
        switch message.request.body {
        case .read, .initialize:
            guard var move = clients[index].move, message.request.epoch == move.epoch else { return }
            let effects = move.answered(server, message.request, response)
            clients[index].move = move
            try carryOut(effects, index)
        default:
            guard message.request.sender == clients[index].proposer.id else { return }
            try step(index, .answered(server, message.request, sentAt: now, response))
        }
    }
}
