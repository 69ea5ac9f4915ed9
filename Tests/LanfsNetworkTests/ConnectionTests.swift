import LanfsCrypto
import LanfsProtocol
import NIOCore
import Testing

@testable import LanfsNetwork

private func get(_ length: Int, offset: Int = 0) -> Request {
    .get(block: BlockID(number: 1), offset: UInt32(offset), length: UInt32(length))
}

/// Timeouts that make a test of them short.
private func quick() -> Timeouts {
    var timeouts = Timeouts()
    timeouts.connect = .milliseconds(500)
    timeouts.handshake = .milliseconds(500)
    timeouts.silence = .milliseconds(500)
    timeouts.stall = .milliseconds(500)
    timeouts.goodbye = .milliseconds(500)
    return timeouts
}

@Suite("A connection", .serialized)
struct ConnectionTests {
    @Test("first contact pins the server and pairs the client; from then on IK is enough")
    func firstAndLater() async throws {
        let server = try await TestServer()
        let pins = TestPins()
        let first = try await server.connect(pins: pins)
        #expect(first.isFirstContact && first.server == server.id && first.handshakeHash.count == 32)
        #expect(
            try await first.call(.status).response
                == .status(ServerStatus(capacity: 4, free: 3, usedByVolume: 2, blocks: 1)))
        #expect(pins.pin(of: server.id) != nil && server.pairings.count == 1)

