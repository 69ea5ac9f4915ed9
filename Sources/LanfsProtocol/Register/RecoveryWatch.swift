/// Which servers may still come back with a root that a recovery by force left behind (M3), or make one: at first all of the
/// volume's, since nobody knows who had what. One that is taken off the list is waited for no more; that is a person's word
/// (`drain`), or a proof that nobody needs it (B6).
public struct RecoveryWatch: Equatable, Sendable {
    /// What a server shows that answers.
    public enum Standing: Equatable, Sendable {
        /// A root that descends from the recovery, or that it lost its memory: it cannot vote on another side.
        case followed
        /// No root at all. Another side may still make it a keeper (M2).
        case empty
        /// It is in an epoch from before, which has the first of these keepers; and may have sealed it for the next ones.
        case behind([Keepers])
    }

    private struct Doubt: Equatable, Sendable {
        enum Kind: UInt8 {
            case unseen = 0
            /// It had no root when it was seen, and no side is known to have gone there.
            case empty
            /// A side that was left behind has it for a keeper, or is about to.
            case keeper
        }

        static let encodedSize = ServerID.size + 1

        var server: ServerID
        var kind: Kind
    }

    /// In the order of their ids.
    private var doubts: [Doubt]
    #if DEBUG
        /// M3 broken, to show that the simulator notices: a side that can go on is taken for one that came back.
        var ignoresQuorum = false
        /// And nobody looks where a side went.
        var ignoresSeals = false
    #else
        var ignoresQuorum: Bool { false }
        var ignoresSeals: Bool { false }
    #endif

    public init(awaiting members: [ServerID]) { doubts = members.sorted().map { Doubt(server: $0, kind: .unseen) } }

    /// In the order of their ids.
    public var awaited: [ServerID] { doubts.filter { $0.kind != .empty }.map(\.server) }

    /// Nobody has a root that is not known here, and too few are left to choose one.
    public var isOver: Bool { awaited.isEmpty }

    /// Takes note of who answers. What those that are behind have must be pinned by then, or with the same commit; and no
    /// server may follow whose root was not taken note of before.
    public mutating func note(_ standings: [ServerID: Standing], members: [ServerID]) {
        doubts.removeAll { !members.contains($0.server) || standings[$0.server] == .followed }
        var keepers: Set<ServerID> = []
        for case .behind(let sets) in standings.values { keepers.formUnion(sets.flatMap(\.members)) }
        for index in doubts.indices {
            // A side may have moved since, to servers that had no root then. A majority voted for that, so of those that come
            // back one shows it before too few are left to vote.
            if keepers.contains(doubts[index].server), !ignoresSeals {
                doubts[index].kind = .keeper
            } else if doubts[index].kind == .unseen, standings[doubts[index].server] == .empty {
                doubts[index].kind = .empty
            }
        }
        let (left, ignoresQuorum) = (awaited, ignoresQuorum)
        doubts.removeAll { doubt in
            guard case .behind(let keepers)? = standings[doubt.server] else { return false }
            // As long as a majority of an epoch may be there, it may go on without this side.
            return ignoresQuorum || keepers.allSatisfy { $0.members.count(where: left.contains) < $0.quorum }
        }
    }

    public func encode(into writer: inout ByteWriter) {
        writer.append(list: doubts) {
            $0.append($1.server)
            $0.append($1.kind.rawValue)
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        doubts = try reader.list(minimum: Doubt.encodedSize, limit: VolumeConfig.serverLimit) { (reader) throws(DecodingError) in
            let server: ServerID = try reader.id()
            guard let kind = Doubt.Kind(rawValue: try reader.integer()) else { throw .invalid(what: "what is known of a server") }
            return Doubt(server: server, kind: kind)
        }
    }
}
