import LanfsNetwork
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import LanfsClient

/// Stands before a server. Frozen, it is like a process that was stopped: connections are open and made, and nothing comes.
/// Slow, it lets little through, and goes on doing so.
final class Wall: Sendable {
    private struct State {
        var target: Int
        var isFrozen = false
        var channels: [any Channel] = []
    }

    private let state: Mutex<State>
    private let listener = Mutex<(any Channel)?>(nil)
    /// Bytes a second from the client; 0: as many as come.
    private let rate = Atomic(0)
    var port: Int { listener.withLock { $0?.localAddress?.port } ?? 0 }

    init(before target: Int) async throws {
        state = Mutex(State(target: target))
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { [self] client in
                ClientBootstrap(group: client.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .connect(host: "127.0.0.1", port: state.withLock { $0.target })
                    .flatMapThrowing { server in
                        try client.pipeline.syncOperations.addHandler(
                            Forwarder(to: server) { [self] in rate.load(ordering: .relaxed) })
                        try server.pipeline.syncOperations.addHandler(Forwarder(to: client))
                        let isFrozen = self.state.withLock { state in
                            state.channels += [client, server]
                            return state.isFrozen
                        }
                        // The client's channel becomes active only after this initializer.
                        if !isFrozen {
                            client.eventLoop.execute {
                                for channel in [client, server] { _ = channel.setOption(.autoRead, value: true) }
                            }
                        }
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        listener.withLock { $0 = channel }
    }

    func freeze(_ isFrozen: Bool) {
        let channels = state.withLock { state in
            state.isFrozen = isFrozen
            return state.channels
        }
        for channel in channels { _ = channel.setOption(.autoRead, value: !isFrozen) }
    }

    func slow(to rate: Int) { self.rate.store(rate, ordering: .relaxed) }

    /// The server was started again, elsewhere.
    func lead(to target: Int) { state.withLock { $0.target = target } }

    deinit { listener.withLock { _ = $0?.close() } }

    private final class Forwarder: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let other: any Channel
        private let rate: () -> Int

        init(to other: any Channel, rate: @escaping () -> Int = { 0 }) {
            self.other = other
            self.rate = rate
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            other.writeAndFlush(bytes, promise: nil)
            let rate = rate()
            guard rate > 0 else { return }
            let (channel, time) = (context.channel, TimeAmount.nanoseconds(Int64(bytes.readableBytes) * 1_000_000_000 / Int64(rate)))
            _ = channel.setOption(.autoRead, value: false)
            channel.eventLoop.scheduleTask(in: time) { _ = channel.setOption(.autoRead, value: true) }
        }
        func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    }
}

/// B3: routed around within a second, never waited for in line.
@Suite(.serialized) struct `A server in trouble in the middle of a stream` {
    enum Trouble: CaseIterable { case frozen, stopped, full, slow }

    @Test(arguments: Trouble.allCases)
    func `delays no write and no fsync by more than about a second`(_ trouble: Trouble) async throws {
        let cluster = Cluster(hasWalls: true)
        let volume = try await cluster.make(of: 0..<3, keepers: 3)
        if trouble == .full {
            try await cluster.start([3], capacity: 12 << 20)
            try await cluster.take(in: 0..<4, to: volume)
        }
        let bytes = pattern(3 << 19)
        var longest = Duration.zero
        func timed(_ body: () async throws -> Void) async rethrows {
            let start = ContinuousClock.now
            try await body()
            longest = max(longest, ContinuousClock.now - start)
        }
        let count = 18
        for number in 0..<count {
            if number == 4 {
                switch trouble {
                case .frozen: cluster.freeze(1, true)
                case .stopped: Task { await cluster.stop(1) }
                case .slow: cluster.slow(1, to: 500_000)
                case .full: break
                }
            }
            try await timed { try await volume.put(Array(bytes[number...]), as: "\(number)") }
            if number % 3 == 0 { try await timed { try await volume.save().get() } }
        }
        try await timed { try await volume.save().get() }
        #expect(longest < .milliseconds(1700), "the longest stall was \(longest)")
        try await timed { _ = try await volume.close() }
        #expect(longest < .seconds(3), "or closing took \(longest)")

        longest = .zero
        var again: Volume?
        try await timed { again = try await cluster.open(at: [0, 1, 2]) }
        #expect(longest < .seconds(3), "opening took \(longest)")
        let second = try #require(again)
        for number in 0..<count { #expect(try await second.contents(of: "\(number)") == Array(bytes[number...])) }
        _ = try await second.close()
        cluster.freeze(1, false)
        await cluster.stopAll()
    }

    /// Never quiet, and never done: each answer comes half a second after the one before.
    @Test func `is not waited for where it only answers slowly, and others are done`() async throws {
        let cluster = Cluster(hasWalls: true)
        let volume = try await cluster.make(of: 0..<3)
        try await volume.put(pattern(100), as: "the lease")
        try await volume.save().get()
        cluster.slow(1, to: 200_000)
        let start = ContinuousClock.now
        for number in 0..<36 {
            let frames = (0..<6).map { pattern(16_000 + number * 6 + $0) }
            try await volume.blocks.upload(SealedBlock(frames: frames), gcEpoch: 0)
        }
        try await volume.blocks.flush()
        let time = ContinuousClock.now - start
        #expect(time < .seconds(3), "the flush came after \(time)")
        cluster.slow(1, to: 0)
        _ = try await volume.close()
        await cluster.stopAll()
    }
}
