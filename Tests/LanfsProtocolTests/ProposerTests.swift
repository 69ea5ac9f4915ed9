import Testing

@testable import LanfsProtocol

/// Proposers and keepers joined by a perfect network that answers at once.
private struct Exchange {
    let fixture: RegisterFixture
    var keepers: [Keeper<SimulatedAuthority>]
    var now = Duration.seconds(1000)
    var rounds = 0
    /// Keepers that neither hear nor answer.
    var silent: Set<Int> = []

    init(keepers count: Int) {
        fixture = RegisterFixture(keepers: count)
        keepers = (0..<count).map { [fixture] in fixture.keeper($0) }
    }

    /// Everything the client is told until nothing more is in flight.
    mutating func run(_ proposer: inout Proposer<SimulatedAuthority>, _ event: ProposerEvent) -> [ProposerEffect] {
        var told: [ProposerEffect] = []
        var events = [event]
        while !events.isEmpty {
            let sentAt = now
            var next: [ProposerEvent] = []
            for event in events {
                for effect in proposer.step(event, now: now, random: 1) {
                    guard case .send(let server, let request) = effect else {
                        if case .wake = effect { continue }
                        if case .fetch(_, let ballot) = effect { next.append(.fetched(ballot, true)) }
                        told.append(effect)
                        continue
                    }
                    guard let index = fixture.servers.firstIndex(of: server), !silent.contains(index),
                        let response = keepers[index].step(request, now: now).response
                    else { continue }
                    next.append(.answered(server, request, sentAt: sentAt, response))
                }
            }
            if !next.isEmpty { rounds += 1 }
            events = next
        }
        return told
    }
}

@Suite("A proposer")
struct ProposerTests {
    private let change = RootChange(contents: [1], gcEpoch: 0)

    @Test("with one keeper gets the lease in one round and commits in one round", arguments: [1, 3, 5])
    func oneRound(keepers: Int) throws {
        var exchange = Exchange(keepers: keepers)
        var proposer = exchange.fixture.proposer()
        #expect(exchange.run(&proposer, .acquire) == [.acquired(exchange.fixture.genesis)])
        #expect(exchange.rounds == 1)
        #expect(proposer.holdsLease(exchange.now))
        var parent = exchange.fixture.genesis
        for _ in 0..<5 {
            exchange.rounds = 0
            let told = exchange.run(&proposer, .commit(change))
            let record = try #require(proposer.base)
            #expect(told == [.committed(record)])
            #expect(record.previous == parent.hash(exchange.fixture.authority))
            #expect(exchange.rounds == 1, "nobody else reads: the next request tells what was chosen")
            parent = record
        }
        #expect(exchange.keepers.allSatisfy { $0.state.learned < parent.ballot } == (keepers > 1))
        exchange.now += .milliseconds(5)
        _ = exchange.run(&proposer, .tick)
        #expect(exchange.keepers.allSatisfy { $0.state.learned == parent.ballot })
    }

    @Test("trusts its lease for 0.95 L from when it asked, and renews it")
    func leaseTime() throws {
        var exchange = Exchange(keepers: 3)
        var proposer = exchange.fixture.proposer()
        let start = exchange.now
        _ = exchange.run(&proposer, .acquire)
        #expect(proposer.leaseEnd == start + .milliseconds(9500))
        exchange.now = start + .milliseconds(3300)
        #expect(exchange.run(&proposer, .tick) == [])
        #expect(proposer.leaseEnd == start + .milliseconds(12_800))
        exchange.silent = [0, 1]
        exchange.now = start + .milliseconds(12_799)
        #expect(exchange.run(&proposer, .tick) == [])
        #expect(proposer.holdsLease(exchange.now))
        exchange.now = start + .milliseconds(12_800)
        #expect(exchange.run(&proposer, .tick) == [.expired])
        #expect(!proposer.holdsLease(exchange.now))
        exchange.silent = []
        exchange.now += .seconds(5)
        #expect(exchange.run(&proposer, .tick) == [.acquired(exchange.fixture.genesis)], "nobody took over")
    }

    @Test("hands the lease over: the waiter is refused, the holder told, and a release lets the waiter in")
    func handOver() throws {
        var exchange = Exchange(keepers: 3)
        var alice = exchange.fixture.proposer()
        var bob = exchange.fixture.proposer(RegisterFixture.bob)
        _ = exchange.run(&alice, .acquire)
        #expect(exchange.run(&bob, .acquire) == [])
        #expect(exchange.run(&alice, .commit(change)).contains(.wanted))
        let root = try #require(alice.base)
        #expect(exchange.run(&alice, .release) == [])
        #expect(!alice.holdsLease(exchange.now))
        exchange.now += .milliseconds(10)
        #expect(exchange.run(&bob, .tick) == [.acquired(root)])
    }

