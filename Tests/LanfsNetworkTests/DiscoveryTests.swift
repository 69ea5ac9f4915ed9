import LanfsProtocol
import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

@testable import LanfsNetwork

@Suite("Discovery", .serialized)
struct DiscoveryTests {
    private func responder(
        _ number: UInt64, port: Int, free: UInt64 = 1_000, name: String = "attic",
        limits: DiscoveryLimits = DiscoveryLimits()
    ) async throws -> DiscoveryResponder {
        try await DiscoveryResponder.bind(port: port, group: group, limits: limits, logger: quiet) { query in
            guard free >= query.need else { return nil }
            return DiscoveryAnswer(
                nonce: query.nonce, server: ServerID(word0: number, word1: 0, word2: 0, word3: 0),
                port: UInt16(5_000 + number), capacity: 2_000, free: free, holdsVolume: query.volumeToken == 77,
                name: name)
        }
    }

    private func search(_ port: Int) -> ServerSearch {
        var search = ServerSearch()
        search.port = port
        search.reach = .loopback
        search.wait = .milliseconds(400)
        return search
    }

    @Test("several servers on one port of one machine are all found, each once")
    func several() async throws {
        let first = try await responder(1, port: 0)
        let second = try await responder(2, port: first.port)
        let third = try await responder(3, port: first.port, name: String(repeating: "x", count: 200))
        let found = try await search(first.port).run(group: group)
        #expect(Set(found.map(\.server.word0)) == [1, 2, 3] && found.count == 3)
        for server in found {
            #expect(server.endpoints == [Endpoint(host: "127.0.0.1", port: Int(5_000 + server.server.word0))])
            #expect(server.roundTrip > .zero && server.roundTrip < .milliseconds(400))
            #expect(server.capacity == 2_000 && server.free == 1_000 && !server.holdsVolume)
        }
        for responder in [first, second, third] { await responder.close() }
    }

    @Test("only servers with room enough answer, and those that hold the volume say so")
    func needAndVolume() async throws {
        let small = try await responder(1, port: 0, free: 10)
        let large = try await responder(2, port: small.port, free: 1_000)
        var search = search(small.port)
        search.need = 500
        search.volumeToken = { _ in 77 }
        let found = try await search.run(group: group)
        #expect(found.map(\.server.word0) == [2] && found.first?.holdsVolume == true)
        await small.close()
        await large.close()
    }

    @Test("a named host is asked where broadcast does not reach, IPv4 and IPv6")
    func unicast() async throws {
        let responder = try await responder(1, port: 0)
        for host in ["127.0.0.1", "::1", "localhost"] {
            var search = search(responder.port)
            search.reach = .nowhere
            search.hosts = [Endpoint(host: host, port: responder.port)]
            #expect(try await search.run(group: group).map(\.server.word0) == [1], "\(host)")
        }
        await responder.close()
    }

    @Test("the search for one server ends when it has answered")
    func wanted() async throws {
        let responder = try await responder(1, port: 0)
        var search = search(responder.port)
        search.wait = .seconds(20)
        search.wanted = ServerID(word0: 1, word1: 0, word2: 0, word3: 0)
        let start = ContinuousClock.now
        #expect(try await search.run(group: group).count == 1)
        #expect(ContinuousClock.now - start < .seconds(5))
        await responder.close()
    }

    @Test("nobody there: nothing is found, in the time given")
    func nobody() async throws {
        let responder = try await responder(1, port: 0)
        let port = responder.port
        await responder.close()
        #expect(try await search(port).run(group: group).isEmpty)
    }

    @Test("answers are never longer than queries, whatever the server's name")
    func amplification() {
        for length in [0, 1, 63, 64, 65, 500] {
            let answer = DiscoveryAnswer(
                nonce: 1, server: .zero, port: 1, capacity: 1, free: 1, holdsVolume: true,
                name: String(repeating: "é", count: length))
            #expect(answer.encoded.count <= DiscoveryQuery(nonce: 1).encoded.count)
        }
    }

