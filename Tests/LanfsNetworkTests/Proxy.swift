import NIOCore
import NIOPosix
import Synchronization

@testable import LanfsNetwork

/// Stands between client and server as somebody on the LAN could: sees every byte, changes, drops and repeats them.
final class Proxy: Sendable {
    enum Direction: Sendable {
        case toServer, toClient
    }

    enum Action: Sendable {
        case pass
        case flip(Direction, offset: Int)
        /// Closes both sides after so many bytes of this direction.
        case cut(Direction, after: Int)
        /// Swallows everything from this offset on, keeping the connections open.
        case stall(Direction, after: Int)
    }

    private struct State {
        var action = Action.pass
        var target: Endpoint
        var toServer: [[UInt8]] = []
        var toClient: [[UInt8]] = []
        var channels: [any Channel] = []
    }

    private let state: Mutex<State>
    private let listener = Mutex<(any Channel)?>(nil)

    init(to target: Endpoint) async throws {
        state = Mutex(State(target: target))
        let channel = try await ServerBootstrap(group: group)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { [self] client in
                let index = state.withLock { state in
                    state.toServer.append([])
                    state.toClient.append([])
                    state.channels.append(client)
                    return state.toServer.count - 1
                }
                let target = state.withLock { $0.target }
                return ClientBootstrap(group: client.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .connect(host: target.host, port: target.port)
                    .flatMapThrowing { server in
                        self.state.withLock { $0.channels.append(server) }
                        try client.pipeline.syncOperations.addHandler(
                            Forwarder(to: server, .toServer, index, self))
                        try server.pipeline.syncOperations.addHandler(
                            Forwarder(to: client, .toClient, index, self))
                        _ = server.setOption(.autoRead, value: true)
                        // The client's channel becomes active only after this initializer.
                        client.eventLoop.execute { _ = client.setOption(.autoRead, value: true) }
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        listener.withLock { $0 = channel }
    }

    var endpoint: Endpoint { Endpoint(host: "127.0.0.1", port: listener.withLock { $0?.localAddress?.port ?? 0 }) }

    func set(_ action: Action) { state.withLock { $0.action = action } }

    /// What went by, per connection, as the receiver got it.
    func recorded(_ direction: Direction) -> [[UInt8]] {
        state.withLock { direction == .toServer ? $0.toServer : $0.toClient }
    }

    func close() async {
        try? await listener.withLock { $0 }?.close()
        for channel in state.withLock({ $0.channels }) { channel.close(promise: nil) }
    }

    /// Leaves the bytes of a direction in the kernel, so that its sender's window closes.
    func stopReading(_ direction: Direction) async {
        // Channels come in pairs: the client's, then the server's.
        let channels = state.withLock { $0.channels }
        for (index, channel) in channels.enumerated() where (index % 2 == 0) == (direction == .toServer) {
            try? await channel.setOption(.autoRead, value: false).get()
        }
    }

    /// What to send on, and whether to close then.
    fileprivate func forward(_ bytes: [UInt8], _ direction: Direction, _ index: Int) -> (bytes: [UInt8], close: Bool) {
        state.withLock { state in
            let start = direction == .toServer ? state.toServer[index].count : state.toClient[index].count
            var out = bytes
            var close = false
            switch state.action {
            case .flip(direction, let offset) where (start..<start + bytes.count).contains(offset):
                out[offset - start] ^= 0x04
            case .cut(direction, let limit) where start + bytes.count >= limit:
                out = Array(bytes.prefix(max(0, limit - start)))
                close = true
            case .stall(direction, let limit) where start + bytes.count >= limit:
                out = Array(bytes.prefix(max(0, limit - start)))
            default: break
            }
            if direction == .toServer { state.toServer[index] += bytes } else { state.toClient[index] += bytes }
            return (out, close)
        }
    }
}

private final class Forwarder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let direction: Proxy.Direction
    private let index: Int
    private let proxy: Proxy

    init(to other: any Channel, _ direction: Proxy.Direction, _ index: Int, _ proxy: Proxy) {
        self.other = other
        self.direction = direction
        self.index = index
        self.proxy = proxy
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let (bytes, close) = proxy.forward(Array(unwrapInboundIn(data).readableBytesView), direction, index)
        if !bytes.isEmpty { other.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
        if close {
            other.close(promise: nil)
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
