import LanfsCrypto
import LanfsProtocol
import NIOCore
import TestSupport
import Testing

@testable import LanfsNetwork

@Suite("A listener", .serialized)
struct ListenerTests {
    private func short() -> Timeouts {
        var timeouts = Timeouts()
        timeouts.handshake = .milliseconds(400)
        timeouts.silence = .milliseconds(500)
        timeouts.stall = .milliseconds(500)
        timeouts.goodbye = .milliseconds(300)
        return timeouts
    }

    @Test("who says nothing, or one byte at a time, is closed when the handshake should be over")
    func slowLoris() async throws {
        let server = try await TestServer(timeouts: short())
        let silent = try await RawClient.connect(to: server.endpoint)
        let slow = try await RawClient.connect(to: server.endpoint)
        let drip = Task {
            for byte in HandshakeWire.prologue(.xx) + [0, 32] + [UInt8](repeating: 1, count: 31) {
                slow.send([byte])
                try await Task.sleep(for: .milliseconds(30))
            }
        }
        #expect(await eventually { server.listener.handshakeCount == 2 })
        #expect(await eventually(within: .seconds(3)) { silent.isClosed && slow.isClosed })
        #expect(server.listener.handshakeCount == 0)
        drip.cancel()
        await server.stop()
    }

    @Test("a flood of strangers pushes out its own oldest and a client still gets in")
    func handshakeFlood() async throws {
        var limits = ServerLimits()
        limits.handshakes = 8
        let server = try await TestServer(limits: limits)
        var strangers: [RawClient] = []
        for _ in 0..<30 { strangers.append(try await RawClient.connect(to: server.endpoint)) }
        #expect(await eventually { strangers.count { $0.isClosed } == 22 })
        #expect(server.listener.handshakeCount == 8)
        #expect(try await server.connect(pins: TestPins()).call(.flush(expecting: [])).response == .done)
        for stranger in strangers { stranger.close() }
        await server.stop()
    }

    @Test("more connections than allowed are closed, and room made is room again")
    func connectionLimit() async throws {
        var limits = ServerLimits()
        limits.connections = 2
        let server = try await TestServer(limits: limits)
        let pins = TestPins()
        let first = try await server.connect(pins: pins)
        let second = try await server.connect(pins: pins)
        await #expect(throws: NetworkError.self) { _ = try await server.connect(pins: pins).call(.status) }
        first.close()
        #expect(await eventually { server.listener.connectionCount == 1 })
        _ = try await server.connect(pins: pins).call(.status)
        second.close()
        await server.stop()
    }

    @Test("a request that stops half way is closed; one that only waits for its turn is not")
    func stalledPayload() async throws {
        let server = try await TestServer(timeouts: short())
        let proxy = try await Proxy(to: server.endpoint)
        let connection = try await server.connect(pins: TestPins(), through: proxy.endpoint)
        _ = try await connection.call(.status)
        let passed = try #require(proxy.recorded(.toServer).first?.count)
        proxy.set(.stall(.toServer, after: passed + 5_000))
        connection.call(.put(block: BlockID(number: 1), length: 20_000, gcEpoch: 1), payload: pattern(0..<20_000)) {
            _ in
        }
        #expect(await eventually(within: .seconds(5)) { server.listener.connectionCount == 0 })
        #expect(server.listener.bytesHeld == 0)
        await proxy.close()
        await server.stop()
    }

    @Test("unanswered requests of one connection are bounded, and all go through in the end")
    func requestLimit() async throws {
        var limits = ServerLimits()
        limits.requestsPerConnection = 16
        let server = try await TestServer(limits: limits)
        let connection = try await server.connect(pins: TestPins())
        server.observations.holds.store(true, ordering: .releasing)
        let outcomes = Outcomes()
        for _ in 0..<2_000 { connection.call(.status) { outcomes.add($0) } }
        #expect(await eventually { server.observations.requests == 16 })
        try await Task.sleep(for: .milliseconds(50))
        #expect(server.observations.requests == 16)
        server.observations.releaseAll()
        #expect(await eventually { outcomes.count == 2_000 })
        #expect(outcomes.failures.isEmpty)
        await server.stop()
    }