        let second = try await server.connect(pins: pins)
        #expect(!second.isFirstContact && second.handshakeHash != first.handshakeHash)
        #expect(try await second.call(.flush(expecting: [])).response == .done)
        first.close()
        second.close()
        await server.stop()
    }

    @Test("a server that lost its pairings is met with XX again, its pinned key still required")
    func lostPairings() async throws {
        let server = try await TestServer()
        let pins = TestPins()
        // A call, since the server keeps the pairing only after the client's greeting.
        _ = try await server.connect(pins: pins).call(.status)
        server.pairings.forgetAll()
        let again = try await server.connect(pins: pins)
        _ = try await again.call(.status)
        #expect(again.isFirstContact && server.pairings.count == 1)
        #expect(try await !server.connect(pins: pins).isFirstContact)
        await server.stop()
    }

    @Test("another server at the address is refused with both fingerprints, pinned or only named")
    func wrongKey() async throws {
        let known = try await TestServer()
        let other = try await TestServer()
        let pins = TestPins()
        _ = try await known.connect(pins: pins)
        for pins in [pins, TestPins()] {
            let expected = NetworkError.wrongServerKey(
                address: other.endpoint.description, expected: fingerprint(of: known.key.publicKey),
                found: fingerprint(of: other.key.publicKey))
            await #expect(throws: expected) { _ = try await known.connect(pins: pins, through: other.endpoint) }
        }
        #expect(other.observations.seen.withLock { $0.connections } == 0)
        await known.stop()
        await other.stop()
    }

    @Test("a pin that cannot be kept is an error")
    func pinNotKept() async throws {
        let server = try await TestServer()
        let pins = TestPins()
        pins.refuse(with: .cancelled)
        await #expect(throws: NetworkError.self) { _ = try await server.connect(pins: pins) }
        await server.stop()
    }

    @Test("a replayed first message of IK has no effect and opens nothing")
    func replay() async throws {
        let server = try await TestServer()
        let pins = TestPins()
        _ = try await server.connect(pins: pins).call(.status)
        let proxy = try await Proxy(to: server.endpoint)
        _ = try await server.connect(pins: pins, through: proxy.endpoint).call(.flush(expecting: []))
        let recorded = try #require(proxy.recorded(.toServer).first)
        let connections = server.observations.seen.withLock { $0.connections }
        let requests = server.observations.requests

        // The whole conversation once more, as it went by: handshake, greeting, request.
        let replayer = try await RawClient.connect(to: server.endpoint)
        replayer.send(recorded)
        let gotAnswer = await eventually { replayer.received.count >= 3 }
        #expect(gotAnswer, "the server answers message 1")
        let wasClosed = await eventually { replayer.isClosed }
        #expect(wasClosed, "the greeting does not open under the new keys")
        #expect(server.observations.seen.withLock { $0.connections } == connections)
        #expect(server.observations.requests == requests)
        await proxy.close()
        await server.stop()
    }

    @Test("a bit changed on the way ends the handshake, or the connection, but never passes", arguments: [true, false])
    func tampering(toServer: Bool) async throws {
        let server = try await TestServer()
        let pins = TestPins()
        _ = try await server.connect(pins: pins).call(.status)
        let proxy = try await Proxy(to: server.endpoint)
        // Length of the handshake, header and greeting of this direction (IK), then a few frames.
        let offsets = toServer ? [0, 6, 8, 20, 100, 110, 140, 200, 240] : [0, 1, 5, 40, 60, 80, 120, 140]
        for offset in offsets {
            proxy.set(.flip(toServer ? .toServer : .toClient, offset: offset))
            await #expect(throws: NetworkError.self, "offset \(offset)") {
                let connection = try await server.connect(pins: pins, through: proxy.endpoint, timeouts: quick())
                for _ in 0..<6 { _ = try await connection.call(.status) }
            }
        }
        proxy.set(.pass)
        #expect(try await server.connect(pins: pins, through: proxy.endpoint).call(.flush(expecting: [])).response == .done)
        await proxy.close()
        await server.stop()
    }

    @Test("a bit changed in a payload passes (its hash is checked above) and the connection goes on")
    func payloadTampering() async throws {
        let server = try await TestServer()
        let proxy = try await Proxy(to: server.endpoint)
        let connection = try await server.connect(pins: TestPins(), through: proxy.endpoint)
        _ = try await connection.call(.status)
        let passed = try #require(proxy.recorded(.toServer).first?.count)
        proxy.set(.flip(.toServer, offset: passed + 20_000))
        let sent = pattern(0..<40_000)
        let id = BlockID(number: 9)
        #expect(try await connection.call(.put(block: id, length: 40_000, gcEpoch: 1), payload: sent).response == .done)
        let got = try #require(server.observations.seen.withLock { $0.puts[id] })
        #expect(got != sent && got.readableBytes == 40_000)
        #expect(try await connection.call(get(100)).payload == pattern(0..<100))
        await proxy.close()
        await server.stop()
    }

    @Test("cut off at any point of the conversation, the client gets an error in time", arguments: [true, false])
    func cuts(toServer: Bool) async throws {
        let server = try await TestServer()
        let pins = TestPins()
        _ = try await server.connect(pins: pins).call(.status)
        let proxy = try await Proxy(to: server.endpoint)
        for length in stride(from: 0, to: 420, by: 29) {
            proxy.set(.cut(toServer ? .toServer : .toClient, after: length))
            await #expect(throws: NetworkError.self, "cut after \(length)") {
                let connection = try await server.connect(pins: pins, through: proxy.endpoint, timeouts: quick())
                for _ in 0..<20 { _ = try await connection.call(.status) }
            }
        }
        await proxy.close()
        await server.stop()
    }

    @Test("a server that falls silent is found dead within the limit, and every call hears of it")
    func silence() async throws {
        let server = try await TestServer()
        let proxy = try await Proxy(to: server.endpoint)
        let connection = try await server.connect(pins: TestPins(), through: proxy.endpoint, timeouts: quick())
        _ = try await connection.call(.status)
        proxy.set(.stall(.toClient, after: 0))
        let start = ContinuousClock.now
        await withTaskGroup(of: Void.self) { tasks in
            for _ in 0..<10 {
                tasks.addTask {
                    await #expect(throws: NetworkError.self) { _ = try await connection.call(.status) }
                }
            }
        }
        #expect(ContinuousClock.now - start < .seconds(3))
        #expect(connection.failure != nil)
        await proxy.close()
        await server.stop()
    }

    @Test("a server that works for longer than the limit of silence is not taken for dead")
    func slowServer() async throws {
        let server = try await TestServer(timeouts: quick())
        let connection = try await server.connect(pins: TestPins(), timeouts: quick())
        server.observations.holds.store(true, ordering: .releasing)
        async let reply = connection.call(.status)
        try await Task.sleep(for: .milliseconds(1_500))
        #expect(connection.failure == nil)
        server.observations.releaseAll()
        _ = try await reply
        await server.stop()
    }

    @Test("a connection that is idle for longer than all limits goes on")
    func idle() async throws {
        let server = try await TestServer(timeouts: quick())
        let connection = try await server.connect(pins: TestPins(), timeouts: quick())
        _ = try await connection.call(.status)
        try await Task.sleep(for: .milliseconds(1_500))
        _ = try await connection.call(.status)
        await server.stop()
    }

    @Test("a thousand calls at once are all answered, each with its own answer")
    func manyCalls() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for number in 0..<1_000 {
                tasks.addTask {
                    if number % 3 == 0 {
                        let reply = try await connection.call(get(number, offset: number))
                        #expect(reply.payload.map { $0 == pattern(number..<2 * number) } ?? (number == 0))
                    } else {
                        let block = BlockID(number: number)
                        let reply = try await connection.call(.touch(blocks: [block], gcEpoch: 1))
                        #expect(reply.response == .missing([block]))
                    }
                }
            }
            try await tasks.waitForAll()
        }
        #expect(await eventually { server.listener.bytesHeld == 0 })
        await server.stop()
    }

    @Test("requests reach the server in the order of the calls")
    func order() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            for number in 0..<500 {
                connection.call(number % 2 == 0 ? .status : get(20_000)) { _ in if number == 499 { done.resume() } }
            }
        }
        let order = server.observations.seen.withLock { $0.order }
        #expect(order == order.sorted() && order.count == 500)
        await server.stop()
    }

    @Test("big payloads go both ways whole", arguments: [1, 8_192, 8_193, 262_144, 1 << 20, Limits.blockSize])
    func bigPayloads(size: Int) async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for number in 0..<8 {
                tasks.addTask {
                    let id = BlockID(number: number)
                    let put = Request.put(block: id, length: UInt32(size), gcEpoch: 1)
                    let stored = try await connection.call(put, payload: pattern(0..<size))
                    #expect(stored.response == .done)
                    #expect(server.observations.seen.withLock { $0.puts[id] } == pattern(0..<size))
                    let got = try await connection.call(get(size, offset: 5))
                    #expect(got.payload == pattern(5..<size + 5))
                }
            }
            try await tasks.waitForAll()
        }
        await server.stop()
    }

    @Test("threads that send for themselves, on both sides, keep the stream whole", arguments: [false, true])
    func manyThreads(serverStopsReading: Bool) async throws {
        var limits = ServerLimits()
        limits.bytesPerConnection = 1 << 20
        let server = try await TestServer(limits: limits)
        server.observations.answersElsewhere.store(true, ordering: .releasing)
        let connection = try await server.connect(pins: TestPins())
        // What is sent meanwhile is more than any socket takes, so that threads have to leave a rest behind.
        server.observations.holds.store(serverStopsReading, ordering: .releasing)
        let sizes = [0, 1, 8_192, 60_000, 65_536, 65_537, 300_000]
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for number in 0..<700 {
                tasks.addTask {
                    let size = serverStopsReading ? 60_000 : sizes[number % sizes.count]
                    let id = BlockID(number: number)
                    let put = Request.put(block: id, length: UInt32(size), gcEpoch: 1)
                    let stored = try await connection.call(put, payload: pattern(number..<number + size))
                    #expect(stored.response == .done)
                    #expect(server.observations.seen.withLock { $0.puts[id] } == pattern(number..<number + size))
                    let got = try await connection.call(get(size, offset: number))
                    #expect(got.payload ?? ByteBuffer() == pattern(number..<number + size))
                }
            }
            if serverStopsReading {
                tasks.addTask {
                    try await Task.sleep(for: .milliseconds(500))
                    server.observations.releaseAll()
                }
            }
            try await tasks.waitForAll()
        }
        #expect(await eventually { server.listener.bytesHeld == 0 })
        await server.stop()
    }

    @Test("a cancelled call returns at once and its late answer harms nobody")
    func cancellation() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        server.observations.holds.store(true, ordering: .releasing)
        let call = Task { try await connection.call(get(1_000)) }
        #expect(await eventually { server.observations.requests == 1 })
        call.cancel()
        await #expect(throws: NetworkError.cancelled) { _ = try await call.value }
        server.observations.releaseAll()
        #expect(try await connection.call(.flush(expecting: [])).response == .done)
        await server.stop()
    }

    @Test("closing fails what is under way and tells the server")
    func close() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        server.observations.holds.store(true, ordering: .releasing)
        let call = Task { try await connection.call(.status) }
        #expect(await eventually { server.observations.requests == 1 })
        connection.close()
        await #expect(throws: NetworkError.closed(address: connection.address)) { _ = try await call.value }
        await #expect(throws: NetworkError.self) { _ = try await connection.call(.status) }
        server.observations.releaseAll()
        #expect(await eventually { server.listener.connectionCount == 0 })
        await server.stop()
    }

    @Test("a connection nobody refers to any more is closed")
    func dropped() async throws {
        let server = try await TestServer()
        do { _ = try await server.connect(pins: TestPins()).call(.status) }
        #expect(await eventually { server.listener.connectionCount == 0 })
        await server.stop()
    }

    @Test("what cannot wait is refused above the limit, what can wait waits")
    func clientBackpressure() async throws {
        var limits = ServerLimits()
        limits.bytesPerConnection = 1 << 20
        let server = try await TestServer(limits: limits)
        server.observations.holds.store(true, ordering: .releasing)
        var clientLimits = ClientLimits()
        clientLimits.unwrittenBeforeWaiting = 1 << 20
        clientLimits.unwrittenAtMost = 4 << 20
        let connection = try await server.connect(pins: TestPins(), limits: clientLimits)
        let block = pattern(0..<1 << 20)
        let put = Request.put(block: BlockID(number: 1), length: 1 << 20, gcEpoch: 1)
        let outcomes = Outcomes()
        for _ in 0..<40 { connection.call(put, payload: block) { outcomes.add($0) } }
        #expect(outcomes.failures.contains { if case .overloaded = $0 { true } else { false } })
        let patient = Task { try await connection.call(put, payload: block) }
        try await Task.sleep(for: .milliseconds(100))
        // The server holds one request and the next one's start, not all of them.
        #expect(server.observations.requests < 4 && server.listener.bytesHeld <= 3 << 20)
        server.observations.releaseAll()
        #expect(try await patient.value.response == .done)
        #expect(await eventually { outcomes.count == 40 && server.listener.bytesHeld == 0 })
        await server.stop()
    }

    @Test("unreachable, unresolvable and silent addresses are told apart, and do not stop a good one")
    func addresses() async throws {
        let server = try await TestServer()
        let pins = TestPins()
        let gone = try await TestServer()
        await gone.stop()
        await #expect {
            _ = try await server.connect(pins: pins, through: gone.endpoint)
        } throws: {
            if case .unreachable = $0 as? NetworkError { true } else { false }
        }
        await #expect {
            _ = try await server.connect(pins: pins, through: Endpoint(host: "no such host", port: 1))
        } throws: {
            if case .unresolvable = $0 as? NetworkError { true } else { false }
        }
        let connection = try await RPCConnection.connect(
            to: [gone.endpoint, server.endpoint], server: server.id, pins: pins, group: group)
        #expect(connection.address == server.endpoint.description)
        await server.stop()
    }

    @Test("an address that swallows packets does not hold up one that answers")
    func hole() async throws {
        let hole = try Hole()
        let server = try await TestServer()
        let start = ContinuousClock.now
        let connection = try await RPCConnection.connect(
            to: [hole.endpoint, server.endpoint], server: server.id, pins: TestPins(), group: group)
        #expect(connection.address == server.endpoint.description)
        #expect(ContinuousClock.now - start < .seconds(2))
        let alone = ContinuousClock.now
        await #expect(throws: NetworkError.unreachable(address: hole.endpoint.description, reason: "no answer")) {
            _ = try await server.connect(pins: TestPins(), through: hole.endpoint, timeouts: quick())
        }
        #expect(ContinuousClock.now - alone < .seconds(2))
        await server.stop()
    }

    @Test("a payload can be sent from a file")
    func fileRegion() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        for _ in 0..<20 {
            let reply = try await connection.call(.list(after: .zero))
            #expect(reply.payload == pattern(1_000..<301_000))
            #expect(try await connection.call(get(100)).payload == pattern(0..<100))
        }
        await server.stop()
    }

    @Test("a request too long for any server is refused here and harms nothing")
    func tooLong() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        let blocks = (0..<10_000).map { BlockID(number: $0) }
        await #expect(throws: NetworkError.messageTooLong) {
            _ = try await connection.call(.touch(blocks: blocks, gcEpoch: 1))
        }
        #expect(try await connection.call(.flush(expecting: [])).response == .done)
        await server.stop()
    }
}
