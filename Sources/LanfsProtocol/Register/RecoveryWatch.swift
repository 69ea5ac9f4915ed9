/// Which servers may still come back with a root that a recovery by force left behind (M3), or make one: at first all of the
/// volume's, since nobody knows who had what. One that is taken off the list is waited for no more; that is a person's word
/// (`drain`), or a proof that nobody needs it (B6).
public struct RecoveryWatch: Equatable, Sendable {
    /// What a server shows that answers.
    public enum Standing: Equatable, Sendable {
        /// A root that descends from the recovery, or none at all: it cannot vote on another side.
        case followed
        /// It is in an epoch from before, which has these keepers.
        case behind(Keepers)
    }

    /// In the order of their ids.
    public private(set) var awaited: [ServerID]
    #if DEBUG
        /// M3 broken, to show that the simulator notices: a side that can go on is taken for one that came back.
        var ignoresQuorum = false
    #else
        var ignoresQuorum: Bool { false }
    #endif

    public init(awaiting members: [ServerID]) { awaited = members.sorted() }

    /// Nobody has a root that is not known here, and too few are left to choose one.
    public var isOver: Bool { awaited.isEmpty }

    /// Takes note of who answers. What those that are behind have must be pinned by then, or with the same commit.
    public mutating func note(_ standings: [ServerID: Standing], members: [ServerID]) {
        awaited.removeAll { !members.contains($0) || standings[$0] == .followed }
        let (left, ignoresQuorum) = (awaited, ignoresQuorum)
        awaited.removeAll { server in
            guard case .behind(let keepers)? = standings[server] else { return false }
            // As long as a majority of that epoch may be there, it may go on without this side.
            return ignoresQuorum || keepers.members.count(where: left.contains) < keepers.quorum
        }
    }

    public func encode(into writer: inout ByteWriter) {
        writer.append(list: awaited) { $0.append($1) }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        awaited = try reader.list(minimum: ServerID.size, limit: VolumeConfig.serverLimit) { (reader) throws(DecodingError) in
            try reader.id()
        }
    }
}