    @Test("whose commit was outbid says so, and finds out by a full round")
    func unknownOutcome() throws {
        var exchange = Exchange(keepers: 3)
        var alice = exchange.fixture.proposer()
        var bob = exchange.fixture.proposer(RegisterFixture.bob)
        _ = exchange.run(&alice, .acquire)
        // Only one keeper hears of the commit.
        exchange.silent = [1, 2]
        #expect(exchange.run(&alice, .commit(change)) == [])
        exchange.silent = [0]
        exchange.now += .seconds(11)
        #expect(exchange.run(&bob, .acquire) == [], "its first ballot is too low")
        exchange.now += .seconds(1)
        #expect(exchange.run(&bob, .tick) == [.acquired(exchange.fixture.genesis)])
        exchange.silent = []
        let told = exchange.run(&alice, .tick)
        guard case .unknown(let record) = told.first else {
            Issue.record("told \(told)")
            return
        }
        _ = exchange.run(&bob, .release)
        // Two keepers promise and neither knows the commit, but the third does: it must be found or buried.
        exchange.silent = [0]
        let acquired = exchange.run(&alice, .acquire)
        let base = try #require(alice.base)
        #expect(acquired.count == 2 && acquired.last == .acquired(base))
        #expect(base.sameValue(as: exchange.fixture.genesis))
        // Somebody may need its blocks.
        guard case .fetch(let fetched, _) = acquired.first else {
            Issue.record("told \(acquired)")
            return
        }
        #expect(fetched.sameValue(as: base))
        #expect(base.ballot > record.ballot, "proposed again, above the unknown commit")
    }

    @Test("does not send a record that does not fit")
    func tooLarge() {
        var exchange = Exchange(keepers: 1)
        var proposer = exchange.fixture.proposer()
        _ = exchange.run(&proposer, .acquire)
        let large = RootChange(contents: Array(repeating: 0, count: 4096), gcEpoch: 0)
        #expect(exchange.run(&proposer, .commit(large)) == [.tooLarge])
        #expect(exchange.run(&proposer, .commit(change)).count == 1)
    }

    @Test("ends its epoch at a sealed root, and goes on in the next")
    func seal() throws {
        var exchange = Exchange(keepers: 1)
        let fixture = exchange.fixture
        var proposer = fixture.proposer()
        _ = exchange.run(&proposer, .acquire)
        var sealing = change
        sealing.sealedNext = Keepers(fixture.servers)
        let told = exchange.run(&proposer, .commit(sealing))
        guard told.count == 2, case .committed(let seal) = told[0] else {
            Issue.record("told \(told)")
            return
        }
        #expect(told[1] == .moved(seal, epoch: 2))
        let move = fixture.request(.initialize(seal, next: nil), epoch: 2)
        #expect(exchange.keepers[0].step(move, now: exchange.now).isYes)
        #expect(exchange.run(&proposer, .acquire) == [.moved(seal, epoch: 2)])

        var next = Proposer(
            id: RegisterFixture.bob, volume: fixture.volume, epoch: 2, keepers: Keepers(fixture.servers),
            signer: fixture.authority)
        #expect(exchange.run(&next, .acquire) == [])
        exchange.now += .seconds(1)
        #expect(exchange.run(&next, .tick) == [.acquired(seal)])
        _ = exchange.run(&next, .commit(change))
        let base = try #require(next.base)
        #expect(base.epoch == 2)
        #expect(base.config.version == 2)
        #expect(base.sealedNext == nil)
    }

    @Test("believes no keeper that shows an unsigned root")
    func liar() {
        let fixture = RegisterFixture(keepers: 1)
        var proposer = fixture.proposer()
        _ = proposer.step(.acquire, now: .zero, random: 0)
        var forged = fixture.genesis
        forged.contents = [66]
        let request = fixture.request(.prepare(ballot(1)))
        let response = RegisterResponse(
            epoch: 1, highest: ballot(1), learned: .zero, leased: true, verdict: .accepted(forged.ballot, forged))
        let told = proposer.step(
            .answered(fixture.servers[0], request, sentAt: .zero, response), now: .zero, random: 0)
        #expect(!told.contains { if case .acquired = $0 { true } else { false } })
        #expect(proposer.base == nil)
    }
}

@Suite("A fast read")
struct FastReadTests {
    private let fixture = RegisterFixture(keepers: 3)

    private func read(known: RootRecord? = nil) -> FastRead<SimulatedAuthority> {
        var read = FastRead(
            volume: fixture.volume, epoch: 1, keepers: Keepers(fixture.servers), sender: 1, known: known,
            verifier: fixture.authority)
        _ = read.start(now: .zero)
        return read
    }

    private func showing(_ record: RootRecord, learned: Bool = false, bytes: Bool = true) -> RegisterResponse {
        RegisterResponse(
            epoch: 1, highest: record.ballot, learned: learned ? record.ballot : .zero,
            verdict: .accepted(record.ballot, bytes ? record : nil))
    }

