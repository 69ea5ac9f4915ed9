import LanfsProtocol
import NIOCore
import NIOPosix
import Synchronization

/// A server that answered. A hint: what it says is believed only after the handshake.
public struct FoundServer: Sendable, Equatable {
    public let server: ServerID
    public let name: String
    /// The addresses it answered from, the first to answer first.
    public internal(set) var endpoints: [Endpoint]
    /// Bytes.
    public let capacity: UInt64
    public let free: UInt64
    public internal(set) var holdsVolume: Bool
    /// The shortest seen.
    public internal(set) var roundTrip: Duration
}

/// The client's call into the dark: who is there?
public struct ServerSearch: Sendable {
    public var port = DiscoveryResponder.standardPort
    /// Servers with less free room, in bytes, stay silent.
    public var need: UInt64 = 0
    /// `Discovery.token` of the volume for a nonce; 0 asks for no volume.
    public var volumeToken: @Sendable (_ nonce: UInt128) -> UInt128 = { _ in 0 }
    /// Asked by unicast on top of the broadcasts: hosts with their discovery port.
    public var hosts: [Endpoint] = []
    public var wait = Duration.milliseconds(700)
    /// Stops as soon as this one has answered.
    public var wanted: ServerID?
    public var reach = Reach.everyInterface

    /// Where broadcasts go; `hosts` are asked in any case.
    public enum Reach: Sendable {
        case everyInterface, loopback, nowhere
    }

    public init() {}

    /// Asks three times (datagrams get lost) on every interface that has an IPv4 address, and on loopback for servers
    /// of this machine when it has no network at all. Each interface has a socket of its own, bound to its address, so
    /// that no default route is needed. Sorted by round trip.
    public func run(group: any EventLoopGroup) async throws(NetworkError) -> [FoundServer] {
        let eventLoop = group.any()
        let collector = AnswerCollector(wanted: wanted, done: eventLoop.makePromise())
        let (sockets, failure) = await open(eventLoop, collector)
        defer { for socket in sockets { socket.channel.close(promise: nil) } }
        guard !sockets.isEmpty else {
            collector.finish()
            throw failure ?? .cannotSearch(reason: "this machine has no network interface with an IPv4 address")
        }

        let timer = eventLoop.scheduleTask(in: TimeAmount(wait)) { collector.finish() }
        let sender = Task { await send(on: sockets, collector) }
        await withTaskCancellationHandler {
            _ = try? await collector.done.futureResult.get()
        } onCancel: {
            collector.finish()
        }
        timer.cancel()
        sender.cancel()
        if Task.isCancelled { throw .cancelled }
        // A name that was spelled wrong is the likelier reason.
        if collector.found.isEmpty, let failure, case .unresolvable = failure { throw failure }
        return collector.found
    }

    private struct Socket: Sendable {
        let channel: any Channel
        let targets: [SocketAddress]
    }

    private func send(on sockets: [Socket], _ collector: AnswerCollector) async {
        let pauses: [ClosedRange<Int>] = [0...20, 80...140, 180...260]
        for pause in pauses {
            // Chance keeps clients that start together (after a power cut) from asking together.
            guard (try? await Task.sleep(for: .milliseconds(Int.random(in: pause)))) != nil else { return }
            let nonce = UInt128.random(in: 1...UInt128.max)
            let query = DiscoveryQuery(nonce: nonce, need: need, volumeToken: volumeToken(nonce)).encoded
            collector.sent(nonce)
            for socket in sockets {
                for target in socket.targets {
                    // An interface that is down refuses; the others still ask.
                    socket.channel.writeAndFlush(
                        AddressedEnvelope(remoteAddress: target, data: ByteBuffer(bytes: query)), promise: nil)
                }
            }
        }
    }

    private func open(
        _ eventLoop: any EventLoop, _ collector: AnswerCollector
    ) async -> (sockets: [Socket], failure: NetworkError?) {
        var sockets: [Socket] = []
        var failure: NetworkError?
        var plans = reach == .nowhere ? [] : BroadcastPlan.ofThisMachine(port: port)
        if reach == .loopback { plans.removeAll { !$0.source.hasPrefix("127.") } }
        for host in hosts {
            do throws(NetworkError) {
                for address in try await host.addresses() {
                    let isV6 = if case .v6 = address { true } else { false }
                    plans.append(BroadcastPlan(source: isV6 ? "::" : "0.0.0.0", targets: [address]))
                }
            } catch {
                failure = error
            }
        }
        for plan in plans {
            do {
                let channel = try await DatagramBootstrap(group: eventLoop)
                    .channelOption(.socketOption(.so_broadcast), value: 1)
                    .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 2048))
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHandler(AnswerReceiver(collector))
                        }
                    }
                    .bind(host: plan.source, port: 0).get()
                sockets.append(Socket(channel: channel, targets: plan.targets))
            } catch {
                failure = .cannotSearch(reason: "\(plan.source): \(reason(of: error))")
            }
        }
        return (sockets, failure)
    }
}

