import LanfsProtocol

/// Where every block of a volume is: at most 64 bytes of memory a block (architecture.md 5), also while it grows.
///
/// Entries (48 bytes) lie in chunks that never move. Over them 256 tables, by the id's first byte, hold entry numbers
/// by open addressing. Ids are hashes, so their leading bits serve as the hash: the place in the table rises with the
/// id, a cluster is kept sorted, and so each table is in id order from end to end. That gives `list(after:)` without a
/// second structure, and a table that grows holds up a put by 1/256 of the work.
final class BlockIndex {
    /// 40 bits: a collection every second for 34,000 years.
    static let epochLimit: UInt64 = 1 << 40 - 1
    static let generationLimit: UInt16 = 1 << 10 - 1

    enum State: UInt64 {
        case live = 0
        case freed, swept, unused
    }

    struct Entry {
        var id: BlockID
        /// gcEpoch (40 bits), length (24).
        private var tagAndLength: UInt64
        /// Segment (32), page (20), quarantine generation (10), state (2).
        private var place: UInt64

        init(id: BlockID, gcEpoch: UInt64, length: UInt32, segment: UInt32, page: UInt32) {
            self.id = id
            tagAndLength = min(gcEpoch, BlockIndex.epochLimit) << 24 | UInt64(length & 0xff_ffff)
            place = UInt64(segment) << 32 | UInt64(page & 0xf_ffff) << 12
        }

        var length: UInt32 { UInt32(truncatingIfNeeded: tagAndLength & 0xff_ffff) }
        var span: UInt64 { RecordHeader.span(Int(length)) }
        var segment: UInt32 { UInt32(truncatingIfNeeded: place >> 32) }
        var page: UInt32 { UInt32(truncatingIfNeeded: place >> 12) & 0xf_ffff }

        var gcEpoch: UInt64 {
            get { tagAndLength >> 24 }
            set { tagAndLength = tagAndLength & 0xff_ffff | min(newValue, BlockIndex.epochLimit) << 24 }
        }
        var generation: UInt16 {
            get { UInt16(truncatingIfNeeded: place >> 2) & BlockIndex.generationLimit }
            set { place = place & ~(0x3ff << 2) | UInt64(newValue & BlockIndex.generationLimit) << 2 }
        }
        var state: State {
            get { State(rawValue: place & 3) ?? .unused }
            set { place = place & ~3 | newValue.rawValue }
        }

        mutating func move(segment: UInt32, page: UInt32) {
            place = place & 0xfff | UInt64(segment) << 32 | UInt64(page & 0xf_ffff) << 12
        }

        func isAt(segment: UInt32, page: UInt32) -> Bool {
            place >> 12 == UInt64(segment) << 20 | UInt64(page)
        }
    }

    private var tables: [Table]
    private var entries = EntryPool()

    init() {
        tables = (0..<256).map { _ in Table() }
    }

    deinit {
        for table in tables { table.deallocate() }
        entries.deallocate()
    }

    var count: Int { entries.count }
    /// Memory taken, in bytes.
    var footprint: Int { entries.footprint + tables.reduce(0) { $0 + $1.length * 4 } }

    /// Makes room for so many blocks at once, before a restart fills the index.
    func reserve(_ count: Int) {
        for number in tables.indices { tables[number].reserve(count / 256 + 1, entries) }
    }

    /// The number under which `entry` and `update` know the block.
    func find(_ id: BlockID) -> UInt32? {
        tables[Int(id.word0 >> 56)].find(id, entries)
    }

    func entry(_ number: UInt32) -> Entry { entries[number] }

    func update(_ number: UInt32, _ change: (inout Entry) -> Void) { change(&entries[number]) }

    /// The block must not be there yet.
    @discardableResult
    func insert(_ entry: Entry) -> UInt32 {
        let number = entries.add(entry)
        tables[Int(entry.id.word0 >> 56)].insert(number, entry.id, entries)
        return number
    }

    @discardableResult
    func remove(_ id: BlockID) -> Entry? {
        guard let number = tables[Int(id.word0 >> 56)].remove(id, entries) else { return nil }
        return entries.release(number)
    }

    /// Up to `limit` entries that follow `after` in id order and that `wanted` accepts.
    func list(after: BlockID?, limit: Int, where wanted: (Entry) -> Bool) -> [Entry] {
        var found: [Entry] = []
        var table = after.map { Int($0.word0 >> 56) } ?? 0
        var position = after.map { tables[table].position(after: $0, entries) } ?? 0
        while table < 256, found.count < limit {
            while position < tables[table].length, found.count < limit {
                if let number = tables[table].number(at: position), wanted(entries[number]) {
                    found.append(entries[number])
                }
                position += 1
            }
            table += 1
            position = 0
        }
        return found
    }

    func forEach(_ body: (UInt32, Entry) -> Void) {
        for number in 0..<entries.end where entries[number].state != .unused { body(number, entries[number]) }
    }
}

/// Entries in chunks of 1024 (48 KiB), addressed by number; released ones are used again.
private struct EntryPool {
    typealias Entry = BlockIndex.Entry
    private static let chunk = 1024
    private var chunks: [UnsafeMutablePointer<Entry>] = []
    private var released: [UInt32] = []
    private(set) var end: UInt32 = 0