    @Test("shows what a quorum accepted under one ballot")
    func agrees() {
        let record = fixture.child(of: fixture.genesis, ballot(5))
        var read = read()
        #expect(read.answered(fixture.servers[0], showing(record), now: .zero) == [])
        #expect(read.answered(fixture.servers[0], showing(record), now: .zero) == [], "one keeper is one vote")
        #expect(read.answered(fixture.servers[2], showing(record), now: .zero) == [.chosen(record)])
        #expect(read.answered(fixture.servers[1], showing(record), now: .zero) == [])
    }

    @Test("of a known root needs no bytes")
    func knows() {
        var read = read(known: fixture.genesis)
        _ = read.answered(fixture.servers[0], showing(fixture.genesis, bytes: false), now: .zero)
        #expect(
            read.answered(fixture.servers[1], showing(fixture.genesis, bytes: false), now: .zero)
                == [.chosen(fixture.genesis)])
    }

    @Test("of mixed roots shows neither until the higher one is learned")
    func mixed() {
        let record = fixture.child(of: fixture.genesis, ballot(5))
        var read = read()
        _ = read.answered(fixture.servers[0], showing(fixture.genesis, learned: true), now: .zero)
        let waits = read.answered(fixture.servers[1], showing(record), now: .zero)
        #expect(waits == [.wake(at: .milliseconds(1))])
        var time = Duration.milliseconds(1)
        for delay in [2, 4, 8, 16, 20, 20] {
            #expect(read.tick(now: time).last == .wake(at: time + .milliseconds(delay)))
            time += .milliseconds(delay)
        }
        var gone = read
        #expect(read.answered(fixture.servers[1], showing(record, learned: true), now: time) == [.chosen(record)])
        #expect(gone.tick(now: .seconds(10)) == [.stuck], "the holder is gone")
    }

    @Test("takes no forged root, and follows a volume to its new epoch")
    func hostile() {
        var forged = fixture.genesis
        forged.contents = [66]
        var read = read()
        for server in fixture.servers {
            #expect(read.answered(server, showing(forged), now: .zero) == [])
        }
        var moved = showing(fixture.genesis)
        moved.epoch = 2
        #expect(read.answered(fixture.servers[0], moved, now: .zero) == [], "no seal ends the epoch before")
        var seal = fixture.genesis
        seal.sealedNext = Keepers(Array(fixture.servers.prefix(1)))
        seal = seal.signed(ballot: seal.ballot, fixture.authority)
        moved = showing(seal)
        moved.epoch = 2
        #expect(read.answered(fixture.servers[0], moved, now: .zero) == [.moved(seal, epoch: 2)])
    }
}

@Suite("Creating a volume")
struct VolumeCreationTests {
    private let fixture = RegisterFixture(keepers: 3)

    private func run(
        _ keepers: inout [Keeper<SimulatedAuthority>], _ record: RootRecord
    ) -> [VolumeCreationEffect] {
        var creation = VolumeCreation(creating: record, sender: 1, verifier: fixture.authority)
        var told: [VolumeCreationEffect] = []
        var effects = creation.start(now: .zero)
        while !effects.isEmpty {
            var next: [VolumeCreationEffect] = []
            for effect in effects {
                guard case .send(let server, let request) = effect else {
                    if case .wake = effect { continue }
                    told.append(effect)
                    continue
                }
                guard let index = fixture.servers.firstIndex(of: server),
                    let response = keepers[index].step(request, now: .zero).response
                else { continue }
                next += creation.answered(server, request, response, now: .zero)
            }
            effects = next
        }
        return told
    }

    @Test("tells every keeper, completes a creation that was interrupted, and leaves a volume in use alone")
    func creates() {
        var keepers = (0..<3).map { fixture.emptyKeeper($0) }
        #expect(run(&keepers, fixture.genesis) == [.created(fixture.genesis)])
        #expect(keepers.allSatisfy { $0.state.accepted == fixture.genesis })

        var other = fixture.genesis
        other.contents = [9]
        other = other.signed(ballot: ballot(3), fixture.authority)
        var half = [fixture.emptyKeeper(0), fixture.keeper(1), fixture.emptyKeeper(2)]
        #expect(run(&half, other) == [.created(fixture.genesis)])

        let record = fixture.child(of: fixture.genesis, ballot(5))
        _ = keepers[0].step(fixture.request(.accept(record, next: nil)), now: .zero)
        #expect(run(&keepers, other) == [.exists(record)])
    }

    @Test("stops at a keeper that lost its memory")
    func refuses() {
        var keepers = (0..<3).map { fixture.emptyKeeper($0) }
        keepers[1] = Keeper(
            server: fixture.servers[1], volume: fixture.volume, recovery: .amnesiac, verifier: fixture.authority,
            now: .zero)
        #expect(run(&keepers, fixture.genesis) == [.refused(fixture.servers[1], .amnesiac)])
    }
}
