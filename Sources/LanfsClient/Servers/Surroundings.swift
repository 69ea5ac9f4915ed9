import LanfsNetwork
import LanfsProtocol

/// How servers are found while a volume is open.
public struct Surroundings: Sendable {
    /// Where a server may be now. Should take a second at most.
    public var resolve: @Sendable (ServerID) async -> [Endpoint]
    /// Servers that say that they have room, known ones among them.
    public var look: @Sendable () async -> [VolumeServer]

    public init(
        resolve: @escaping @Sendable (ServerID) async -> [Endpoint] = { _ in [] },
        look: @escaping @Sendable () async -> [VolumeServer] = { [] }
    ) {
        self.resolve = resolve
        self.look = look
    }
}
