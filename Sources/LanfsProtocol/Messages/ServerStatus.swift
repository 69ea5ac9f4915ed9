/// Bytes of disk, as the server counts them for the volume of this connection, and how it sees the others.
public struct ServerStatus: Equatable, Sendable {
    public var capacity: UInt64
    public var free: UInt64
    public var usedByVolume: UInt64
    public var blocks: UInt64
    /// `nil`: nobody has told this server yet who its volume's members are.
    public var membership: MembershipStatus?

    public init(
        capacity: UInt64, free: UInt64, usedByVolume: UInt64, blocks: UInt64, membership: MembershipStatus? = nil
    ) {
        self.capacity = capacity
        self.free = free
        self.usedByVolume = usedByVolume
        self.blocks = blocks
        self.membership = membership
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(capacity)
        writer.append(free)
        writer.append(usedByVolume)
        writer.append(blocks)
        writer.append(optional: membership) { $1.encode(into: &$0) }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        capacity = try reader.integer()
        free = try reader.integer()
        usedByVolume = try reader.integer()
        blocks = try reader.integer()
        membership = try reader.optional { (reader) throws(DecodingError) in try MembershipStatus(from: &reader) }
    }
}

/// What one server knows of its volume's members and does for the copies of its blocks.
public struct MembershipStatus: Equatable, Sendable {
    public struct Seen: Equatable, Sendable {
        public var server: ServerID
        public var health: MemberHealth

        public init(server: ServerID, health: MemberHealth) {
            self.server = server
            self.health = health
        }
    }

    public var epoch: UInt64
    public var configVersion: UInt64
    /// Those that have not left, itself among them.
    public var members: [Seen]
    /// Copies that this server means to make, and those it is making.
    public var copiesWaiting: UInt32
    public var copiesUnderWay: UInt32
    /// Bytes a second that it copied to others lately.
    public var repairRate: UInt64
    /// It takes nothing new, and the others take over what it has (B6).
    public var isDraining: Bool

    public init(
        epoch: UInt64, configVersion: UInt64, members: [Seen], copiesWaiting: UInt32 = 0, copiesUnderWay: UInt32 = 0,
        repairRate: UInt64 = 0, isDraining: Bool = false
    ) {
        self.epoch = epoch
        self.configVersion = configVersion
        self.members = members
        self.copiesWaiting = copiesWaiting
        self.copiesUnderWay = copiesUnderWay
        self.repairRate = repairRate
        self.isDraining = isDraining
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(epoch)
        writer.append(configVersion)
        writer.append(list: members) {
            $0.append($1.server)
            $0.append($1.health.rawValue)
        }
        writer.append(copiesWaiting)
        writer.append(copiesUnderWay)
        writer.append(repairRate)
        writer.append(isDraining)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        epoch = try reader.integer()
        configVersion = try reader.integer()
        members = try reader.list(minimum: 33, limit: VolumeConfig.serverLimit) { (reader) throws(DecodingError) in
            let server: ServerID = try reader.id()
            guard let health = MemberHealth(rawValue: try reader.integer()) else {
                throw .invalid(what: "the health of a server")
            }
            return Seen(server: server, health: health)
        }
        copiesWaiting = try reader.integer()
        copiesUnderWay = try reader.integer()
        repairRate = try reader.integer()
        isDraining = try reader.bool()
    }
}