    var count: Int { Int(end) - released.count }
    var footprint: Int {
        chunks.count * (EntryPool.chunk * MemoryLayout<Entry>.stride + 8) + released.capacity * 4
    }

    subscript(number: UInt32) -> Entry {
        get { chunks[Int(number) / EntryPool.chunk][Int(number) % EntryPool.chunk] }
        set { chunks[Int(number) / EntryPool.chunk][Int(number) % EntryPool.chunk] = newValue }
    }

    mutating func add(_ entry: Entry) -> UInt32 {
        if let number = released.popLast() {
            self[number] = entry
            return number
        }
        if Int(end) == chunks.count * EntryPool.chunk {
            chunks.append(.allocate(capacity: EntryPool.chunk))
        }
        let (table, index) = (Int(end) / EntryPool.chunk, Int(end) % EntryPool.chunk)
        chunks[table].advanced(by: index).initialize(to: entry)
        end += 1
        return end - 1
    }

    mutating func release(_ number: UInt32) -> Entry {
        let entry = self[number]
        self[number].state = .unused
        released.append(number)
        return entry
    }

    func deallocate() {
        for chunk in chunks { chunk.deallocate() }
    }
}

/// Entry numbers in id order with gaps: linear probing without wrap-around, clusters kept sorted.
private struct Table {
    private static let empty = UInt32.max
    private var slots: UnsafeMutablePointer<UInt32>
    /// Home places; a power of two.
    private var homes = 0
    /// Places in all: the last cluster may run past the last home.
    private(set) var length = 0
    private var count = 0

    init() {
        slots = .allocate(capacity: 0)
    }

    func deallocate() { slots.deallocate() }

    private func home(_ id: BlockID) -> Int {
        // The byte that chose the table is skipped; with one home there is nothing to shift in.
        homes <= 1 ? 0 : Int(truncatingIfNeeded: (id.word0 << 8) >> UInt64(64 - homes.trailingZeroBitCount))
    }

    func number(at position: Int) -> UInt32? {
        slots[position] == Table.empty ? nil : slots[position]
    }

    /// Where `id` is or belongs.
    private func seek(_ id: BlockID, _ entries: EntryPool) -> (position: Int, found: Bool) {
        var position = home(id)
        while position < length, slots[position] != Table.empty {
            let other = entries[slots[position]].id
            if other == id { return (position, true) }
            if id < other { break }
            position += 1
        }
        return (position, false)
    }

    func find(_ id: BlockID, _ entries: EntryPool) -> UInt32? {
        guard count > 0 else { return nil }
        let (position, found) = seek(id, entries)
        return found ? slots[position] : nil
    }

    func position(after id: BlockID, _ entries: EntryPool) -> Int {
        guard count > 0 else { return 0 }
        let (position, found) = seek(id, entries)
        return found ? position + 1 : position
    }

    mutating func reserve(_ wanted: Int, _ entries: EntryPool) {
        var target = max(8, homes)
        while wanted * 5 > target * 4 { target *= 2 }
        if target > homes { rebuild(homes: target, slack: 8 + target / 16, entries) }
    }

    mutating func insert(_ number: UInt32, _ id: BlockID, _ entries: EntryPool) {
        reserve(count + 1, entries)
        while true {
            let (position, _) = seek(id, entries)
            var gap = position
            while gap < length, slots[gap] != Table.empty { gap += 1 }
            guard gap < length else {
                // Only ids crafted to share their leading bits get here: more room at the end is enough.
                rebuild(homes: homes, slack: (length - homes) * 2, entries)
                continue
            }
            slots.advanced(by: position + 1).update(from: slots.advanced(by: position), count: gap - position)
            slots[position] = number
            count += 1
            return
        }
    }

    mutating func remove(_ id: BlockID, _ entries: EntryPool) -> UInt32? {
        guard count > 0 else { return nil }
        var (position, found) = seek(id, entries)
        guard found else { return nil }
        let number = slots[position]
        // What stood behind its home because of the removed one moves up.
        while position + 1 < length, slots[position + 1] != Table.empty,
            home(entries[slots[position + 1]].id) <= position
        {
            slots[position] = slots[position + 1]
            position += 1
        }
        slots[position] = Table.empty
        count -= 1
        return number
    }

    private mutating func rebuild(homes newHomes: Int, slack: Int, _ entries: EntryPool) {
        let (old, oldLength) = (slots, length)
        homes = newHomes
        var capacity = newHomes + slack
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: Table.empty, count: capacity)
        // In id order already, so each goes to its home or right behind the one before.
        var next = 0
        for position in 0..<oldLength where old[position] != Table.empty {
            next = max(next, home(entries[old[position]].id))
            if next >= capacity {
                let larger = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity * 2)
                larger.initialize(repeating: Table.empty, count: capacity * 2)
                larger.update(from: slots, count: capacity)
                slots.deallocate()
                slots = larger
                capacity *= 2
            }
            slots[next] = old[position]
            next += 1
        }
        length = capacity
        old.deallocate()
    }
}
