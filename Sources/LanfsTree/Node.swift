import Glibc
import LanfsProtocol

/// One page of the tree: sorted records, packed in one buffer as they are stored, with an offset for each.
///
/// In a leaf (level 0) the records are the map's keys and values. Above, record `i` is the lowest key that child `i` may
/// hold and has no value. A changed record is appended to the buffer and the old one stays behind as waste until there
/// is as much waste as content; so a change moves a few offsets and no keys.
public struct Node: Sendable {
    /// What an inner node knows of a node below it.
    enum Child: Sendable {
        case stored(FrameRef)
        /// Changed since the last checkpoint, so held here.
        case dirty(Node)
    }

    /// Where a record starts in the heap, and the four bytes of its key behind the common ones (zeros where it ends): a
    /// search seldom has to look at the records themselves, which are all over the memory.
    struct Slot: Equatable {
        var offset: UInt32
        var head: UInt32
    }

    /// 0 for leaves; one more than that of the nodes below.
    public let level: UInt8
    /// Records, where `slots` say: key length, value length (16 bits each), key, value.
    private(set) var heap: [UInt8]
    /// The records in the order of their keys. Decoding and the methods here vouch that each is whole.
    private(set) var slots: [Slot]
    /// How many first bytes all keys have in common, at least: what is behind them makes the slots' heads.
    private(set) var prefix = 0
    /// Bytes of `heap` that the slots reach.
    private(set) var live: Int
    /// As many as there are slots, except in a leaf.
    var children: [Child]
    /// Where the last new record went, and how many went each just after the one before.
    var lastInsert = -1
    var insertRun = 0

    static let headerSize = 4
    static let recordOverhead = 4
    /// What a child reference may take when encoded: see `NodeCodec`.
    static let childSize = 1 + FrameRef.encodedSize

    init(level: UInt8, reserving capacity: Int = 0) {
        self.level = level
        heap = []
        heap.reserveCapacity(capacity)
        slots = []
        live = 0
        children = []
    }

    /// Of records that are known to be whole and in order, at these offsets.
    init(level: UInt8, heap: [UInt8], offsets: [UInt32], live: Int, children: [Child]) {
        self.level = level
        self.heap = heap
        self.live = live
        self.children = children
        slots = offsets.map { Slot(offset: $0, head: 0) }
        measurePrefix()
    }

    public var count: Int { slots.count }

    /// Bytes this node takes when encoded, at most.
    var size: Int { Self.headerSize + live + children.count * Self.childSize }

    /// Bytes this node takes in memory, about.
    var footprint: Int {
        heap.count + slots.count * MemoryLayout<Slot>.stride + children.count * MemoryLayout<Child>.stride + 192
    }
}

// MARK: Reading

extension Node {
    /// Where the parts of one record are in the heap.
    struct Record {
        let start: Int
        let keyLength: Int
        let valueLength: Int

        @inline(__always)
        init(in heap: UnsafeRawBufferPointer, at start: Int) {
            self.start = start
            keyLength = Int(UInt16(bigEndian: heap.loadUnaligned(fromByteOffset: start, as: UInt16.self)))
            valueLength = Int(UInt16(bigEndian: heap.loadUnaligned(fromByteOffset: start + 2, as: UInt16.self)))
        }

        var keyRange: Range<Int> { start + recordOverhead..<start + recordOverhead + keyLength }
        var valueRange: Range<Int> { keyRange.upperBound..<keyRange.upperBound + valueLength }
        var range: Range<Int> { start..<valueRange.upperBound }
    }

    func record(_ index: Int) -> Record {
        let start = Int(slots[index].offset)
        return heap.withUnsafeBytes { Record(in: $0, at: start) }
    }

    func key(_ index: Int) -> Key { Key(Array(heap[record(index).keyRange])) }

    func value(_ index: Int) -> [UInt8] { Array(heap[record(index).valueRange]) }