    @Test("a flood from one address is answered up to the limit only; garbage never")
    func rateLimit() async throws {
        var limits = DiscoveryLimits()
        limits.burstPerSource = 5
        limits.perSecondPerSource = 0.001
        let responder = try await responder(1, port: 0, limits: limits)
        let target = try SocketAddress(ipAddress: "127.0.0.1", port: responder.port)
        let counter = DatagramCounter()
        let channel = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(CountingHandler(counter))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var random = SplitMix64(seed: 3)
        for _ in 0..<100 {
            let garbage = ByteBuffer(bytes: random.bytes(Int.random(in: 0...400, using: &random)))
            channel.writeAndFlush(AddressedEnvelope(remoteAddress: target, data: garbage), promise: nil)
        }
        try await Task.sleep(for: .milliseconds(100))
        #expect(counter.sizes.isEmpty)
        for nonce in 1...100 {
            let query = DiscoveryQuery(nonce: UInt128(nonce)).encoded
            channel.writeAndFlush(
                AddressedEnvelope(remoteAddress: target, data: ByteBuffer(bytes: query)), promise: nil)
        }
        #expect(await eventually { counter.sizes.count == 5 })
        try await Task.sleep(for: .milliseconds(100))
        #expect(counter.sizes.count == 5 && counter.sizes.allSatisfy { $0 <= Discovery.querySize })
        try await channel.close()
        await responder.close()
    }

    @Test("buckets refill with time, and forged senders do not fill memory")
    func buckets() {
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
        var limits = DiscoveryLimits()
        limits.burst = 1_000_000
        limits.perSecond = 1_000_000
        limits.burstPerSource = 3
        limits.perSecondPerSource = 2
        var limiter = RateLimiter(limits, now: start)
        let atFirst = (0..<5).map { _ in limiter.admits("a", now: start) }
        #expect(atFirst == [true, true, true, false, false])
        let other = limiter.admits("b", now: start)
        #expect(other)
        let later = start + .seconds(1)
        let afterASecond = (0..<3).map { _ in limiter.admits("a", now: later) }
        #expect(afterASecond == [true, true, false])
        for number in 0..<100_000 { _ = limiter.admits("\(number)", now: later) }
        #expect(limiter.sourceCount <= 1_025)

        var tight = DiscoveryLimits()
        tight.burst = 10
        tight.perSecond = 0
        var overall = RateLimiter(tight, now: start)
        let answered = (0..<1_000).count { overall.admits("\($0)", now: start) }
        #expect(answered == 10)
    }

    @Test("answers to questions that were not asked are ignored, and invented servers are bounded")
    func inventedAnswers() async throws {
        let promise = group.next().makePromise(of: Void.self)
        let collector = AnswerCollector(wanted: nil, done: promise)
        func answer(_ nonce: UInt128, _ number: UInt64) -> DiscoveryAnswer {
            DiscoveryAnswer(
                nonce: nonce, server: ServerID(word0: number, word1: 0, word2: 0, word3: 0), port: 1, capacity: 0,
                free: 0, holdsVolume: false, name: "")
        }
        collector.received(answer(5, 1), from: "10.0.0.1")
        #expect(collector.found.isEmpty)
        collector.sent(5)
        for number in 0..<5_000 { collector.received(answer(5, UInt64(number)), from: "10.0.0.1") }
        for number in 0..<50 { collector.received(answer(5, 7), from: "10.0.1.\(number)") }
        #expect(collector.found.count == 1_024)
        #expect(collector.found.first { $0.server.word0 == 7 }?.endpoints.count == 8)
        collector.finish()
        try await promise.futureResult.get()
    }
}

private final class DatagramCounter: Sendable {
    private let all = Mutex<[Int]>([])
    func add(_ size: Int) { all.withLock { $0.append(size) } }
    var sizes: [Int] { all.withLock { $0 } }
}

private final class CountingHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    private let counter: DatagramCounter

    init(_ counter: DatagramCounter) { self.counter = counter }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        counter.add(unwrapInboundIn(data).data.readableBytes)
    }
}
