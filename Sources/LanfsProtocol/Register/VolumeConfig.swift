/// The servers that vote on the root, and how many of them must agree.
public struct Keepers: Equatable, Sendable {
    public static let limit = 16

    public var members: [ServerID]
    /// Any two quorums share a keeper: more than half.
    public var quorum: Int

    public init(members: [ServerID], quorum: Int) {
        self.members = members
        self.quorum = quorum
    }

    /// A majority of these.
    public init(_ members: [ServerID]) {
        self.init(members: members, quorum: members.count / 2 + 1)
    }

    public var isValid: Bool {
        !members.isEmpty && members.count <= Self.limit && quorum * 2 > members.count && quorum <= members.count
            && Set(members).count == members.count
    }
}

/// A server of the volume, as the root record lists it (M1).
public struct Member: Equatable, Sendable {
    public enum State: UInt8, Sendable {
        /// Takes new blocks.
        case active = 0
        /// Still read from, takes nothing new (B6).
        case draining
        /// Taken out by a person, for good.
        case gone
        /// Silent for so long that others made its copies (B5): still asked for what it has, takes nothing new.
        /// ``VolumeConfig/following(_:)`` says how it gets in and out of this.
        case lost
    }

    public var server: ServerID
    public var state: State
    /// Its share of the blocks, in units of 8 GiB of capacity; 0 is a witness: a keeper without blocks.
    public var weight: UInt16

    public init(server: ServerID, state: State = .active, weight: UInt16) {
        self.server = server
        self.state = state
        self.weight = weight
    }

    /// Whether new blocks are placed there.
    public var takesBlocks: Bool { state == .active && weight > 0 }

    /// The weight of this many bytes of disk: at least 1.
    public static func weight(capacity: UInt64) -> UInt16 {
        UInt16(clamping: max(1, capacity >> 33))
    }
}

/// Who does what for the volume. Small on purpose: a hundred servers fit in one root record.
public struct VolumeConfig: Equatable, Sendable {
    public static let serverLimit = 255

    public var version: UInt64
    /// In ascending order of id; every keeper is one of them.
    public var servers: [Member]
    public var keepers: Keepers
    /// R: the copies of every block (B2).
    public var replicas: UInt8

    public init(version: UInt64, servers: [Member], keepers: Keepers, replicas: UInt8) {
        self.version = version
        self.servers = servers.sorted { $0.server < $1.server }
        self.keepers = keepers
        self.replicas = replicas
    }

    /// The configuration of the next epoch: other keepers, everything else as it was (M2).
    public func moved(to keepers: Keepers) -> VolumeConfig {
        var next = self
        next.version += 1
        next.keepers = keepers
        return next
    }

    /// W: how many servers must have flushed a commit's blocks (B2).
    public var requiredCopies: Int {
        min(Int(replicas), servers.count(where: \.takesBlocks))
    }
}

extension VolumeConfig {
    func encode(into writer: inout ByteWriter) {
        writer.append(version)
        writer.append(replicas)
        writer.append(UInt8(clamping: servers.count))
        for member in servers {
            writer.append(member.server)
            writer.append(member.state.rawValue)
            writer.append(member.weight)
        }
        encode(keepers, into: &writer)
    }

    /// Keepers are servers, so one byte each says which.
    func encode(_ keepers: Keepers, into writer: inout ByteWriter) {
        writer.append(UInt8(clamping: keepers.quorum))
        writer.append(UInt8(clamping: keepers.members.count))
        for keeper in keepers.members {
            writer.append(UInt8(clamping: servers.firstIndex { $0.server == keeper } ?? 255))
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        version = try reader.integer()
        replicas = try reader.integer()
        guard replicas > 0 else { throw .invalid(what: "the number of copies") }
        let count = Int(try reader.integer(UInt8.self))
        servers = []
        for _ in 0..<count {
            let server: ServerID = try reader.id()
            if let last = servers.last, server <= last.server { throw .invalid(what: "the order of the servers") }
            guard let state = Member.State(rawValue: try reader.integer()) else {
                throw .invalid(what: "the state of a server")
            }
            servers.append(Member(server: server, state: state, weight: try reader.integer()))
        }
        keepers = Keepers(members: [], quorum: 1)
        keepers = try keepers(from: &reader)
    }

    func keepers(from reader: inout ByteReader) throws(DecodingError) -> Keepers {
        let quorum = Int(try reader.integer(UInt8.self))
        let count = Int(try reader.integer(UInt8.self))
        var members: [ServerID] = []
        for _ in 0..<count {
            let index = Int(try reader.integer(UInt8.self))
            guard index < servers.count else { throw .invalid(what: "a keeper") }
            members.append(servers[index].server)
        }
        let keepers = Keepers(members: members, quorum: quorum)
        guard keepers.isValid else { throw .invalid(what: "the set of keepers") }
        return keepers
    }
}
