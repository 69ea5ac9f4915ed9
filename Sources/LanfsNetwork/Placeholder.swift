import NIOPosix
import NIOCore
public func probeNIO() async throws -> String { 
  let g = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  let s = try await ServerBootstrap(group: g).bind(host: "127.0.0.1", port: 0).get()
  return "\(s.localAddress!)" }