    /// The first record whose key is not below `key`, and whether it is `key` itself.
    func lowerBound(_ key: Key) -> (index: Int, found: Bool) {
        guard !slots.isEmpty else { return (0, false) }
        return heap.withUnsafeBytes { heap in
            slots.withUnsafeBufferPointer { slots in
                key.bytes.withUnsafeBytes { key in
                    if prefix > 0 {
                        let shared = Record(in: heap, at: Int(slots[0].offset)).keyRange.prefix(prefix)
                        let order = byteOrder(
                            UnsafeRawBufferPointer(rebasing: heap[shared]),
                            UnsafeRawBufferPointer(rebasing: key.prefix(prefix)))
                        if order != 0 { return (order > 0 ? 0 : slots.count, false) }
                    }
                    let head = keyHead(key, behind: prefix)
                    var low = 0
                    var high = slots.count
                    while low < high {
                        let middle = (low + high) >> 1
                        let slot = slots[middle]
                        if slot.head == head {
                            let record = Record(in: heap, at: Int(slot.offset))
                            let order = byteOrder(UnsafeRawBufferPointer(rebasing: heap[record.keyRange]), key)
                            if order == 0 { return (middle, true) }
                            if order < 0 { low = middle + 1 } else { high = middle }
                        } else if slot.head < head {
                            low = middle + 1
                        } else {
                            high = middle
                        }
                    }
                    return (low, false)
                }
            }
        }
    }

    /// The child that holds `key` if any does.
    func childIndex(_ key: Key) -> Int {
        let (index, found) = lowerBound(key)
        return found ? index : max(0, index - 1)
    }

    /// Negative, zero or positive as the key at `index` is below, at or above `key`.
    func order(_ index: Int, _ key: Key) -> Int {
        let start = Int(slots[index].offset)
        return heap.withUnsafeBytes { heap in
            key.bytes.withUnsafeBytes { key in
                byteOrder(UnsafeRawBufferPointer(rebasing: heap[Record(in: heap, at: start).keyRange]), key)
            }
        }
    }

    /// The stored nodes directly below, in key order.
    public var childReferences: [FrameRef] {
        children.compactMap { if case .stored(let ref) = $0 { ref } else { nil } }
    }

    /// A leaf's keys and values, in order; nothing in an inner node.
    public func forEachEntry(_ body: (Key, [UInt8]) -> Void) {
        guard level == 0 else { return }
        for index in 0..<count { body(key(index), value(index)) }
    }
}

// MARK: Changing

extension Node {
    mutating func set(_ key: Key, _ value: [UInt8]) {
        let (index, found) = lowerBound(key)
        guard found else {
            insert(key, value, at: index)
            return
        }
        let old = record(index)
        if old.valueLength == value.count {
            heap.replaceSubrange(old.valueRange, with: value)
        } else {
            live -= old.range.count
            slots[index].offset = append(key: key, value: value)
            compactIfWasteful()
        }
    }

    mutating func remove(_ key: Key) {
        let (index, found) = lowerBound(key)
        if found { remove(at: index) }
    }

    private mutating func remove(at index: Int) {
        live -= record(index).range.count
        slots.remove(at: index)
        lastInsert = -1
        insertRun = 0
    }

    private mutating func insert(_ key: Key, _ value: [UInt8], at index: Int) {
        let shared = slots.isEmpty ? key.bytes.count : sharedPrefix(with: key)
        slots.insert(Slot(offset: append(key: key, value: value), head: 0), at: index)
        if shared == prefix {
            slots[index].head = key.bytes.withUnsafeBytes { keyHead($0, behind: prefix) }
        } else {
            setHeads(behind: shared)
        }
        insertRun = index == lastInsert + 1 ? insertRun + 1 : 1
        lastInsert = index
        compactIfWasteful()
    }

    /// How many of the common bytes `key` has too.
    private func sharedPrefix(with key: Key) -> Int {
        let first = record(0).keyRange
        return heap.withUnsafeBytes { heap in
            key.bytes.withUnsafeBytes { key in
                commonPrefix(
                    UnsafeRawBufferPointer(rebasing: heap[first.prefix(prefix)]),
                    UnsafeRawBufferPointer(rebasing: key.prefix(prefix)))
            }
        }
    }

    /// What the first and the last key share all others share too.
    mutating func measurePrefix() {
        guard let last = slots.indices.last else { return }
        let (low, high) = (record(0).keyRange, record(last).keyRange)
        setHeads(
            behind: heap.withUnsafeBytes { heap in
                commonPrefix(
                    UnsafeRawBufferPointer(rebasing: heap[low]), UnsafeRawBufferPointer(rebasing: heap[high]))
            })
    }

