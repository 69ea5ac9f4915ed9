/// What a server has of a block when a copy of it arrives.
public enum LocalCopy: Equatable, Sendable {
    /// Nothing, or only a copy that is damaged.
    case absent
    case live(gcEpoch: UInt64)
    /// By a free or a sweep (G7).
    case quarantined(gcEpoch: UInt64)
}

/// The blocks that frees and sweeps named lately, held here or not, so that a copy that was on its way meanwhile does
/// not bring them back.
///
/// No commit can refer to a block again that a free or sweep took up to some tag, except under a higher tag (G2). So a
/// copy that carries no higher tag is garbage, whoever sends it: a server that was away while the others swept, or one
/// whose copy left before it heard of the sweep. Bounded: what is forgotten too early comes back at worst as garbage,
/// for the next collection.
public struct SweptBlocks: Sendable {
    private struct Note: Sendable {
        var cutoff: UInt64
        var since: Duration
    }

    private let limit: Int
    private let memory: Duration
    private var notes: [BlockID: Note] = [:]
    /// The order in which they were noted; before `first` all are forgotten.
    private var order: [(block: BlockID, since: Duration)] = []
    private var first = 0

    /// - Parameters:
    ///   - limit: how many blocks are remembered, the newest.
    ///   - memory: for how long: as long as quarantine lasts (G7).
    public init(limit: Int = 1 << 16, memory: Duration = .seconds(24 * 3600)) {
        self.limit = max(1, limit)
        self.memory = memory
    }

    public var count: Int { notes.count }

    /// These were freed or swept up to the tag `cutoff`, here or nowhere.
    public mutating func note(_ blocks: [BlockID], cutoff: UInt64, now: Duration) {
        for block in blocks {
            let highest = max(cutoff, notes[block]?.cutoff ?? 0)
            notes[block] = Note(cutoff: highest, since: now)
            order.append((block, now))
        }
        forget(now)
    }

    /// What to do with a copy that carries the tag `gcEpoch`: `.stored`: store it, with its tag; `.present`: only raise
    /// the tag to it (G1); `.swept`: refuse it.
    public func verdict(on block: BlockID, gcEpoch: UInt64, local: LocalCopy) -> CopyOutcome {
        switch local {
        case .live: return .present
        case .quarantined(let tag) where gcEpoch <= tag: return .swept
        case .absent, .quarantined: break
        }
        if let note = notes[block], gcEpoch <= note.cutoff { return .swept }
        return .stored
    }

    // MARK: On disk

    /// For the next process: the blocks with their tags and how long ago they were named.
    public func encoded(now: Duration) -> [UInt8] {
        let current = order[first...].filter { notes[$0.block]?.since == $0.since }
        var writer = ByteWriter(reserving: 4 + current.count * 48)
        writer.append(list: current) {
            $0.append($1.block)
            $0.append(notes[$1.block]?.cutoff ?? 0)
            $0.append(UInt64(max(0, (now - $1.since).components.seconds)))
        }
        return writer.bytes
    }

    /// Notes what an earlier process knew. The time between the two is not counted: remembering for longer refuses
    /// nothing that is needed.
    public mutating func restore(encoded bytes: [UInt8], now: Duration) throws(DecodingError) {
        var reader = ByteReader(bytes)
        let known = try reader.list(minimum: 48) { (reader) throws(DecodingError) in
            (
                block: try reader.id(BlockID.self), cutoff: try reader.integer(UInt64.self),
                age: try reader.integer(UInt64.self)
            )
        }
        try reader.finish()
        for known in known {
            note([known.block], cutoff: known.cutoff, now: now - .seconds(Int64(clamping: min(known.age, 1 << 40))))
        }
    }

    /// What is older than quarantine, or too much.
    public mutating func forget(_ now: Duration) {
        while first < order.count, notes.count > limit || order.count - first > 2 * limit
            || now - order[first].since > memory
        {
            let oldest = order[first]
            // Named again since: a later place in the order stands for it.
            if notes[oldest.block]?.since == oldest.since { notes[oldest.block] = nil }
            first += 1
        }
        if first > 64, first * 2 > order.count {
            order.removeFirst(first)
            first = 0
        }
    }
}
