import Glibc
import NIOCore

/// How both ends set up their TCP sockets. `SO_SNDBUF` and `SO_RCVBUF` stay with the kernel, whose automatic sizing
/// finds more than a fixed figure that would switch it off (6 MiB received, 4 MiB sent, by Debian's defaults).
enum ConnectionOptions {
    static let all: [(option: ChannelOptions.Types.SocketOption, value: SocketOptionValue)] = [
        (.tcpOption(.tcp_nodelay), 1),
        // A peer that vanished while nothing is under way: gone after 5 + 3 x 2 s. While something is, the transport's
        // own signs of life are quicker.
        (.socketOption(.so_keepalive), 1),
        (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_KEEPIDLE)), 5),
        (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_KEEPINTVL)), 2),
        (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_KEEPCNT)), 3),
        // Sent and not acknowledged. Longer than the transport's own limits, because a server whose disk is slow stops
        // reading for a while, and the kernel counts that, too.
        (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_USER_TIMEOUT)), 30_000),
    ]

    /// Payloads are copied once, out of a receive buffer that stays in the CPU's cache, into memory of their own size;
    /// 256 KiB at a time cost few system calls and are reused for the next.
    static let receiveAllocator = AdaptiveRecvByteBufferAllocator(
        minimum: 16 * 1024, initial: 64 * 1024, maximum: 256 * 1024)
    static let chunksPerRead: UInt = 4
    static let waterMark = ChannelOptions.Types.WriteBufferWaterMark(low: 1 << 20, high: 4 << 20)
}
