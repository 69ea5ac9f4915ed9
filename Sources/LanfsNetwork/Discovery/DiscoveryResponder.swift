import Glibc
import LanfsProtocol
import Logging
import NIOCore
import NIOPosix

/// The server's ear: answers discovery queries, by unicast, never with more bytes than it was asked with, and not too
/// often.
///
/// Several servers of one machine, also of different users, listen on the same port. The kernel gives a broadcast to
/// all of them and a unicast query to one (the last that started), so `--server HOST` without a port finds one of
/// HOST's servers; the others are named by their TCP port or given a discovery port of their own.
public final class DiscoveryResponder: Sendable {
    public static let standardPort = 4444

    private let channels: [any Channel]

    private init(_ channels: [any Channel]) { self.channels = channels }

    public var port: Int { channels.first?.localAddress?.port ?? 0 }

    /// `answer` runs on an event loop: it must not block. `nil` stays silent (not enough room). Port 0 takes a free
    /// one.
    public static func bind(
        port: Int = standardPort, group: any EventLoopGroup, limits: DiscoveryLimits = DiscoveryLimits(),
        logger: Logger,
        answer: @escaping @Sendable (DiscoveryQuery) -> DiscoveryAnswer?
    ) async throws(NetworkError) -> DiscoveryResponder {
        let bootstrap = DatagramBootstrap(group: group)
            // And not SO_REUSEPORT, which lets only one user's processes share the port.
            .channelOption(.socketOption(.so_reuseaddr), value: 1)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 2048))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        DiscoveryAnswerer(limits: limits, logger: logger, answer: answer))
                }
            }
        do {
            var channels = [try await bootstrap.bind(host: "0.0.0.0", port: port).get()]
            // For unicast queries to an IPv6 address; a kernel without IPv6 does without.
            let options = bootstrap.channelOption(
                .socket(SocketOptionLevel(IPPROTO_IPV6), SocketOptionName(IPV6_V6ONLY)), value: 1)
            if let port = channels[0].localAddress?.port,
                let channel = try? await options.bind(host: "::", port: port).get()
            {
                channels.append(channel)
            }
            return DiscoveryResponder(channels)
        } catch {
            throw .cannotListen(address: "UDP port \(port)", reason: reason(of: error))
        }
    }

    public func close() async {
        for channel in channels { _ = try? await channel.close() }
    }
}

private final class DiscoveryAnswerer: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let logger: Logger
    private let answer: @Sendable (DiscoveryQuery) -> DiscoveryAnswer?
    private var limiter: RateLimiter

    init(
        limits: DiscoveryLimits, logger: Logger, answer: @escaping @Sendable (DiscoveryQuery) -> DiscoveryAnswer?
    ) {
        self.logger = logger
        self.answer = answer
        limiter = RateLimiter(limits, now: .now())
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        // The limit comes before any work, and silence is the answer to garbage.
        guard let source = envelope.remoteAddress.ipAddress, let port = envelope.remoteAddress.port, port > 0,
            envelope.data.readableBytes == Discovery.querySize, limiter.admits(source, now: .now()),
            let query = try? DiscoveryQuery(encoded: Array(envelope.data.readableBytesView)),
            let encoded = answer(query)?.encoded
        else { return }
        guard encoded.count <= envelope.data.readableBytes else {
            return logger.error("a discovery answer longer than its query was not sent")
        }
        let reply = AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: ByteBuffer(bytes: encoded))
        context.writeAndFlush(wrapOutboundOut(reply), promise: nil)
    }

    /// Such as "port unreachable" of somebody who left: about one datagram, not about the socket.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("discovery socket", metadata: ["error": "\(reason(of: error))"])
    }
}
