import LanfsNetwork
import LanfsProtocol
import SystemPackage

/// Everything a person decides about a server.
public struct ServerConfiguration: Sendable {
    /// A volume that may use this server, and how many bytes of its disk at most.
    public struct Allowance: Hashable, Sendable {
        public var volume: VolumeID
        /// Bytes; `nil`: as much as the server has.
        public var quota: UInt64?

        public init(volume: VolumeID, quota: UInt64? = nil) {
            self.volume = volume
            self.quota = quota
        }
    }

    /// Identity and store; made, private, when missing.
    public var dataDirectory: FilePath
    /// Bytes lent in all; `nil`: what the disk has, less a reserve.
    public var capacity: UInt64?
    /// TCP. 0: the one used last time if it is free, else any, so that a restart keeps the address.
    public var port = 0
    /// UDP; 0 takes a free one.
    public var discoveryPort = DiscoveryResponder.standardPort
    /// For people; `nil`: the host's name.
    public var name: String?
    /// With none here and none in `authorizedFile`, any volume of this machine's own networks may come.
    public var allow: [Allowance] = []
    /// None: all addresses of this machine. An endpoint's port 0 means `port`.
    public var listen: [Endpoint] = []
    /// How long a deleted block stays on disk (G7).
    public var quarantine = Duration.seconds(24 * 3600)
    /// More volumes that may come, one `VOLUME-ID [QUOTA]` per line; read again when it changes.
    public var authorizedFile: FilePath?
    /// Bytes that each volume may use while there is no list; `nil`: as much as the server has.
    public var unlistedQuota: UInt64?
    /// Votes on the root and keeps no blocks.
    public var isWitness = false
    /// With the other servers of a volume.
    public var members = MemberOptions()

    /// From the handshake to `Request.open`.
    var openLimit = Duration.seconds(10)

    public init(dataDirectory: FilePath) {
        self.dataDirectory = dataDirectory
    }
}
