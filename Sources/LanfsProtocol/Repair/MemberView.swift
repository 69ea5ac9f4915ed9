/// What a server thinks of a member (B5).
public enum MemberHealth: UInt8, Sendable {
    case alive
    /// Not heard for a few seconds, or not yet since this process started: routed around, not replaced.
    case suspect
    /// Silent for the whole grace, as a majority of the active servers finds too: others take its place.
    case lost
}

/// How one server sees the membership at one moment: what repair and surplus drops are decided by.
public struct MemberView: Sendable {
    /// Whose view this is; to itself it is always alive.
    public let server: ServerID
    public let config: VolumeConfig
    /// In the order of `config.servers`.
    public let health: [MemberHealth]
    /// Rises whenever anything here changes, and when a member starts anew. What was found under another generation may
    /// not hold any more.
    public let generation: UInt64
    /// Rises when a member comes back or starts anew: what it holds may have changed.
    public let returns: UInt64
    let placement: BlockPlacement

    public init(
        server: ServerID, config: VolumeConfig, health: [MemberHealth], generation: UInt64, returns: UInt64
    ) {
        self.init(
            server: server, config: config, placement: BlockPlacement(config), health: health,
            generation: generation, returns: returns)
    }

    init(
        server: ServerID, config: VolumeConfig, placement: BlockPlacement, health: [MemberHealth],
        generation: UInt64, returns: UInt64
    ) {
        self.server = server
        self.config = config
        self.placement = placement
        self.health = health
        self.generation = generation
        self.returns = returns
    }

    /// A server that is no member is lost to everybody.
    public func health(of member: ServerID) -> MemberHealth {
        guard let place = config.place(of: member), config.servers[place].state != .gone else { return .lost }
        if member == server { return .alive }
        return health.indices.contains(place) ? health[place] : .suspect
    }

    /// Every member that has not left is alive.
    public var isCalm: Bool {
        config.servers.allSatisfy { $0.state == .gone || health(of: $0.server) == .alive }
    }

    /// Where the block's R copies belong: the first of its ranking that are not lost (B3). A draining server is not in
    /// the ranking, so nothing new goes there (B6).
    public func targets(of block: BlockID) -> [ServerID] {
        Array(placement.ranking(of: block).lazy.filter { health(of: $0) != .lost }.prefix(placement.replicas))
    }

    /// Where its copies belong when nobody is lost.
    public func home(of block: BlockID) -> [ServerID] { placement.replicas(of: block) }

    /// Whether a copy there counts as one of the R: those of a draining server are on their way out (B6).
    func counts(_ member: ServerID) -> Bool {
        guard let place = config.place(of: member) else { return false }
        return config.servers[place].takesBlocks && health(of: member) != .lost
    }

    /// Whether this server need not hold the block: it is none of those where it belongs now. A draining server keeps
    /// all it has: only a scan with the key ends its service (B6).
    public func isSurplus(_ block: BlockID) -> Bool {
        counts(server) && !targets(of: block).contains(server)
    }

    /// The others that can say now which blocks they hold: witnesses never hold any.
    var askable: [ServerID] {
        config.servers.filter { $0.server != server && $0.weight > 0 && health(of: $0.server) == .alive }.map(\.server)
    }

    /// Of these holders, those that can copy the block now, in the order in which it is their turn: by rank, so that
    /// two do not do the same; draining ones last.
    func sources(of block: BlockID, holders: [ServerID]) -> [ServerID] {
        let alive = holders.filter { health(of: $0) == .alive }
        let ranked = placement.ranking(of: block).filter { alive.contains($0) }
        return ranked + alive.filter { !ranked.contains($0) }.sorted()
    }

    /// Whether repair has to look at everything again: others are lost than before, or hold something else.
    func replaces(_ other: MemberView) -> Bool {
        if config.version != other.config.version || returns != other.returns { return true }
        return zip(health, other.health).contains { ($0 == .lost) != ($1 == .lost) }
    }
}

extension VolumeConfig {
    /// Where the server stands in the list, which is in order of id.
    func place(of server: ServerID) -> Int? {
        var low = 0
        var high = servers.count
        while low < high {
            let middle = (low + high) / 2
            if servers[middle].server < server { low = middle + 1 } else { high = middle }
        }
        return low < servers.count && servers[low].server == server ? low : nil
    }
}
