import TestSupport
@testable import LanfsProtocol

/// One exact run of a volume's servers: the cores of health, repair and surplus drops, on fake clocks, disks and a fake
/// network, while a client uploads, commits and collects. Times are a fraction of the real ones.
///
/// Split by concern: this file has the clock and the event loop, the others the servers, the client, the faults and the
/// rules that are watched.
struct RepairWorld {
    /// One rule broken on purpose.
    enum Mutant: CaseIterable, Sendable {
        /// B5: every answer to a challenge counts as a proof.
        case dropsWithoutProof
        /// B5: all rounds use the same nonce.
        case reusesNonce
        /// A proof does not say whose it is.
        case proofWithoutNames
        /// B2: what is not on disk yet is proven.
        case provesUnflushed
        /// G1: who proves keeps its older tag, and so does who is asked what it holds.
        case provesWithoutTag
        /// B5: the rest goes on as if silence were enough.
        case repairsWithoutMajority
        /// B5: what was lost stays lost.
        case ignoresReturn
        /// G1: a copy's tag is lost on the way.
        case copiesWithoutTag
        /// G7: blocks in quarantine are listed and sent.
        case copiesQuarantined
        /// G5: a copy that comes after the sweep is taken in.
        case forgetsSweeps
        /// B5: those who are silent are taken for alive.
        case dropsWhileSuspect
        /// B5: the surplus goes as soon as it is one.
        case dropsAtOnce
        /// The bucket is always full.
        case ignoresRate
        /// What was deleted is to be copied for ever.
        case copiesDeleted
        /// B6: a lost server is taken off the list although blocks lack copies.
        case removesUnproven
        /// B6: what was proven for one config counts for the next.
        case removesByOldProof
    }

    /// Indirect, so that the heap moves pointers.
    indirect enum Event {
        case tick(server: Int, run: Int)
        case deliver(Envelope)
        case flushed(server: Int, run: Int, BlockID, then: Flushed)
        case restart(Int)
        case resume(Int)
        case scrub(Int)
        case act
        case acknowledged(BlockID, tag: UInt64, by: Int)
        case fault
        case flap(Int)
        case reconfigure
        case tend
        case heal
        case settle
    }

    /// What a server says once a block is on disk.
    enum Flushed {
        case copied(to: Int)
        case acknowledge(tag: UInt64)
    }

    struct Envelope {
        enum Body {
            case member(MemberMessage, bytes: Bytes?)
            case put(BlockID, tag: UInt64)
            case remove([BlockID], gcEpoch: UInt64?, cutoff: UInt64)
            case config(VolumeConfig)
        }

        /// What travels with a copy: whether it is rotten, and the tag that a perfect world would give it.
        struct Bytes {
            var isRotten: Bool
            var trueTag: UInt64
        }

        /// `nil`: the client.
        var from: Int?
        var to: Int
        var body: Body
    }

    static let second: Int64 = 1_000_000_000
    static let millisecond: Int64 = 1_000_000
    /// The real times, made shorter.
    static let grace: Int64 = 20
    static let age: Int64 = 45
    static let quarantine: Int64 = 60
    /// How long a server has to remember a sweep, by the fastest clock.
    static let remembered = quarantine * second * 98 / 100

    let seed: UInt64
    let mutant: Mutant?
    let replicas: Int
    let loss: Double
    let duplication: Double
    let stalls: Double
    /// How often the client takes a server for down that is not.
    let misjudgement: Double
    /// Milliseconds until what was written is on disk, at most.
    let flushTime: Int
    var random: SplitMix64
    var now: Int64 = 0
    var heap = EventHeap<Event>()
    var trace: UInt64 = 0xCBF2_9CE4_8422_2325
    var events = 0
    var servers: [SimulatedServer] = []
    var places: [ServerID: Int] = [:]
    var config: VolumeConfig
    /// Until when a link, in one direction, loses everything.
    var links: [Int64]
    /// When a heartbeat last came through.
    var heartbeats: [Int64]
    var client = SimulatedUploader()
    var damage = Damage()
    var counts = Tally()
    var isHealed = false
    var isOver = false
    var phase = Phase.converging
    var deadline: Int64 = 0

