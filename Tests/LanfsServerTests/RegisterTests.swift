import LanfsCrypto
import LanfsStore
import Synchronization
import TestSupport
import Testing

@testable import LanfsProtocol
@testable import LanfsServer

@Suite("The register on a server") struct RegisterTests {
    @Test("acquire, commit, restart, acquire again: nothing chosen is forgotten")
    func restart() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let first = try await startServer(in: folder)
        let client = try await TestClient.open(first, key: key)
        guard case .register(let made) = try await RegisterDriver.create(client, keeper: first.identity) else {
            throw Unexpected()
        }
        #expect(made.verdict == .yes)
        let driver = RegisterDriver(client, keeper: first.identity)
        #expect(try await driver.acquire().sequence == 0)
        for number in 1...5 {
            let record = try await driver.commit([UInt8(number)])
            #expect(record.sequence == UInt64(number))
        }
        try await driver.release()
        await first.stop()

        let second = try await startServer(in: folder)
        let again = RegisterDriver(try await TestClient.open(second, key: key), keeper: second.identity)
        let root = try await again.acquire()
        #expect(root.sequence == 5)
        #expect(root.contents == [5])
        #expect(try await again.commit([6]).sequence == 6)
        await second.stop()
    }

    @Test("a commit brings its own small blocks: with the vote they are there, also after a restart")
    func carries() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let first = try await startServer(in: folder)
        let client = try await TestClient.open(first, key: key)
        _ = try await RegisterDriver.create(client, keeper: first.identity)
        let driver = RegisterDriver(client, keeper: first.identity)
        _ = try await driver.acquire()
        var random = SplitMix64(seed: 1)
        var blocks: [TestBlock] = []
        // More than the journals hold, so that they are written over.
        for number in 1...200 {
            driver.carried = [TestBlock(20_000, &random), TestBlock(300, &random)]
            blocks += driver.carried
            #expect(try await driver.commit([UInt8(number)]).sequence == UInt64(number))
        }
        for block in blocks { #expect(try await client.get(block.id) == block.array) }
        await first.stop()

        let second = try await startServer(in: folder)
        let again = try await TestClient.open(second, key: key)
        for block in blocks { #expect(try await again.get(block.id) == block.array) }
        #expect(try await RegisterDriver(again, keeper: second.identity).acquire().sequence == 200)
        await second.stop()
    }

    @Test("a carried block that was there before, and freed, is alive again on disk with the vote, not only in memory")
    func carriesWhatWasThere() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server, key: key)
        _ = try await RegisterDriver.create(client, keeper: server.identity)
        let driver = RegisterDriver(client, keeper: server.identity)
        _ = try await driver.acquire()
        var random = SplitMix64(seed: 1)
        let block = TestBlock(5000, &random)
        #expect(try await client.put(block) == .done)
        #expect(try await client.ask(.free(blocks: [block.id], gcEpoch: 0)) == .done)
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        #expect(try await client.status().blocks == 0)
        driver.carried = [block]
        #expect(try await driver.commit([1]).sequence == 1)
        let left = try folder.copy()
        await server.stop()

        let again = try await startServer(in: left)
        let reader = try await TestClient.open(again, key: key)
        #expect(try await reader.status().blocks == 1)
        #expect(try await RegisterDriver(reader, keeper: again.identity).acquire().sequence == 1)
        await again.stop()
    }

    @Test("a commit whose blocks are wrong or missing gets no vote")
    func carriesWrongly() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        _ = try await RegisterDriver.create(client, keeper: server.identity)
        let driver = RegisterDriver(client, keeper: server.identity)
        let base = try await driver.acquire()
        guard
            case .send(_, let accept)? = driver.proposer.step(
                .commit(RootChange(contents: [9], gcEpoch: 0)), now: .seconds(1), random: 0
            ).first(where: { if case .send = $0 { true } else { false } })
        else { throw Unexpected() }
        var random = SplitMix64(seed: 1)
        let (good, other) = (TestBlock(5000, &random), TestBlock(5000, &random))
        #expect(try await client.commit([], carrying: [good], accept, as: [other.id]).reason == .wrongHash)
        #expect(try await client.commit([other.id], carrying: [good], accept) == .missing([other.id]))
        let read = RegisterRequest(epoch: 1, sender: 9, body: .read(known: nil))
        guard case .register(let before) = try await client.ask(.register(read)) else { throw Unexpected() }
        #expect(before.verdict == .accepted(base.ballot, base))
        // The same, with everything there; and again, as after an answer that was lost.
        for _ in 0..<2 {
            guard case .register(let response) = try await client.commit([], carrying: [good, other], accept) else {
                throw Unexpected()
            }
            #expect(response.verdict == .yes)
        }
        await server.stop()
    }

    @Test("a record that is not signed gets no vote although it was written down already, and a restart finds the one before")
    func unsigned() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server, key: key)
        _ = try await RegisterDriver.create(client, keeper: server.identity)
        let driver = RegisterDriver(client, keeper: server.identity)
        _ = try await driver.acquire()
        let chosen = try await driver.commit([1])
        var random = SplitMix64(seed: 1)
        let block = TestBlock(5000, &random)
        let forged = forgery(on: chosen)
        let request = RegisterRequest(epoch: 1, sender: 9, body: .accept(forged, next: nil))
        for carrying in [[], [block]] {
            guard case .register(let response) = try await client.commit([], carrying: carrying, request) else {
                throw Unexpected()
            }
            #expect(response.verdict == .refused(.invalid(.badSignature)))
            let read = RegisterRequest(epoch: 1, sender: 9, body: .read(known: nil))
            guard case .register(let found) = try await client.ask(.register(read)) else { throw Unexpected() }
            #expect(found.verdict == .accepted(chosen.ballot, chosen))
        }
        driver.carried = [block]
        #expect(try await driver.commit([2]).sequence == chosen.sequence + 1)
        try await driver.release()
        await server.stop()

        // As if the power had failed between writing it down and looking at it.
        var state = KeeperState()
        state.epoch = 1
        state.accepted = forged
        try write(state, in: folder, key.id)
        try await withKnownServer(in: folder) { server in
            let again = RegisterDriver(try await TestClient.open(server, key: key), keeper: server.identity)
            #expect(try await again.acquire().contents == [2])
            #expect(try await again.commit([3]).sequence == chosen.sequence + 2)
        }
    }

    private func forgery(on base: RootRecord) -> RootRecord {
        let ballot = Ballot(counter: 900, proposer: 9)
        return base.child(
            RootChange(contents: [66], gcEpoch: 0), epoch: 1, ballot: ballot,
            signer: KeySigner(key: VolumeKey.generate().signingKey))
    }

    private func write(_ state: KeeperState, in folder: TemporaryFolder, _ volume: VolumeID) throws {
        let directory = try StoreDirectory(folder.path, hash: blockHash)
        try directory.journal(for: volume).append(state.encoded)
        try directory.close()
    }

    private func withKnownServer(in folder: TemporaryFolder, _ body: (Server) async throws -> Void) async throws {
        let server = try await startServer(in: folder)
        try await body(server)
        await server.stop()
    }

    @Test("a commit whose blocks find no room gets no vote, and the root of before stays")
    func carriesTooMuch() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder) {
            $0.allow = [ServerConfiguration.Allowance(volume: key.id, quota: 1 << 20)]
        }
        let client = try await TestClient.open(server, key: key)
        _ = try await RegisterDriver.create(client, keeper: server.identity)
        let driver = RegisterDriver(client, keeper: server.identity)
        let base = try await driver.acquire()
        var random = SplitMix64(seed: 1)
        var refused: RegisterRequest?
        for number in 1...40 as ClosedRange<UInt8> where refused == nil {
            guard
                case .send(_, let accept)? = driver.proposer.step(
                    .commit(RootChange(contents: [number], gcEpoch: 0)), now: .seconds(1), random: 0
                ).first(where: { if case .send = $0 { true } else { false } })
            else { throw Unexpected() }
            switch try await client.commit([], carrying: [TestBlock(60_000, &random)], accept) {
            case .register(let response):
                #expect(response.verdict == .yes)
                _ = driver.proposer.step(
                    .answered(server.identity, accept, sentAt: .seconds(1), response), now: .seconds(1), random: 0)
            case .refused(let refusal):
                #expect(refusal.reason == .full)
                refused = accept
            default: throw Unexpected()
            }
        }
        let accept = try #require(refused)
        let read = RegisterRequest(epoch: 1, sender: 9, body: .read(known: nil))
        guard case .register(let found) = try await client.ask(.register(read)),
            case .accepted(_, let record?) = found.verdict
        else { throw Unexpected() }
        #expect(record.sequence > base.sequence && record.contents == [UInt8(record.sequence)])
        // Without blocks there is room for it.
        guard case .register(let response) = try await client.commit([], carrying: [], accept) else {
            throw Unexpected()
        }
        #expect(response.verdict == .yes)
        await server.stop()
    }

    @Test("who watches hears of a commit at once")
    func watch() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder)
        let writer = try await TestClient.open(server, key: key)
        let reader = try await TestClient.open(server, key: key)
        _ = try await RegisterDriver.create(writer, keeper: server.identity)
        let driver = RegisterDriver(writer, keeper: server.identity)
        let base = try await driver.acquire()
        let watches = (0..<3).map { number in
            reader.send(
                .register(
                    RegisterRequest(
                        epoch: 1, sender: 1000 + UInt128(number),
                        body: .watch(known: base.ballot, knowsWanted: false))))
        }
        // Its answers stay away while there is no news.
        #expect(try await reader.ask(.flush(expecting: [])) == .missing([]))
        let committed = try await driver.commit([9])
        let start = ContinuousClock.now
        for watch in watches {
            guard case .register(let response) = try await watch.response() else { throw Unexpected() }
            #expect(response.verdict == .accepted(committed.ballot, committed))
        }
        #expect(ContinuousClock.now - start < .seconds(2))
        await server.stop()
    }

    @Test("a stop does not wait for those who watch")
    func stopWhileWatching() async throws {
        let folder = try TemporaryFolder()
        let server = try await startServer(in: folder)
        let client = try await TestClient.open(server)
        _ = try await RegisterDriver.create(client, keeper: server.identity)
        let base = try await RegisterDriver(client, keeper: server.identity).acquire()
        let watch = client.send(
            .register(RegisterRequest(epoch: 1, sender: 5, body: .watch(known: base.ballot, knowsWanted: false))))
        #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        let start = ContinuousClock.now
        await server.stop()
        #expect(ContinuousClock.now - start < .seconds(2))
        #expect(try await watch.response().reason == .closing)
    }

    @Test("a client that waits for the lease gets it when it is released")
    func handOver() async throws {
        let folder = try TemporaryFolder()
        let key = VolumeKey.generate()
        let server = try await startServer(in: folder)
        let one = try await TestClient.open(server, key: key)
        _ = try await RegisterDriver.create(one, keeper: server.identity)
        let first = RegisterDriver(one, keeper: server.identity)
        _ = try await first.acquire()
        let committed = try await first.commit([1])
        let second = RegisterDriver(try await TestClient.open(server, key: key), keeper: server.identity)
        try await first.release()
        #expect(try await second.acquire() == committed)
        await server.stop()
    }
}

