import LanfsProtocol
import NIOCore
import NIOPosix
import Synchronization

@testable import LanfsNetwork

/// A client that sends whatever bytes it likes.
final class RawClient: Sendable {
    private struct State {
        var received: [UInt8] = []
        var isClosed = false
    }

    private let state = Mutex(State())
    private let channel = Mutex<(any Channel)?>(nil)

    static func connect(to endpoint: Endpoint) async throws -> RawClient {
        let client = RawClient()
        let channel = try await ClientBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Receiver(client))
                }
            }
            .connect(host: endpoint.host, port: endpoint.port).get()
        client.channel.withLock { $0 = channel }
        return client
    }

    func send(_ bytes: [UInt8]) { channel.withLock { $0 }?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }
    func close() { channel.withLock { $0 }?.close(promise: nil) }
    var received: [UInt8] { state.withLock { $0.received } }
    var isClosed: Bool { state.withLock { $0.isClosed } }

    private final class Receiver: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let client: RawClient

        init(_ client: RawClient) { self.client = client }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = Array(unwrapInboundIn(data).readableBytesView)
            client.state.withLock { $0.received += bytes }
        }

        func channelInactive(context: ChannelHandlerContext) { client.state.withLock { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

final class Outcomes: Sendable {
    private let results = Mutex<[Result<Reply, NetworkError>]>([])

    func add(_ result: Result<Reply, NetworkError>) { results.withLock { $0.append(result) } }
    var count: Int { results.withLock { $0.count } }
    var failures: [NetworkError] {
        results.withLock { $0 }.compactMap { if case .failure(let error) = $0 { error } else { nil } }
    }
}