    @Test("all connections together stay within the listener's memory, and none of them starves")
    func memoryBudget() async throws {
        var limits = ServerLimits()
        limits.bytes = 2 << 20
        let server = try await TestServer(limits: limits)
        let pins = TestPins()
        var connections: [RPCConnection] = []
        for _ in 0..<6 { connections.append(try await server.connect(pins: pins)) }
        server.observations.holds.store(true, ordering: .releasing)
        let outcomes = Outcomes()
        for connection in connections {
            for _ in 0..<8 {
                connection.call(.get(block: BlockID(number: 1), offset: 0, length: 1 << 20)) { outcomes.add($0) }
            }
        }
        #expect(await eventually { server.observations.requests >= 6 })
        try await Task.sleep(for: .milliseconds(50))
        // Two fit the budget; each connection has its guaranteed one.
        #expect(server.observations.requests <= 8 && server.listener.bytesHeld <= 8 * ((1 << 20) + 512))
        server.observations.releaseAll()
        #expect(await eventually { outcomes.count == 48 })
        #expect(outcomes.failures.isEmpty)
        #expect(await eventually { server.listener.bytesHeld == 0 })
        await server.stop()
    }

    @Test("a client that takes no answers holds no more than its share, and is closed in the end")
    func slowReader() async throws {
        var limits = ServerLimits()
        limits.bytesPerConnection = 2 << 20
        let server = try await TestServer(limits: limits, timeouts: short())
        let proxy = try await Proxy(to: server.endpoint)
        let connection = try await server.connect(pins: TestPins(), through: proxy.endpoint)
        await proxy.stopReading(.toClient)
        for _ in 0..<64 { connection.call(.get(block: BlockID(number: 1), offset: 0, length: 1 << 20)) { _ in } }
        #expect(await eventually { server.observations.requests >= 2 })
        #expect(server.listener.bytesHeld <= 3 << 20)
        #expect(await eventually(within: .seconds(10)) { server.listener.connectionCount == 0 })
        #expect(server.listener.bytesHeld == 0)
        await proxy.close()
        await server.stop()
    }

    @Test("shutting down answers what is under way, refuses the rest, and says goodbye")
    func gracefulShutdown() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        server.observations.holds.store(true, ordering: .releasing)
        let underWay = Task { try await connection.call(.get(block: BlockID(number: 1), offset: 0, length: 500_000)) }
        #expect(await eventually { server.observations.requests == 1 })
        let stop = Task { await server.listener.shutdown(within: .seconds(5)) }
        try await Task.sleep(for: .milliseconds(100))
        let late = try await connection.call(.status)
        guard case .refused(let refusal) = late.response else {
            Issue.record("\(late.response)")
            return
        }
        #expect(refusal.reason == .closing)
        await #expect(throws: NetworkError.self) { _ = try await server.connect(pins: TestPins()) }
        server.observations.releaseAll()
        #expect(try await underWay.value.payload == pattern(0..<500_000))
        await stop.value
        #expect(await eventually { connection.failure != nil })
        #expect(connection.failure == .disconnected(address: connection.address, reason: "the server is shutting down"))
    }

    @Test("shutting down does not wait for ever")
    func shutdownDeadline() async throws {
        let server = try await TestServer()
        let connection = try await server.connect(pins: TestPins())
        server.observations.holds.store(true, ordering: .releasing)
        connection.call(.status) { _ in }
        #expect(await eventually { server.observations.requests == 1 })
        let start = ContinuousClock.now
        await server.listener.shutdown(within: .milliseconds(300))
        #expect(ContinuousClock.now - start < .seconds(3))
        #expect(await eventually { connection.failure != nil })
    }

    @Test("garbage from strangers is closed and leaves nothing behind")
    func garbage() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        let server = try await TestServer(timeouts: short())
        var strangers: [RawClient] = []
        for round in 0..<40 {
            let stranger = try await RawClient.connect(to: server.endpoint)
            let start = round % 2 == 0 ? [] : HandshakeWire.prologue(round % 4 == 1 ? .xx : .ikPSK2)
            stranger.send(start + random.bytes(Int.random(in: 1...3_000, using: &random)))
            strangers.append(stranger)
        }
        #expect(await eventually(within: .seconds(5)) { strangers.allSatisfy(\.isClosed) }, "seed \(seed)")
        #expect(try await server.connect(pins: TestPins()).call(.flush(expecting: [])).response == .done)
        await server.stop()
    }

    @Test("a taken port is an error that names it")
    func takenPort() async throws {
        let server = try await TestServer()
        await #expect {
            _ = try await TestServer(port: server.listener.port)
        } throws: {
            ($0 as? NetworkError)?.description.contains("\(server.listener.port)") == true
        }
        await server.stop()
    }
}
