import TestSupport
@testable import LanfsProtocol

/// Every order of messages, up to a depth: three keepers, a client that holds the lease and seals the epoch, another that
/// takes over and commits, and one crash of anybody at any moment. Breadth first, each state once.
///
/// Nothing is lost by leaving messages out of it that only save time: a message that is never delivered is lost.
struct Exploration {
    enum Mutant: CaseIterable, Sendable {
        /// M2: commits go on in an epoch that is sealed.
        case sealIsNoEnd
        /// M2: the new keepers are told of a seal that is proposed, not chosen.
        case opensBeforeChosen
    }

    struct Outcome {
        /// Different states, and steps between them.
        var states = 0
        var steps = 0
        var depth = 0
        var epochs = 0
        var commits = 0
        /// Nothing was left out: deeper there is nothing new.
        var isComplete = false
        var violation: String?
    }

    private struct Message: Hashable {
        var client: Int
        var keeper: Int
        var request: Key
        var response: Key?

        func precedes(_ other: Message) -> Bool {
            (client, keeper, request, response ?? -1)
                < (other.client, other.keeper, other.request, other.response ?? -1)
        }
    }

    /// A request or an answer by number: equal ones have the same.
    private typealias Key = Int

    private struct Client {
        var proposer: Proposer<SimulatedAuthority>
        var move: KeeperMove<SimulatedAuthority>?
        var script: [Act]
        var acquires = 0
        /// The keepers that have the seal, as far as it was heard.
        var opened: UInt64 = 0
        var isInFlight = false
        var isUp = true
    }

    private enum Act: Hashable {
        case commit, seal
    }

    private struct State {
        var keepers: [Keeper<SimulatedAuthority>]
        var clients: [Client]
        var messages: Set<Message> = []
        var oracle: RegisterOracle
        var hasCrashed = false
        var depth = 0
    }

    private let mutant: Mutant?
    private let servers: [ServerID]
    private let volume: VolumeID
    private let members: Keepers
    private var requests: [RegisterRequest] = []
    private var responses: [RegisterResponse] = []
    private var requestKeys: [[UInt8]: Key] = [:]
    private var responseKeys: [[UInt8]: Key] = [:]

    init(mutant: Mutant? = nil) {
        self.mutant = mutant
        var random = SplitMix64(seed: 1)
        volume = random.id()
        servers = (0..<3).map { _ in random.id(ServerID.self) }
        members = Keepers(servers)
    }

    private static let timing: LeaseTiming = {
        var timing = LeaseTiming()
        timing.length = .zero
        timing.trusted = .seconds(1_000_000)
        timing.renewal = .seconds(900_000)
        return timing
    }()

    private func proposer(_ client: Int, epoch: UInt64) -> Proposer<SimulatedAuthority> {
        var proposer = Proposer(
            id: ProposerID(client + 2) << 8 | ProposerID(epoch), volume: volume, epoch: epoch, keepers: members,
            signer: SimulatedAuthority(), timing: Self.timing)
        if mutant == .sealIsNoEnd { proposer.mutants = .ignoresSeal }
        return proposer
    }

    private func start() throws -> State {
        let config = VolumeConfig(
            version: 1, servers: servers.map { Member(server: $0, weight: 1) }, keepers: members, replicas: 1)
        let contents = SimulatedContents(table: [0, 0], writer: 255, number: 0)
        let ballot = Ballot(counter: 1, proposer: 1)
        let genesis = RootRecord(creating: volume, config: config, contents: contents.encoded, ballot: ballot)
            .signed(ballot: ballot, SimulatedAuthority())
        var keeper = KeeperState()
        keeper.epoch = 1
        keeper.promised = ballot
        keeper.released = ballot
        keeper.accepted = genesis
        var state = State(
            keepers: servers.map { self.keeper($0, keeper) },
            clients: [
                Client(proposer: proposer(0, epoch: 1), script: [.seal]),
                Client(proposer: proposer(1, epoch: 1), script: [.commit]),
            ], oracle: RegisterOracle(keepers: members))
        for index in 0..<3 { try state.oracle.accepted(genesis, in: 1, by: index) }
        return state
    }

    private func keeper(_ server: ServerID, _ state: KeeperState) -> Keeper<SimulatedAuthority> {
        Keeper(
            server: server, volume: volume, recovery: .state(state), verifier: SimulatedAuthority(), timing: Self.timing,
            now: .zero)
    }

    /// - Parameters:
    ///   - depth: messages delivered in a row, and crashes.
    ///   - limit: states at most.
    mutating func run(depth: Int, limit: Int) -> Outcome {
        var outcome = Outcome()
        do {
            var first = try start()
            try act(&first, 0)
            // The lease of the first client is had without a choice.
            while let message = first.messages.min(by: { ($0.keeper, $0.request) < ($1.keeper, $1.request) }),
                first.clients[0].proposer.base == nil
            {
                first = try delivering(message, in: first)
            }
            first.messages = first.messages.filter { message in
                if case .accept = requests[message.request].body { true } else { false }
            }
            try act(&first, 1)
            var seen: Set<[UInt64]> = [fingerprint(first)]
            var layer = [first]
            while !layer.isEmpty, outcome.depth < depth, seen.count < limit {
                outcome.depth += 1
                var next: [State] = []
                for state in layer {
                    for successor in try successors(of: state) {
                        outcome.steps += 1
                        guard seen.insert(fingerprint(successor)).inserted else { continue }
                        outcome.epochs = max(outcome.epochs, successor.oracle.epochCount)
                        outcome.commits = max(outcome.commits, successor.oracle.commitCount)
                        next.append(successor)
                    }
                    if seen.count >= limit { break }
                }
                layer = next
            }
            outcome.isComplete = layer.isEmpty
            outcome.states = seen.count
        } catch {
            outcome.violation = "\(error)"
        }
        return outcome
    }

