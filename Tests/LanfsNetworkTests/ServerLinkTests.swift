import LanfsCrypto
import LanfsProtocol
import NIOCore
import Synchronization
import Testing

@testable import LanfsNetwork

/// Where the "discovery" of these tests says that the server is.
private final class Whereabouts: Sendable {
    private let endpoints = Mutex<[Endpoint]>([])
    private let asked = Atomic<Int>(0)

    func set(_ endpoints: [Endpoint]) { self.endpoints.withLock { $0 = endpoints } }
    var questions: Int { asked.load(ordering: .relaxed) }

    func resolve() -> [Endpoint] {
        asked.add(1, ordering: .relaxed)
        return endpoints.withLock { $0 }
    }
}

@Suite("A link to a server", .serialized)
struct ServerLinkTests {
    private let pins = TestPins()
    private let whereabouts = Whereabouts()

    private func link(
        to server: TestServer, endpoints: [Endpoint]? = nil,
        onConnect: @escaping @Sendable (RPCConnection) async throws(NetworkError) -> Void = { _ in }
    ) -> ServerLink {
        var configuration = ServerLink.Configuration(
            server: server.id, name: "attic", endpoints: endpoints ?? [server.endpoint],
            resolve: { [whereabouts] in whereabouts.resolve() }, onConnect: onConnect)
        configuration.timeouts.silence = .milliseconds(500)
        configuration.timeouts.connect = .milliseconds(500)
        return ServerLink(configuration, pins: pins, group: group)
    }

    @Test("calls go through after the server came back on another port, also those made while it was away")
    func comesBackElsewhere() async throws {
        let server = try await TestServer()
        let link = link(to: server)
        let first = try await link.call(.status)
        await server.stop()
        #expect(await eventually { if case .disconnected = link.state { true } else { false } })

        let waiting = Task { try await link.call(.status) }
        try await Task.sleep(for: .milliseconds(100))
        let again = try await TestServer(key: server.key, pairings: server.pairings)
        whereabouts.set([again.endpoint])
        let reply = try await waiting.value
        #expect(reply.connection != first.connection && whereabouts.questions > 0)
        _ = try await link.call(.status)
        link.close()
        await again.stop()
    }

    @Test("a call under way when the server dies is sent again")
    func repeats() async throws {
        let server = try await TestServer()
        let proxy = try await Proxy(to: server.endpoint)
        let link = link(to: server, endpoints: [proxy.endpoint])
        _ = try await link.call(.status)
        server.observations.holds.store(true, ordering: .releasing)
        let call = Task { try await link.call(.get(block: BlockID(number: 1), offset: 0, length: 100)) }
        #expect(await eventually { server.observations.requests == 2 })
        await proxy.close()
        server.observations.holds.store(false, ordering: .releasing)
        whereabouts.set([server.endpoint])
        #expect(try await call.value.payload == pattern(0..<100))
        link.close()
        await server.stop()
    }

