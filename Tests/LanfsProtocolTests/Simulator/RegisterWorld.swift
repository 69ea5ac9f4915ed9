import TestSupport
@testable import LanfsProtocol

/// How the world of one seed behaves.
struct RegisterWorldOptions {
    enum Mutant: CaseIterable, Sendable {
        case leaseCountedFromReply, everyYesCounts, restartedKeeperGrantsAtOnce
        case singleJournalWithRot, answerBeforeDisk, rolledBackKeeperVotesOn, readTakesLowerOfMixed
        /// A5: that a keeper lost its memory is found out anew at each start, and written down nowhere.
        case forgetsAmnesia
        /// L4: a keeper that restarted takes every session for one that joined; a join is acknowledged before the commit; close()
        /// never waits; the lease goes on while somebody
        /// who came waits; or only where nobody waits; an old word makes a holder solo.
        case strangersMayRead, admitsBeforeCommit, closeNeverWaits, extendsWhileJoining, countsSigns, believesOldWord
        /// B2: what others proposed is proposed again without its blocks.
        case fetchesNothing
    }

    var seed: UInt64
    var mutant: Mutant?
    /// Fixed by the test, or drawn from the seed.
    var keepers: Int?
}

/// One exact run of the register: the cores that ship, on fake clocks, disks and network.
///
/// Split by concern: this file has the clock and the event loop, the others the network, the keepers and the clients.
struct RegisterWorld {
    /// Indirect, so that the heap moves pointers.
    indirect enum Event {
        case deliver(Envelope)
        case answer(Envelope, RegisterResponse, keeperRun: Int)
        case reply(Envelope, RegisterResponse, sentAt: Duration)
        case onDisk(keeper: Int, run: Int, KeeperState)
        case restartKeeper(Int)
        case keeperFault(Int)
        case act(client: Int)
        case wake(client: Int, run: Int, generation: Int)
        case wakeRead(client: Int, run: Int, generation: Int)
        case fetched(client: Int, run: Int, RootRecord, Ballot)
        case clientFault(Int)
        case restartClient(Int)
        case partition
        case cut(client: Int)
        case heal
        case end
    }

    /// A request on its way, and what its sender remembers of it.
    struct Envelope {
        var client: Int
        var clientRun: Int
        /// Which fast read asked; 0: the proposer.
        var read: Int
        var keeper: Int
        var request: RegisterRequest
        /// With the blocks that the vote needs.
        var hasBlocks = false
        var sentAt: Duration
    }

    static let second: Int64 = 1_000_000_000
    static let millisecond: Int64 = 1_000_000

    let options: RegisterWorldOptions
    let timing: LeaseTiming
    let volume: VolumeID
    let quorum: Keepers
    var random: SplitMix64
    var now: Int64 = 0
    var heap = EventHeap<Event>()
    var trace: UInt64 = 0xCBF2_9CE4_8422_2325
    var eventCount = 0
    var tally = Tally()
    var oracle: RegisterOracle
    var keepers: [SimulatedKeeper] = []
    var clients: [SimulatedClient] = []
    let network: SimulatedNetwork
    var isHealed = false
    var isOver = false
    var links: [Int64]

    init(_ options: RegisterWorldOptions) {
        self.options = options
        var random = SplitMix64(seed: options.seed)
        let keeperCount = options.keepers ?? random.pick([1, 1, 3, 3, 3, 5])
        let clientCount = 1 + random.below(3)
        // A tenth of the real times: more leases begin and end per message, and nothing else is different.
        var timing = LeaseTiming()
        timing.length = .seconds(1)
        timing.trusted = .milliseconds(950)
        timing.renewal = .milliseconds(330)
        timing.shortestRenewal = .milliseconds(100)
        timing.sessionMemory = .milliseconds(1500)
        self.timing = timing
        volume = random.id()
        let servers = (0..<keeperCount).map { _ in random.id(ServerID.self) }
        quorum = Keepers(servers)
        oracle = RegisterOracle(keepers: quorum)
        network = SimulatedNetwork(&random)
        links = Array(repeating: 0, count: clientCount * keeperCount)
        self.random = random

        let config = VolumeConfig(
            version: 1, servers: servers.map { Member(server: $0, weight: 1) }, keepers: quorum, replicas: 1)
        let contents = SimulatedContents(
            table: Array(repeating: 0, count: clientCount), writer: 255, number: 0)
        let genesis = RootRecord(
            creating: volume, config: config, contents: contents.encoded, ballot: Ballot(counter: 1, proposer: 1)
        ).signed(ballot: Ballot(counter: 1, proposer: 1), SimulatedAuthority())
        for index in 0..<keeperCount { addKeeper(index, servers[index], genesis) }
        for index in 0..<clientCount { addClient(index) }
        push(.partition, in: Self.second)
        push(.heal, in: (8 + Int64(self.random.below(5))) * Self.second)
    }