    private mutating func successors(of state: State) throws -> [State] {
        var all: [State] = []
        for message in state.messages.sorted(by: { $0.precedes($1) }) { all.append(try delivering(message, in: state)) }
        guard !state.hasCrashed else { return all }
        for index in state.keepers.indices {
            var next = state
            next.hasCrashed = true
            // What it promised and accepted is on disk; what it was just asked, and what it answered, is not.
            next.keepers[index] = keeper(servers[index], state.keepers[index].state)
            next.messages = next.messages.filter { $0.keeper != index }
            all.append(next)
        }
        for index in state.clients.indices where state.clients[index].isUp {
            var next = state
            next.hasCrashed = true
            next.clients[index].isUp = false
            next.messages = next.messages.filter { $0.client != index || $0.response == nil }
            all.append(next)
        }
        return all
    }

    // MARK: One step

    private mutating func delivering(_ message: Message, in state: State) throws -> State {
        var next = state
        next.messages.remove(message)
        let request = requests[message.request]
        if let response = message.response {
            try answered(&next, message, request, responses[response])
        } else {
            let step = next.keepers[message.keeper].step(request, now: .zero)
            if step.persist != nil, let record = next.keepers[message.keeper].state.accepted {
                try next.oracle.accepted(record, in: next.keepers[message.keeper].state.epoch, by: message.keeper)
            }
            if let response = step.response, next.clients[message.client].isUp {
                var answer = message
                answer.response = key(response)
                next.messages.insert(answer)
            }
        }
        return next
    }

    private mutating func answered(
        _ state: inout State, _ message: Message, _ request: RegisterRequest, _ response: RegisterResponse
    ) throws {
        let index = message.client
        guard state.clients[index].isUp else { return }
        if case .initialize = request.body {
            state.clients[index].opened |= 1 << UInt64(message.keeper)
            let effects = state.clients[index].move?.answered(servers[message.keeper], request, response) ?? []
            for effect in effects {
                guard case .opened = effect, state.clients[index].proposer.epoch < request.epoch else { continue }
                state.clients[index].proposer = proposer(index, epoch: request.epoch)
                try act(&state, index)
            }
        } else if request.sender == state.clients[index].proposer.id {
            try step(&state, index, .answered(servers[message.keeper], request, sentAt: .zero, response))
        }
    }

    /// What a client does when nothing keeps it from doing it.
    private mutating func act(_ state: inout State, _ index: Int) throws {
        let client = state.clients[index]
        guard !client.isInFlight, !client.script.isEmpty else { return }
        guard let base = client.proposer.base else {
            guard client.acquires < 2 else { return }
            state.clients[index].acquires += 1
            return try step(&state, index, .acquire)
        }
        let act = state.clients[index].script.removeFirst()
        state.clients[index].isInFlight = true
        let contents = SimulatedContents(base).committing(SimulatedContents(base).table[index] + 1, by: index)
        let change = RootChange(contents: contents.encoded, gcEpoch: 0, sealedNext: act == .seal ? members : nil)
        try step(&state, index, .commit(change))
    }

    private mutating func step(
        _ state: inout State, _ index: Int, _ event: ProposerEvent, now: Duration = .zero
    ) throws {
        for effect in state.clients[index].proposer.step(event, now: now, random: 0) {
            switch effect {
            case .send(let server, let request):
                switch request.body {
                case .prepare: send(&state, index, server, request)
                case .accept(let record, _):
                    send(&state, index, server, request)
                    guard mutant == .opensBeforeChosen, record.sealedNext != nil else { continue }
                    let body = RegisterRequest.Body.initialize(record, next: nil)
                    send(&state, index, server, RegisterRequest(epoch: record.epoch + 1, sender: request.sender, body: body))
                default: break
                }
            case .acquired(let base):
                guard state.oracle.isChosen(base) else { throw Violation("a client acquired a root that is not chosen") }
                try act(&state, index)
            case .committed(let record):
                state.clients[index].isInFlight = false
                guard state.oracle.isChosen(record) else { throw Violation("a commit was called done that is not chosen") }
                state.oracle.told(index, SimulatedContents(record).number, success: true)
                try act(&state, index)
            case .unknown, .lost:
                state.clients[index].isInFlight = false
                try act(&state, index)
            case .moved(let record, let epoch):
                state.clients[index].isInFlight = false
                guard record.opens(epoch) else {
                    state.clients[index].proposer = proposer(index, epoch: epoch)
                    try act(&state, index)
                    continue
                }
                var move = KeeperMove(
                    to: members, epoch: epoch, volume: volume, sender: 9, verifier: SimulatedAuthority(), timing: Self.timing)
                for effect in move.open(record, next: nil, now: .zero) {
                    if case .send(let server, let request) = effect { send(&state, index, server, request) }
                }
                state.clients[index].move = move
            case .fetch(_, let ballot): try step(&state, index, .fetched(ballot, true), now: now)
            case .wake, .expired, .wanted, .joining, .troubled: break
            case .tooLarge: throw Violation("a record did not fit")
            }
        }
        if case .backingOff = state.clients[index].proposer.phase, state.clients[index].acquires < 2 {
            state.clients[index].acquires += 1
            try step(&state, index, .tick, now: .seconds(1))
        }
    }