/// From which address of this machine to which addresses.
struct BroadcastPlan: Equatable {
    let source: String
    let targets: [SocketAddress]

    static func ofThisMachine(port: Int) -> [BroadcastPlan] {
        var plans: [BroadcastPlan] = []
        for device in (try? System.enumerateDevices()) ?? [] {
            guard case .v4 = device.address, let source = device.address?.ipAddress else { continue }
            // A bound source address makes the kernel send even 255.255.255.255 through its interface; the interface's
            // own broadcast address reaches hosts that ignore that one.
            let isLoopback = source.hasPrefix("127.")
            let targets =
                isLoopback
                ? ["127.255.255.255", "127.0.0.1"]
                : [device.broadcastAddress?.ipAddress, "255.255.255.255"].compactMap { $0 }
            let plan = BroadcastPlan(
                source: source, targets: targets.compactMap { try? SocketAddress(ipAddress: $0, port: port) })
            if !plans.contains(plan) { plans.append(plan) }
        }
        return plans
    }
}

private final class AnswerReceiver: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let collector: AnswerCollector

    init(_ collector: AnswerCollector) { self.collector = collector }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard envelope.data.readableBytes <= Discovery.answerLimit, let host = envelope.remoteAddress.ipAddress,
            let answer = try? DiscoveryAnswer(encoded: Array(envelope.data.readableBytesView))
        else { return }
        collector.received(answer, from: host)
    }

    /// "Port unreachable" or "network unreachable" for one target ends nothing.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

/// What came back, from all sockets of one search.
final class AnswerCollector: Sendable {
    private struct State {
        var sent: [(nonce: UInt128, time: NIODeadline)] = []
        var servers: [FoundServer] = []
        var isDone = false
    }

    let done: EventLoopPromise<Void>
    private let wanted: ServerID?
    private let state = Mutex(State())
    /// Answers can be invented by the thousand; a LAN has a hundred servers.
    private let serverLimit = 1024
    private let endpointLimit = 8

    init(wanted: ServerID?, done: EventLoopPromise<Void>) {
        self.wanted = wanted
        self.done = done
    }

    var found: [FoundServer] {
        state.withLock { $0.servers }.sorted { ($0.roundTrip, $0.server) < ($1.roundTrip, $1.server) }
    }

    func sent(_ nonce: UInt128) { state.withLock { $0.sent.append((nonce, .now())) } }

    func received(_ answer: DiscoveryAnswer, from host: String) {
        guard answer.port > 0 else { return }
        state.withLock { state in
            guard let sent = state.sent.first(where: { $0.nonce == answer.nonce }) else { return }
            let roundTrip = Duration.nanoseconds((NIODeadline.now() - sent.time).nanoseconds)
            let endpoint = Endpoint(host: host, port: Int(answer.port))
            if let index = state.servers.firstIndex(where: { $0.server == answer.server }) {
                state.servers[index].roundTrip = min(state.servers[index].roundTrip, roundTrip)
                if answer.holdsVolume { state.servers[index].holdsVolume = true }
                if !state.servers[index].endpoints.contains(endpoint),
                    state.servers[index].endpoints.count < endpointLimit
                {
                    state.servers[index].endpoints.append(endpoint)
                }
            } else if state.servers.count < serverLimit {
                state.servers.append(
                    FoundServer(
                        server: answer.server, name: answer.name, endpoints: [endpoint], capacity: answer.capacity,
                        free: answer.free, holdsVolume: answer.holdsVolume, roundTrip: roundTrip))
            }
        }
        if answer.server == wanted { finish() }
    }

    func finish() {
        let isFirst = state.withLock { state in
            defer { state.isDone = true }
            return !state.isDone
        }
        if isFirst { done.succeed() }
    }
}