    init(seed: UInt64, mutant: Mutant? = nil) {
        self.seed = seed
        self.mutant = mutant
        var random = SplitMix64(seed: seed)
        let count = 3 + random.below(5)
        replicas = min(random.pick([1, 2, 2, 2, 3, 3]), count - 1)
        loss = random.pick([0, 0, 0.02, 0.1])
        duplication = random.pick([0, 0.05, 0.3])
        stalls = random.pick([0, 0.02, 0.1])
        let (usualMisjudgement, usualFlushTime) = (random.pick([0.05, 0.3]), random.pick([300, 4000]))
        // Stages on which the rarer mutants are seen sooner.
        misjudgement = mutant == .provesWithoutTag ? 0.6 : usualMisjudgement
        flushTime = mutant == .provesUnflushed ? 30_000 : usualFlushTime
        let ids = (0..<count).map { _ in random.id(ServerID.self) }
        // Sometimes one joins later.
        let founders = count > 3 && random.chance(0.3) ? Array(ids.dropLast()) : ids
        let members = founders.map { Member(server: $0, weight: UInt16(1 + random.below(3))) }
        config = VolumeConfig(
            version: 1, servers: members, keepers: Keepers([ids[0]]), replicas: UInt8(replicas))
        links = Array(repeating: 0, count: count * count)
        heartbeats = Array(repeating: .min / 2, count: count * count)
        let liar = replicas > 1 && random.chance(0.35) ? random.below(count) : nil
        self.random = random
        for index in 0..<count {
            places[ids[index]] = index
            servers.append(SimulatedServer(id: ids[index], config: config, isLiar: index == liar, &self.random))
            start(index)
            push(.scrub(index), in: Int64(10 + self.random.below(30)) * Self.second)
        }
        push(.act, in: Self.second)
        push(.tend, in: Self.second)
        push(.fault, in: 8 * Self.second)
        if self.random.chance(0.3) { push(.flap(self.random.below(count)), in: 10 * Self.second) }
        if self.random.chance(0.5) { push(.reconfigure, in: Int64(30 + self.random.below(60)) * Self.second) }
        push(.heal, in: Int64(120 + self.random.below(60)) * Self.second)
    }

    mutating func push(_ event: Event, in delay: Int64) {
        heap.push(event, at: now + delay)
    }

    /// Runs to the end; throws the first violation.
    mutating func run() throws {
        while !isOver, let (time, event) = heap.pop() {
            now = time
            events += 1
            guard events < 1_000_000 else { throw Violation("the run does not end: some party never rests") }
            try handle(event)
        }
    }

    mutating func note(_ kind: UInt64, _ detail: UInt64) {
        trace = (trace ^ UInt64(bitPattern: now) ^ kind << 56 ^ detail) &* 0x100_0000_01B3
        trace ^= trace >> 31
    }

    private mutating func handle(_ event: Event) throws {
        switch event {
        case .tick(let server, let run):
            guard servers[server].run == run, servers[server].isUp else { return }
            if servers[server].isPaused { servers[server].inbox.append(event) } else { try tick(server) }
        case .deliver(let envelope):
            if servers[envelope.to].isPaused { servers[envelope.to].inbox.append(event) } else { try deliver(envelope) }
        case .flushed(let server, let run, let block, let then):
            guard servers[server].run == run, servers[server].isUp else { return }
            flushed(server, block, then)
        case .restart(let server): restart(server)
        case .resume(let server): resume(server)
        case .scrub(let server): try scrub(server)
        case .act: try act()
        case .acknowledged(let block, let tag, let server): acknowledged(block, tag, server)
        case .fault: try fault()
        case .flap(let server): flap(server)
        case .reconfigure: reconfigure()
        case .tend: try tend()
        case .heal: try heal()
        case .settle: try settle()
        }
    }

    // MARK: Network

    func link(_ from: Int, _ to: Int) -> Int { from * servers.count + to }

    mutating func send(_ envelope: Envelope) {
        if let from = envelope.from, links[link(from, envelope.to)] > now {
            counts[.cut] += 1
            return
        }
        if !isHealed, random.chance(loss) {
            counts[.lost] += 1
            return
        }
        push(.deliver(envelope), in: delay())
        if !isHealed, random.chance(duplication) {
            counts[.duplicated] += 1
            push(.deliver(envelope), in: delay() * 3)
        }
    }

    mutating func send(_ message: MemberMessage, from: Int, to: Int, bytes: Envelope.Bytes? = nil) {
        send(Envelope(from: from, to: to, body: .member(message, bytes: bytes)))
    }

    /// Independent for each message: they overtake each other.
    mutating func delay() -> Int64 {
        let usual = Int64(1 + random.below(50)) * Self.millisecond
        guard !isHealed, random.chance(stalls) else { return usual }
        counts[.stalled] += 1
        return usual + Int64(random.below(4000)) * Self.millisecond
    }
}
