/// What a forced recovery went on from (M3).
public struct RecoveryPoint: Equatable, Sendable {
    static let encodedSize = 8 + 8 + 8

    /// Tells it from every other, also from one that went on from the same root on the other side of a partition.
    public var id: UInt64
    public var sequence: UInt64
    /// The beginning of that root's hash.
    public var mark: UInt64

    init(id: UInt64, of base: RootRecord, _ verifier: some RecordVerifier) {
        self.id = id
        sequence = base.sequence
        mark = base.hash(verifier).mark
    }

    /// Whether a root that does not descend from this recovery is not one of its ancestors either.
    fileprivate func leavesBehind(_ memory: RollbackMemory) -> Bool {
        memory.sequence > sequence || memory.sequence == sequence && memory.hash.mark != mark
    }
}

/// The forced recoveries that a root descends from, the newest last: in the sealed contents of each root since.
///
/// Without one the roots of a volume form one chain, and `RollbackMemory.judge` is enough. Each may leave a part of that chain
/// behind, which may have gone on: by the word of those who were left there, or by another forced recovery.
public struct RecoveryHistory: Equatable, Sendable {
    /// A person says so each time. The oldest is forgotten then: who remembers no newer one is alarmed without need.
    static let limit = 16

    public private(set) var points: [RecoveryPoint] = []
    #if DEBUG
        /// F1 broken, to show that the simulator notices: any recovery is taken for the one that is remembered.
        var ignoresIdentity = false
        /// And only the newest is looked at.
        var looksAtNewestOnly = false
    #else
        var ignoresIdentity: Bool { false }
        var looksAtNewestOnly: Bool { false }
    #endif

    public init() {}

    public var newest: RecoveryPoint? { points.last }

    public mutating func add(_ point: RecoveryPoint) {
        points.append(point)
        points.removeFirst(max(0, points.count - Self.limit))
    }

    /// How a root with this history is related to one that was seen.
    public enum Relation: Equatable, Sendable {
        /// As far as recoveries go it descends from it, or is older.
        case sameSide
        /// A recovery went on without it.
        case leftBehind(by: RecoveryPoint)
        /// What was seen descends from a recovery of which this root knows nothing.
        case otherSide
    }

    /// F1, where keepers were lost.
    public func relation(to memory: RollbackMemory) -> Relation {
        var later = points[...]
        if let known = memory.recovery {
            if let index = points.firstIndex(where: { $0.id == known }) {
                later = points[(index + 1)...]
            } else if !ignoresIdentity {
                return .otherSide
            }
        }
        if looksAtNewestOnly { later = later.suffix(1) }
        return later.first { $0.leavesBehind(memory) }.map { .leftBehind(by: $0) } ?? .sameSide
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(list: points) {
            $0.append($1.id)
            $0.append($1.sequence)
            $0.append($1.mark)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        points = try reader.list(minimum: RecoveryPoint.encodedSize, limit: Self.limit) { (reader) throws(DecodingError) in
            RecoveryPoint(id: try reader.integer(), sequence: try reader.integer(), mark: try reader.integer())
        }
    }
}

extension RecoveryPoint {
    fileprivate init(id: UInt64, sequence: UInt64, mark: UInt64) {
        self.id = id
        self.sequence = sequence
        self.mark = mark
    }
}

extension RecordHash {
    fileprivate var mark: UInt64 { bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
}