    mutating func push(_ event: Event, in delay: Int64) {
        heap.push(event, at: now + delay)
    }

    /// Runs to the end; throws the first violation.
    mutating func run() throws {
        while !isOver, let (time, event) = heap.pop() {
            now = time
            eventCount += 1
            guard eventCount < 400_000 else { throw Violation("the run does not end: some party never rests") }
            try handle(event)
        }
        try oracle.checkHistory()
    }

    mutating func note(_ kind: UInt64, _ detail: UInt64) {
        trace = (trace ^ UInt64(bitPattern: now) ^ kind << 56 ^ detail) &* 0x100_0000_01B3
        trace ^= trace >> 31
    }

    private mutating func handle(_ event: Event) throws {
        switch event {
        case .deliver(let envelope): try deliver(envelope)
        case .answer(let envelope, let response, let run): answer(envelope, response, run)
        case .reply(let envelope, let response, let sentAt): try reply(envelope, response, sentAt)
        case .onDisk(let keeper, let run, let state): try onDisk(keeper, run, state)
        case .restartKeeper(let keeper): try restartKeeper(keeper)
        case .keeperFault(let keeper): keeperFault(keeper)
        case .act(let client): try act(client)
        case .wake(let client, let run, let generation): try wake(client, run, generation)
        case .wakeRead(let client, let run, let generation): try wakeRead(client, run, generation)
        case .fetched(let client, let run, let record, let ballot): try fetched(client, run, record, ballot)
        case .clientFault(let client): clientFault(client)
        case .restartClient(let client): startClient(client)
        case .partition: partition()
        case .cut(let client): cut(client: client)
        case .heal: heal()
        case .end: throw Violation("after healing the clients did not converge in time")
        }
    }

    /// Invariant 16: at most one client acts under a valid lease.
    /// Looked at where a client's lease may have begun.
    func checkLeases(_ holder: Int) throws {
        guard clients[holder].holdsLease(now) else { return }
        for index in clients.indices where index != holder && clients[index].holdsLease(now) {
            throw Violation("clients \(holder) and \(index) both hold the lease")
        }
    }

    /// No more faults; everything must come to rest.
    private mutating func heal() {
        isHealed = true
        for index in links.indices { links[index] = 0 }
        for keeper in keepers.indices where !keepers[keeper].isUp {
            push(.restartKeeper(keeper), in: max(1, keepers[keeper].awayUntil - now))
        }
        for client in clients.indices {
            clients[client].pausedUntil = min(clients[client].pausedUntil, now)
            if !clients[client].isUp { push(.restartClient(client), in: 1) }
        }
        push(.end, in: 60 * Self.second)
    }
}

/// A monotonic clock that runs up to 1% fast or slow, from an origin of its own.
struct SimulatedClock {
    private let rate: Double
    private let origin: Int64

    init(_ random: inout SplitMix64) {
        rate = 1 + Double(random.below(2001) - 1000) / 100_000
        origin = Int64(random.below(1_000_000_000_000))
    }

    func local(_ time: Int64) -> Duration {
        .nanoseconds(origin + Int64(Double(time) * rate))
    }

    /// The world's time at which this clock shows `local`, rounded up.
    func world(_ local: Duration) -> Int64 {
        let (seconds, attoseconds) = local.components
        return Int64(Double(seconds * 1_000_000_000 + attoseconds / 1_000_000_000 - origin) / rate) + 1
    }
}