    @Test("while the server stops it still answers what it has, and new calls wait for the next server")
    func stopping() async throws {
        let server = try await TestServer()
        let link = link(to: server)
        _ = try await link.call(.status)
        server.observations.holds.store(true, ordering: .releasing)
        let underWay = Task { try await link.call(.get(block: BlockID(number: 1), offset: 0, length: 100)) }
        #expect(await eventually { server.observations.requests == 2 })
        let stop = Task { await server.stop() }
        try await Task.sleep(for: .milliseconds(50))
        let late = Task { try await link.call(.status) }
        try await Task.sleep(for: .milliseconds(50))
        await #expect {
            _ = try await link.call(.status, wait: .milliseconds(10))
        } throws: {
            if case .deadlineExceeded = $0 as? NetworkError { true } else { false }
        }
        server.observations.releaseAll()
        #expect(try await underWay.value.payload == pattern(0..<100))
        await stop.value
        let again = try await TestServer(key: server.key, pairings: server.pairings)
        whereabouts.set([again.endpoint])
        _ = try await late.value
        #expect(again.observations.requests == 1)
        link.close()
        await again.stop()
    }

    @Test("a bit changed on the way costs a connection, not a call")
    func tampering() async throws {
        let server = try await TestServer()
        let proxy = try await Proxy(to: server.endpoint)
        let link = link(to: server, endpoints: [proxy.endpoint])
        _ = try await link.call(.status)
        let passed = try #require(proxy.recorded(.toClient).first?.count)
        proxy.set(.flip(.toClient, offset: passed + 10))
        let call = Task { try await link.call(.status) }
        #expect(await eventually { proxy.recorded(.toClient).count == 2 })
        proxy.set(.pass)
        _ = try await call.value
        link.close()
        await proxy.close()
        await server.stop()
    }

    @Test("the old address of a server that moved may swallow packets: the new one is used meanwhile")
    func hole() async throws {
        let hole = try Hole()
        let server = try await TestServer()
        whereabouts.set([server.endpoint])
        let link = link(to: server, endpoints: [hole.endpoint])
        let start = ContinuousClock.now
        _ = try await link.call(.status)
        #expect(ContinuousClock.now - start < .milliseconds(450))
        link.close()
        await server.stop()
    }

    @Test("a flush is never sent on another connection than the one it is about")
    func flush() async throws {
        let server = try await TestServer()
        let link = link(to: server)
        let put = Request.put(block: BlockID(number: 1), length: 10, gcEpoch: 1)
        let reply = try await link.call(put, payload: pattern(0..<10))
        #expect(try await link.call(.flush(expecting: []), onlyOn: reply.connection).response == .done)
        server.observations.holds.store(true, ordering: .releasing)
        let flush = Task { try await link.call(.flush(expecting: []), onlyOn: reply.connection) }
        #expect(await eventually { server.observations.requests == 3 })
        await server.listener.shutdown(within: .zero)
        await #expect {
            _ = try await flush.value
        } throws: {
            if case .disconnected = $0 as? NetworkError { true } else { false }
        }
        let again = try await TestServer(key: server.key, pairings: server.pairings)
        whereabouts.set([again.endpoint])
        _ = try await link.call(.status)
        await #expect {
            _ = try await link.call(.flush(expecting: []), onlyOn: reply.connection)
        } throws: {
            if case .disconnected = $0 as? NetworkError { true } else { false }
        }
        #expect(again.observations.requests == 1)
        link.close()
        await again.stop()
    }

    @Test("the session is opened on every new connection before anybody's calls")
    func onConnect() async throws {
        let server = try await TestServer()
        let counter = OpenCounter()
        let link = link(to: server) { connection throws(NetworkError) in
            counter.add()
            _ = try await connection.call(.open(volume: VolumeID.zero, proof: [1]))
        }
        _ = try await link.call(.status)
        #expect(counter.value == 1 && server.observations.requests == 2)
        await server.stop()
        let again = try await TestServer(key: server.key, pairings: server.pairings)
        whereabouts.set([again.endpoint])
        _ = try await link.call(.status)
        #expect(counter.value == 2 && again.observations.requests == 2)
        link.close()
        await again.stop()
    }

    @Test("a refusal reaches those who wait and those who come later, at once")
    func refused() async throws {
        let server = try await TestServer()
        let refusal = NetworkError.refused(server: "attic", reason: "this volume is not on its list")
        let link = link(to: server) { _ throws(NetworkError) in throw refusal }
        await #expect(throws: refusal) { _ = try await link.call(.status) }
        await #expect(throws: refusal) { _ = try await link.call(.status) }
        #expect(link.state == .refused(refusal))
        link.close()
        await server.stop()
    }

    @Test("without a server a call waits no longer than it may, and says why the last attempt failed")
    func deadline() async throws {
        let server = try await TestServer()
        await server.stop()
        let link = link(to: server)
        let start = ContinuousClock.now
        await #expect {
            _ = try await link.call(.status, wait: .milliseconds(300))
        } throws: {
            guard case .deadlineExceeded("attic", let failure) = $0 as? NetworkError else { return false }
            return failure?.contains("onnection refused") == true
        }
        let waited = ContinuousClock.now - start
        #expect(waited >= .milliseconds(290) && waited < .seconds(2))
        link.close()
    }

    @Test("a waiting call can be cancelled, and closing the link ends all that wait")
    func cancellation() async throws {
        let server = try await TestServer()
        await server.stop()
        let link = link(to: server)
        let call = Task { try await link.call(.status) }
        try await Task.sleep(for: .milliseconds(50))
        call.cancel()
        await #expect(throws: NetworkError.cancelled) { _ = try await call.value }
        let other = Task { try await link.call(.status) }
        try await Task.sleep(for: .milliseconds(50))
        link.close()
        await #expect(throws: NetworkError.closed(address: "attic")) { _ = try await other.value }
        await #expect(throws: NetworkError.closed(address: "attic")) { _ = try await link.call(.status) }
    }

    @Test("news of a new address is tried at once")
    func found() async throws {
        let server = try await TestServer()
        let gone = try await TestServer()
        await gone.stop()
        let link = link(to: server, endpoints: [gone.endpoint])
        // Long enough for the pauses to have grown.
        try await Task.sleep(for: .milliseconds(900))
        let start = ContinuousClock.now
        link.found(at: [server.endpoint])
        _ = try await link.call(.status)
        #expect(ContinuousClock.now - start < .milliseconds(500))
        link.close()
        await server.stop()
    }

    @Test("states are told in order: connected, disconnected, connected, closed")
    func states() async throws {
        let server = try await TestServer()
        let link = link(to: server)
        _ = try await link.call(.status)
        let watcher = Task {
            var seen: [String] = []
            for await state in link.states() {
                let name =
                    switch state {
                    case .connected: "connected"
                    case .disconnected: "disconnected"
                    case .refused: "refused"
                    case .closed: "closed"
                    }
                if seen.last != name { seen.append(name) }
            }
            return seen
        }
        try await Task.sleep(for: .milliseconds(50))
        await server.stop()
        let again = try await TestServer(key: server.key, pairings: server.pairings)
        whereabouts.set([again.endpoint])
        #expect(await eventually { again.listener.connectionCount == 1 })
        _ = try await link.call(.status)
        link.close()
        #expect(await watcher.value == ["connected", "disconnected", "connected", "closed"])
        await again.stop()
    }

    @Test("the variant for threads survives a restart of the server, too")
    func completions() async throws {
        let server = try await TestServer()
        let link = link(to: server)
        _ = try await link.call(.status)
        await server.stop()
        let again = try await TestServer(key: server.key, pairings: server.pairings)
        whereabouts.set([again.endpoint])
        let outcomes = Outcomes()
        for _ in 0..<50 { link.call(.status) { outcomes.add($0) } }
        #expect(await eventually { outcomes.count == 50 })
        #expect(outcomes.failures.isEmpty)
        link.close()
        await again.stop()
    }
}

private final class OpenCounter: Sendable {
    private let count = Atomic<Int>(0)
    func add() { count.add(1, ordering: .relaxed) }
    var value: Int { count.load(ordering: .relaxed) }
}