/// The desk alone, with a clock of the test's own.
@Suite("The register's desk") struct RegisterDeskTests {
    private let key = VolumeKey.generate()
    private let server = ServerID(word0: 1, word1: 2, word2: 3, word3: 4)
    private final class Answers: Sendable {
        let list = Mutex<[Response]>([])
    }

    private func desk() -> RegisterDesk {
        let signatures = DeferredSignatures()
        return RegisterDesk(
            Keeper(server: server, volume: key.id, recovery: .empty, verifier: signatures, now: .zero),
            signatures: signatures)
    }

    private func call(_ body: RegisterRequest.Body, session: AnyObject) -> RegisterCall {
        RegisterCall(
            request: RegisterRequest(epoch: 1, sender: 7, body: body), session: ObjectIdentifier(session)
        ) { _ in }
    }

    private func record(_ counter: UInt64) -> RootRecord {
        let config = VolumeConfig(
            version: 1, servers: [Member(server: server, weight: 1)], keepers: Keepers([server]), replicas: 1)
        let ballot = Ballot(counter: counter, proposer: 7)
        return RootRecord(creating: key.id, config: config, contents: [], ballot: ballot)
            .signed(ballot: ballot, KeySigner(key: key.signingKey))
    }

    @Test("what tells of a state leaves only after it; what came before leaves at once")
    func holdsBack() {
        var desk = desk()
        let session = Answers()
        let outcome = desk.take(
            [
                call(.read(known: nil), session: session), call(.initialize(record(1), next: nil), session: session),
                call(.read(known: nil), session: session),
            ], now: .seconds(1))
        #expect(outcome.ready.count == 1)
        #expect(outcome.held.count == 2)
        #expect(outcome.persist?.accepted == record(1))
    }

