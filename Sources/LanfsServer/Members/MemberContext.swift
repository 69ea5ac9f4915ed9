import LanfsProtocol
import Logging
import NIOCore
import Synchronization

/// What all volumes of a server share for talking to other servers.
struct MemberContext: Sendable {
    let server: ServerID
    let pins: MemberPins
    let group: any EventLoopGroup
    let threads: DiskThreads
    let failures: DiskFailures
    let options: MemberOptions
    /// 0: no search.
    let discoveryPort: Int
    /// For how long removed blocks are remembered (G7).
    let quarantine: Duration
    /// Takes no blocks.
    let isWitness: Bool
    let own = OwnAddresses()
    let logger: Logger
}

/// Where this server listens, once it does: the others are told.
final class OwnAddresses: Sendable {
    private let addresses = Mutex<[String]?>(nil)

    /// `nil`: nowhere yet, so it is too early to connect to anybody.
    var known: [String]? { addresses.withLock { $0 } }

    func set(_ listening: [String]) { addresses.withLock { $0 = listening } }
}
