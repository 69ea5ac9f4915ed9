/// The blocks that lack copies, those with the fewest first (B5). Bounded: when it is full, what has more copies makes
/// room, and has to be found again.
struct RepairQueue: Sendable {
    struct Entry: Sendable {
        var block: BlockID
        /// Bytes.
        var length: Int
        /// How many count as one of the R.
        var copies: Int
        /// Where copies belong and are not, first choice first.
        var missing: [ServerID]
        var found: Duration
        /// How many live holders come before this one.
        var turn: Int
        /// It was found among the blocks that follow this one.
        var page = BlockID.zero

        func precedes(_ other: Entry) -> Bool { (copies, block) < (other.copies, other.block) }
    }

    private(set) var entries: [Entry] = []
    /// Looked up only: by the copies, an entry is found in the order.
    private var copies: [BlockID: Int] = [:]
    private let limit: Int
    /// All that was left out for lack of room is among the blocks that follow this one.
    var leftOut: BlockID?

    init(limit: Int) {
        self.limit = max(1, limit)
    }

    /// Takes the place of what was known of the block, but for when it was first found.
    mutating func put(_ entry: Entry) {
        var entry = entry
        if let old = remove(entry.block) { entry.found = old.found }
        if entries.count == limit, let last = entries.last {
            let isBetter = entry.precedes(last)
            let page = isBetter ? last.page : entry.page
            leftOut = min(leftOut ?? page, page)
            guard isBetter else { return }
            remove(last.block)
        }
        entries.insert(entry, at: place(entry.copies, entry.block))
        copies[entry.block] = entry.copies
    }

    @discardableResult
    mutating func remove(_ block: BlockID) -> Entry? {
        guard let count = copies.removeValue(forKey: block) else { return nil }
        return entries.remove(at: place(count, block))
    }

    /// Worth looking for more.
    var hasRoom: Bool { entries.count <= limit / 2 }

    subscript(block: BlockID) -> Entry? { copies[block].map { entries[place($0, block)] } }

    /// Changes every entry; those that lack nothing any more go.
    mutating func revise(_ change: (inout Entry) -> Void) {
        var left: [Entry] = []
        for var entry in entries {
            change(&entry)
            if entry.missing.isEmpty { copies[entry.block] = nil } else { left.append(entry) }
        }
        entries = left
    }

    /// Where the entry with these is, or belongs.
    private func place(_ count: Int, _ block: BlockID) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            let isBefore = (entries[middle].copies, entries[middle].block) < (count, block)
            if isBefore { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