    @Test("blocks that came with a question that changes nothing go to disk before its answer")
    func holdsBackForBlocks() {
        var desk = desk()
        let session = Answers()
        let outcome = desk.take([call(.initialize(record(1), next: nil), session: session)], now: .seconds(1))
        #expect(outcome.held.count == 1)
        var repeated = call(.accept(record(1), next: nil), session: session)
        #expect(desk.take([repeated], now: .seconds(1)).persist == nil)
        repeated.carried = [CarriedBlock(id: BlockID(word0: 1, word1: 2, word2: 3, word3: 4), gcEpoch: 1, bytes: [1])]
        let again = desk.take([repeated], now: .seconds(1))
        #expect(again.persist?.accepted == record(1) && again.held.count == 1 && again.ready.isEmpty)
    }

    @Test("checking signatures later, and taking back, comes to the same as checking at once", arguments: 1...40 as ClosedRange<UInt64>)
    func takesBack(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var (late, early) = (desk(), desk())
        let session = Answers()
        let signers = [KeySigner(key: key.signingKey), KeySigner(key: VolumeKey.generate().signingKey)]
        var newest = record(1)
        var asked: UInt128 = 0
        var tookBack = 0
        var states = (KeeperState(), KeeperState())
        var answers: ([UInt128: Response], [UInt128: Response]) = ([:], [:])
        for round in 0..<60 {
            var calls: [RegisterCall] = []
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                let ballot = Ballot(
                    counter: newest.ballot.counter + .random(in: 0...3, using: &random), proposer: .random(in: 7...8, using: &random))
                let body: RegisterRequest.Body =
                    switch Int.random(in: 0..<9, using: &random) {
                    case 0: .initialize(record(1), next: nil)
                    case 1: .read(known: nil)
                    case 2: .watch(known: newest.ballot, knowsWanted: false)
                    case 3: .prepare(ballot)
                    case 4: .renew(newest.ballot)
                    case 5: .release(newest.ballot)
                    default:
                        .accept(
                            newest.child(
                                RootChange(contents: [UInt8(round)], gcEpoch: 0), epoch: 1, ballot: ballot,
                                signer: signers[Int.random(in: 0..<4, using: &random) / 3]), next: nil)
                    }
                asked += 1
                var call = call(body, session: session)
                call.request.sender = asked
                if round == 0 { call.request.body = .initialize(record(1), next: nil) }
                calls.append(call)
            }
            let now = Duration.seconds(3 * round)
            var outcome = late.takeUnchecked(calls, now: now)
            if !outcome.claims.allSatisfy(\.isTrue) {
                tookBack += 1
                #expect(outcome.ready.isEmpty)
                outcome = late.take(late.takeBack(outcome), now: now)
                #expect(outcome.persist != nil)
            }
            if let state = outcome.persist {
                late.persisted(state, true)
                states.0 = state
            }
            let expected = early.take(calls, now: now)
            if let state = expected.persist {
                early.persisted(state, true)
                states.1 = state
            }
            for reply in outcome.ready + outcome.held { answers.0[reply.call.request.sender] = reply.response }
            for reply in expected.ready + expected.held { answers.1[reply.call.request.sender] = reply.response }
            #expect(states.0 == states.1, "seed \(seed) round \(round)")
            newest = states.1.accepted ?? newest
        }
        #expect(answers.0 == answers.1)
        #expect(tookBack > 0)
    }

    @Test("a watch that came with a record that is not signed hears what it would have heard without it")
    func watchBehindForgery() {
        let session = Answers()
        let servers = [server] + (5...6 as ClosedRange<UInt64>).map { ServerID(word0: $0, word1: 2, word2: 3, word3: 4) }
        let config = VolumeConfig(
            version: 1, servers: servers.map { Member(server: $0, weight: 1) }, keepers: Keepers(servers), replicas: 1)
        let ballot = Ballot(counter: 1, proposer: 7)
        let first = RootRecord(creating: key.id, config: config, contents: [], ballot: ballot)
            .signed(ballot: ballot, KeySigner(key: key.signingKey))
        let forged = first.child(
            RootChange(contents: [1], gcEpoch: 0), epoch: 1, ballot: Ballot(counter: 9, proposer: 9),
            signer: KeySigner(key: VolumeKey.generate().signingKey))
        var desk = desk()
        let made = desk.take(
            [call(.initialize(first, next: nil), session: session), call(.learn(ballot), session: session)], now: .zero)
        if let state = made.persist { desk.persisted(state, true) }
        let outcome = desk.takeUnchecked(
            [
                call(.accept(forged, next: nil), session: session),
                call(.watch(known: .zero, knowsWanted: false), session: session),
            ], now: .seconds(1))
        #expect(outcome.claims.map(\.isTrue) == [false])
        let again = desk.take(desk.takeBack(outcome), now: .seconds(1))
        #expect(again.held.count == 2 && again.ready.isEmpty && desk.nextDeadline == nil)
    }

    @Test("a state that the disk refused is held against every later answer")
    func failedDisk() throws {
        var desk = desk()
        let session = Answers()
        let first = desk.take([call(.initialize(record(1), next: nil), session: session)], now: .seconds(1))
        let state = try #require(first.persist)
        desk.persisted(state, false)
        let second = desk.take([call(.read(known: nil), session: session)], now: .seconds(2))
        #expect(second.ready.isEmpty)
        #expect(second.persist == state)
        desk.persisted(state, true)
        let third = desk.take([call(.read(known: nil), session: session)], now: .seconds(3))
        #expect(third.ready.count == 1)
        #expect(third.persist == nil)
    }

    @Test("what a watch knew is of the time when its sender had the lease before: it hears anew who wants it")
    func watchOfEarlierHold() {
        var desk = desk()
        let (here, there) = (Answers(), Answers())
        func ask(_ body: RegisterRequest.Body, as sender: ProposerID, at now: Duration) -> [RegisterDesk.Reply] {
            var call = call(body, session: sender == 7 ? here : there)
            call.request.sender = sender
            let outcome = desk.take([call], now: now)
            if let state = outcome.persist { desk.persisted(state, true) }
            return outcome.ready + outcome.held
        }
        func ballot(_ counter: UInt64, _ proposer: ProposerID) -> Ballot { Ballot(counter: counter, proposer: proposer) }
        _ = ask(.initialize(record(1), next: ballot(2, 7)), as: 7, at: .zero)
        // It has been told, and says so.
        _ = ask(.prepare(ballot(3, 8)), as: 8, at: .milliseconds(10))
        #expect(ask(.watch(known: ballot(1, 7), knowsWanted: true), as: 7, at: .milliseconds(20)).isEmpty)
        _ = ask(.release(ballot(2, 7)), as: 7, at: .milliseconds(30))
        // Nothing is committed by either: the watch goes on waiting.
        _ = ask(.prepare(ballot(4, 8)), as: 8, at: .milliseconds(40))
        _ = ask(.release(ballot(4, 8)), as: 8, at: .milliseconds(50))
        _ = ask(.prepare(ballot(5, 7)), as: 7, at: .milliseconds(60))
        let replies = ask(.prepare(ballot(6, 8)), as: 8, at: .milliseconds(70))
        let told = replies.compactMap { reply -> RegisterResponse? in
            guard reply.call.request.sender == 7, case .register(let response) = reply.response else { return nil }
            return response
        }
        #expect(told.map(\.wanted) == [true])
    }

    @Test("a watch is answered when its patience ends, and only then")
    func patience() {
        var desk = desk()
        let session = Answers()
        _ = desk.take([call(.initialize(record(1), next: nil), session: session)], now: .zero)
        let known = Ballot(counter: 1, proposer: 7)
        let parked = desk.take([call(.watch(known: known, knowsWanted: false), session: session)], now: .seconds(1))
        #expect(parked.ready.isEmpty && parked.held.isEmpty)
        #expect(desk.nextDeadline == .seconds(1) + RegisterDesk.patience)
        #expect(desk.look(now: .seconds(20)).ready.isEmpty)
        let over = desk.look(now: .seconds(21))
        guard case .register(let response)? = over.ready.first?.response else {
            Issue.record("\(over)")
            return
        }
        #expect(response.verdict == .accepted(known, nil))
        #expect(desk.nextDeadline == nil)
    }

    @Test("watches are bounded, forgotten with their connection, and refused when the server stops")
    func bounded() {
        var desk = desk()
        let (stays, leaves) = (Answers(), Answers())
        _ = desk.take([call(.initialize(record(1), next: nil), session: stays)], now: .zero)
        let watch = RegisterRequest.Body.watch(known: Ballot(counter: 1, proposer: 7), knowsWanted: false)
        let many = (0..<RegisterDesk.parkedLimit).map { _ in call(watch, session: leaves) }
        #expect(desk.take(many, now: .zero).ready.isEmpty)
        #expect(desk.take([call(watch, session: stays)], now: .seconds(1)).ready.count == 1)
        desk.left(ObjectIdentifier(leaves))
        let end = desk.close()
        #expect(end.ready.map(\.response.reason) == [.closing])
        #expect(desk.take([call(watch, session: stays)], now: .seconds(2)).ready.map(\.response.reason) == [.closing])
    }
}