    private mutating func setHeads(behind prefix: Int) {
        self.prefix = prefix
        heap.withUnsafeBytes { heap in
            slots.withUnsafeMutableBufferPointer { slots in
                for index in slots.indices {
                    let record = Record(in: heap, at: Int(slots[index].offset))
                    let key = UnsafeRawBufferPointer(rebasing: heap[record.keyRange])
                    slots[index].head = keyHead(key, behind: prefix)
                }
            }
        }
    }

    mutating func insertChild(_ child: Child, key: Key, at index: Int) {
        insert(key, [], at: index)
        children.insert(child, at: index)
    }

    mutating func removeChild(at index: Int) {
        remove(at: index)
        children.remove(at: index)
    }

    /// The child at `index` became several, of which the first keeps its key.
    mutating func replaceChild(at index: Int, with pieces: [Node]) {
        children[index] = .dirty(pieces[0])
        for position in 1..<pieces.count {
            let separator = pieces[position].separator(after: pieces[position - 1])
            insertChild(.dirty(pieces[position]), key: separator, at: index + position)
        }
    }

    /// Takes a child out and leaves nothing of meaning, so that it is not shared while it is changed.
    mutating func takeChild(at index: Int) -> Child {
        var child = Child.stored(.nowhere)
        swap(&child, &children[index])
        return child
    }

    private mutating func append(key: Key, value: [UInt8]) -> UInt32 {
        let offset = UInt32(heap.count)
        heap.append(UInt8(truncatingIfNeeded: key.bytes.count >> 8))
        heap.append(UInt8(truncatingIfNeeded: key.bytes.count))
        heap.append(UInt8(truncatingIfNeeded: value.count >> 8))
        heap.append(UInt8(truncatingIfNeeded: value.count))
        heap.append(contentsOf: key.bytes)
        heap.append(contentsOf: value)
        live += heap.count - Int(offset)
        return offset
    }

    /// Adds records of another node behind all of these; `measurePrefix` has to follow.
    mutating func append(recordsOf other: borrowing Node, _ range: Range<Int>) {
        slots.reserveCapacity(slots.count + range.count)
        let before = heap.count
        other.heap.withUnsafeBytes { source in
            for index in range {
                let record = Record(in: source, at: Int(other.slots[index].offset))
                slots.append(Slot(offset: UInt32(heap.count), head: 0))
                heap.append(contentsOf: UnsafeRawBufferPointer(rebasing: source[record.range]))
            }
        }
        live += heap.count - before
    }

    private mutating func compactIfWasteful() {
        guard heap.count - live > max(live, 4096) else { return }
        var packed = Node(level: level, reserving: 2 * live + 4096)
        packed.append(recordsOf: self, 0..<count)
        packed.measurePrefix()
        heap = packed.heap
        slots = packed.slots
        prefix = packed.prefix
    }

    /// This leaf with many changes, which are in key order, each key once: one pass whatever their number.
    func merged(with changes: ArraySlice<Change>) -> Node {
        var result = Node(level: level, reserving: heap.count)
        var next = 0
        for change in changes {
            let (index, found) = lowerBound(change.key)
            result.append(recordsOf: self, next..<index)
            if let value = change.value {
                result.slots.append(Slot(offset: result.append(key: change.key, value: value), head: 0))
                result.lastInsert = result.count - 1
            }
            next = found ? index + 1 : index
        }
        result.append(recordsOf: self, next..<count)
        result.measurePrefix()
        result.insertRun = changes.count
        return result
    }

    /// The node directly to the right becomes part of this one.
    mutating func absorb(_ right: borrowing Node) {
        append(recordsOf: right, 0..<right.count)
        measurePrefix()
        children.append(contentsOf: right.children)
        lastInsert = -1
        insertRun = 0
    }
}

/// Four bytes of a key as a number that compares as they do; missing ones are zeros.
@inline(__always)
private func keyHead(_ key: UnsafeRawBufferPointer, behind prefix: Int) -> UInt32 {
    if key.count >= prefix + 4 {
        return UInt32(bigEndian: key.loadUnaligned(fromByteOffset: prefix, as: UInt32.self))
    }
    var head: UInt32 = 0
    for index in prefix..<prefix + 4 { head = head << 8 | (index < key.count ? UInt32(key[index]) : 0) }
    return head
}

private func commonPrefix(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
    let count = min(left.count, right.count)
    for index in 0..<count where left[index] != right[index] { return index }
    return count
}

extension FrameRef {
    /// Stands where a reference has been taken out.
    static let nowhere = FrameRef(block: .zero, key: .zero, index: 0, offset: 0, length: 0)
}
