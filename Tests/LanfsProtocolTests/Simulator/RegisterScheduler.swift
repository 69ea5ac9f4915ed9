@testable import LanfsProtocol

/// The register without time: any message may arrive next, or never, and leases keep nobody out. What is left is
/// agreement alone, under far denser interleavings than a world with clocks reaches; the lease is the world's to test.
struct RegisterScheduler {
    enum Mutant: CaseIterable, Sendable {
        case baseBySequence, timeoutTakenAsFailure, promisesProveAbsence, takeoverForgetsUnchosen
    }

    private struct Message {
        var client: Int
        var keeper: Int
        var request: RegisterRequest
        var response: RegisterResponse?
    }

    private struct Client {
        var proposer: Proposer<SimulatedAuthority>
        var number: UInt64 = 0
        var pending: UInt64?
        var isInFlight = false
        var wakeAt: Duration?
    }

    let mutant: Mutant?
    private let quorum: Keepers
    private let volume: VolumeID
    private var random: SplitMix64
    private var now = Duration.zero
    private var keepers: [Keeper<SimulatedAuthority>] = []
    private var onDisk: [KeeperState] = []
    private var clients: [Client] = []
    private var messages: [Message] = []
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

    init(seed: UInt64, mutant: Mutant? = nil) {
        self.mutant = mutant
        var random = SplitMix64(seed: seed)
        volume = random.id()
        let servers = (0..<3).map { _ in random.id(ServerID.self) }
        quorum = Keepers(servers)
        oracle = RegisterOracle(keepers: quorum)
        let clientCount = 2 + random.below(2)
        self.random = random
        let config = VolumeConfig(
            version: 1, servers: servers.map { Member(server: $0, weight: 1) }, keepers: quorum, replicas: 1)
        let contents = SimulatedContents(table: Array(repeating: 0, count: clientCount), writer: 255, number: 0)
        let ballot = Ballot(counter: 1, proposer: 1)
        let genesis = RootRecord(creating: volume, config: config, contents: contents.encoded, ballot: ballot)
            .signed(ballot: ballot, SimulatedAuthority())
        var state = KeeperState()
        state.epoch = 1
        state.promised = ballot
        state.released = ballot
        state.accepted = genesis
        for server in servers {
            keepers.append(keeper(server, state))
            onDisk.append(state)
        }
        for _ in 0..<clientCount { clients.append(Client(proposer: proposer())) }
    }

    private func keeper(_ server: ServerID, _ state: KeeperState) -> Keeper<SimulatedAuthority> {
        Keeper(
            server: server, volume: volume, recovery: .state(state), verifier: SimulatedAuthority(),
            timing: Self.timing, now: now)
    }

    private mutating func proposer() -> Proposer<SimulatedAuthority> {
        var proposer = Proposer(
            id: random.wide(), volume: volume, epoch: 1, keepers: quorum, signer: SimulatedAuthority(),
            timing: Self.timing)
        switch mutant {
        case .baseBySequence: proposer.mutants = .baseBySequence
        case .promisesProveAbsence: proposer.mutants = .promisesProveAbsence
        case .takeoverForgetsUnchosen: proposer.mutants = .ignoresUnchosen
        case .timeoutTakenAsFailure, nil: break
        }
        return proposer
    }

    mutating func run() throws {
        for keeper in keepers.indices { try accepted(by: keeper) }
        for _ in 0..<150 { try turn() }
        try oracle.checkHistory()
    }

    private mutating func turn() throws {
        now += .milliseconds(1)
        trace = (trace ^ UInt64(messages.count)) &* 0x100_0000_01B3
        switch random.below(20) {
        case 0: try act(random.below(clients.count))
        case 1: try tick(random.below(clients.count))
        case 2: restart(random.below(keepers.count))
        case 3 where !messages.isEmpty:
            messages.remove(at: random.below(messages.count))
            tally[.lost] += 1
        case 4 where !messages.isEmpty:
            messages.append(random.pick(messages))
            tally[.duplicated] += 1
        default:
            // Mostly one party at a time, so that the others fall far behind.
            guard !messages.isEmpty else { return try act(random.below(clients.count)) }
            try arrive(messages.remove(at: random.below(messages.count)))
        }
    }

    private mutating func act(_ index: Int) throws {
        guard let base = clients[index].proposer.base else { return try step(index, .acquire) }
        guard !clients[index].isInFlight else { return }
        if random.chance(0.2) { return try step(index, .release) }
        let number = clients[index].pending ?? clients[index].number + 1
        clients[index].number = number
        clients[index].pending = number
        clients[index].isInFlight = true
        let contents = SimulatedContents(base).committing(number, by: index)
        try step(index, .commit(RootChange(contents: contents.encoded, gcEpoch: 0)))
    }

    private mutating func tick(_ index: Int) throws {
        if let wakeAt = clients[index].wakeAt, wakeAt < now + .seconds(1000) { now = max(now, wakeAt) }
        try step(index, .tick)
    }

    private mutating func restart(_ index: Int) {
        tally[.crashes] += 1
        keepers[index] = keeper(keepers[index].server, onDisk[index])
    }

    private mutating func accepted(by index: Int) throws {
        if let record = onDisk[index].accepted { try oracle.accepted(record, in: record.epoch, by: index) }
    }

    private mutating func arrive(_ message: Message) throws {
        if let response = message.response {
            let server = keepers[message.keeper].server
            return try step(message.client, .answered(server, message.request, sentAt: now, response))
        }
        let step = keepers[message.keeper].step(message.request, now: now)
        if let state = step.persist {
            onDisk[message.keeper] = state
            try accepted(by: message.keeper)
        }
        var answer = message
        answer.response = step.response
        if step.response != nil { messages.append(answer) }
    }

    private mutating func step(_ index: Int, _ event: ProposerEvent) throws {
        for effect in clients[index].proposer.step(event, now: now, random: random.next()) {
            switch effect {
            case .send(let server, let request):
                guard let keeper = quorum.members.firstIndex(of: server) else { continue }
                messages.append(Message(client: index, keeper: keeper, request: request))
            case .wake(let time): clients[index].wakeAt = time
            case .acquired(let base):
                guard oracle.isChosen(base) else { throw Violation("a client acquired a root that is not chosen") }
                guard let number = clients[index].pending, !clients[index].isInFlight else { continue }
                let isThere = SimulatedContents(base).table[index] == number
                if isThere || random.chance(0.5) { settle(index, success: isThere) }
            case .committed:
                clients[index].isInFlight = false
                settle(index, success: true)
            case .unknown:
                clients[index].isInFlight = false
                if mutant == .timeoutTakenAsFailure { settle(index, success: false) }
            case .wanted, .expired, .lost, .troubled: break
            case .tooLarge, .moved: throw Violation("not in this model: \(effect)")
            }
        }
    }

    private mutating func settle(_ index: Int, success: Bool) {
        guard let number = clients[index].pending else { return }
        oracle.told(index, number, success: success)
        clients[index].pending = nil
    }
}