    private mutating func send(_ state: inout State, _ client: Int, _ server: ServerID, _ request: RegisterRequest) {
        guard let keeper = servers.firstIndex(of: server) else { return }
        state.messages.insert(Message(client: client, keeper: keeper, request: key(request)))
    }

    // MARK: Telling states apart

    private mutating func key(_ request: RegisterRequest) -> Key {
        var writer = ByteWriter()
        request.encode(into: &writer)
        if let known = requestKeys[writer.bytes] { return known }
        requestKeys[writer.bytes] = requests.count
        requests.append(request)
        return requests.count - 1
    }

    private mutating func key(_ response: RegisterResponse) -> Key {
        var writer = ByteWriter()
        response.encode(into: &writer)
        if let known = responseKeys[writer.bytes] { return known }
        responseKeys[writer.bytes] = responses.count
        responses.append(response)
        return responses.count - 1
    }

    /// 128 bits of everything that what comes next depends on.
    private func fingerprint(_ state: State) -> [UInt64] {
        (0..<2).map { half in
            var sum = Mix(UInt64(half) + 1)
            sum.add(state.hasCrashed ? 1 : 0)
            for keeper in state.keepers {
                sum.add(keeper.state.epoch)
                sum.add(keeper.state.promised)
                sum.add(keeper.state.released)
                sum.add(keeper.state.accepted)
            }
            for client in state.clients {
                sum.add(client.isUp ? 1 : 0)
                guard client.isUp else { continue }
                sum.add(UInt64(client.script.count) << 8 | UInt64(client.acquires) << 1 | (client.isInFlight ? 1 : 0))
                sum.add(client.proposer)
                sum.add(client.opened)
            }
            // Both in any order.
            sum.add(
                state.oracle.memory.reduce(0) { total, memory in
                    var one = Mix(UInt64(half) + 5)
                    one.add(memory.record)
                    one.add(UInt64(memory.keepers))
                    return total &+ one.value
                })
            sum.add(
                state.messages.reduce(0) { total, message in
                    var one = Mix(UInt64(half) + 7)
                    one.add(UInt64(message.client) << 32 | UInt64(message.keeper))
                    one.add(UInt64(message.request))
                    one.add(UInt64(message.response.map { $0 + 1 } ?? 0))
                    return total &+ one.value
                })
            return sum.value
        }
    }
}

/// A sum of words, the same in every process.
private struct Mix {
    private(set) var value: UInt64

    init(_ seed: UInt64) { value = seed &* 0x9E37_79B9_7F4A_7C15 }

    mutating func add(_ word: UInt64) {
        value = (value ^ word) &* 0xBF58_476D_1CE4_E5B9
        value ^= value >> 29
        value = value &* 0x94D0_49BB_1331_11EB
        value ^= value >> 32
    }

    mutating func add(_ ballot: Ballot) {
        add(ballot.counter)
        add(UInt64(truncatingIfNeeded: ballot.proposer))
    }

    /// Under one ballot there is one value.
    mutating func add(_ record: RootRecord?) {
        add(record?.epoch ?? .max)
        add(record?.ballot ?? .zero)
    }

    mutating func add(_ proposer: Proposer<SimulatedAuthority>) {
        add(proposer.epoch)
        add(proposer.highest)
        add(proposer.isUnresolved ? 1 : 0)
        switch proposer.phase {
        case .idle: add(1)
        case .backingOff: add(2)
        case .preparing(let preparing):
            add(3)
            add(preparing.ballot)
            add(preparing.round)
            for promise in preparing.promises { add(promise) }
        case .fetching(let fetching):
            add(6)
            add(fetching.record)
            add(fetching.ballot)
        case .accepting(let accepting):
            add(4)
            add(accepting.record)
            add(accepting.parent)
            add(accepting.round)
        case .holding(let holding):
            add(5)
            add(holding.base)
            add(holding.next)
            add(holding.standing)
            add(holding.outbid)
            add(holding.isAnnounced ? 1 : 0)
        }
    }

    private mutating func add(_ round: Proposer<SimulatedAuthority>.Round) {
        add(round.yes)
        add(round.no)
    }

    private mutating func add(_ set: KeeperSet) {
        add((0..<3).reduce(0) { $0 | (set.contains($1) ? 1 << UInt64($1) : 0) })
    }
}
