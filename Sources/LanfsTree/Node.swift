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

    /// 0 for leaves; one more than that of the nodes below.
    public let level: UInt8
    /// Records at the offsets in `slots`: key length, value length (16 bits each), key, value.
    private(set) var heap: [UInt8]
    /// Offsets into `heap`, in the order of the keys. `decode` and the methods here vouch that each is a whole record.
    private(set) var slots: [UInt32]
    /// Bytes of `heap` that the slots reach.
    private(set) var live: Int
    /// As many as there are slots, except in a leaf.
    var children: [Child]
    /// Where the last new record went, and how many went each just after the one before.
    private(set) var lastInsert = -1
    private(set) var insertRun = 0

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

    /// Of records that are known to be whole and in order.
    init(level: UInt8, heap: [UInt8], slots: [UInt32], live: Int, children: [Child]) {
        self.level = level
        self.heap = heap
        self.slots = slots
        self.live = live
        self.children = children
    }

    public var count: Int { slots.count }

    /// Bytes this node takes when encoded, at most.
    var size: Int { Self.headerSize + live + children.count * Self.childSize }

    /// Bytes this node takes in memory, about.
    var footprint: Int {
        heap.count + slots.count * MemoryLayout<UInt32>.stride + children.count * MemoryLayout<Child>.stride + 192
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
        let start = Int(slots[index])
        return heap.withUnsafeBytes { Record(in: $0, at: start) }
    }

    func key(_ index: Int) -> Key { Key(Array(heap[record(index).keyRange])) }

    func value(_ index: Int) -> [UInt8] { Array(heap[record(index).valueRange]) }

    /// The first record whose key is not below `key`, and whether it is `key` itself.
    func lowerBound(_ key: Key) -> (index: Int, found: Bool) {
        heap.withUnsafeBytes { heap in
            slots.withUnsafeBufferPointer { slots in
                key.bytes.withUnsafeBytes { key in
                    var low = 0
                    var high = slots.count
                    while low < high {
                        let middle = (low + high) >> 1
                        let record = Record(in: heap, at: Int(slots[middle]))
                        let order = byteOrder(UnsafeRawBufferPointer(rebasing: heap[record.keyRange]), key)
                        if order == 0 { return (middle, true) }
                        if order < 0 { low = middle + 1 } else { high = middle }
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
        let start = Int(slots[index])
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
            let offset = append(key: key, value: value)
            insert(slot: offset, at: index)
            return
        }
        let old = record(index)
        if old.valueLength == value.count {
            heap.replaceSubrange(old.valueRange, with: value)
        } else {
            live -= old.range.count
            // The old record must not be seen as content by the compaction that `append` may start.
            slots.remove(at: index)
            let offset = append(key: key, value: value)
            slots.insert(offset, at: index)
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

    private mutating func insert(slot: UInt32, at index: Int) {
        slots.insert(slot, at: index)
        insertRun = index == lastInsert + 1 ? insertRun + 1 : 1
        lastInsert = index
    }

    mutating func insertChild(_ child: Child, key: Key, at index: Int) {
        let offset = append(key: key, value: [])
        insert(slot: offset, at: index)
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
        if heap.count - live > max(live, 4096) { compact() }
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

    /// Adds records of another node behind all of these.
    private mutating func append(recordsOf other: borrowing Node, _ range: Range<Int>) {
        slots.reserveCapacity(slots.count + range.count)
        let before = heap.count
        other.heap.withUnsafeBytes { source in
            for index in range {
                let record = Record(in: source, at: Int(other.slots[index]))
                slots.append(UInt32(heap.count))
                heap.append(contentsOf: UnsafeRawBufferPointer(rebasing: source[record.range]))
            }
        }
        live += heap.count - before
    }

    private mutating func compact() {
        var packed = Node(level: level, reserving: 2 * live + 4096)
        packed.append(recordsOf: self, 0..<count)
        heap = packed.heap
        slots = packed.slots
    }

    /// This leaf with many changes, which are in key order, each key once: one pass whatever their number.
    func merged(with changes: ArraySlice<Change>) -> Node {
        var result = Node(level: level, reserving: heap.count)
        var next = 0
        for change in changes {
            let (index, found) = lowerBound(change.key)
            result.append(recordsOf: self, next..<index)
            if let value = change.value {
                result.slots.append(result.append(key: change.key, value: value))
                result.lastInsert = result.count - 1
            }
            next = found ? index + 1 : index
        }
        result.append(recordsOf: self, next..<count)
        result.insertRun = changes.count
        return result
    }

    /// The node directly to the right becomes part of this one.
    mutating func absorb(_ right: borrowing Node) {
        append(recordsOf: right, 0..<right.count)
        children.append(contentsOf: right.children)
        lastInsert = -1
        insertRun = 0
    }
}

// MARK: Splitting

extension Node {
    /// This node as several that are not oversize. Keys that came in ascending order will go on doing so: the cut
    /// is then where the next one goes, and the nodes left behind are full instead of half empty.
    func split(_ shape: NodeShape) -> [Node] {
        if insertRun >= 3, insertRun >= count / 8, let pieces = splitAtRun(shape) { return pieces }
        let sizes = (0..<count).map { record($0).range.count + (level > 0 ? Self.childSize : 0) }
        let total = sizes.reduce(0, +)
        let wanted = max(
            2, (total + shape.maximumBytes - 1) / shape.maximumBytes,
            (count + shape.maximumEntries - 1) / shape.maximumEntries)
        let target = total / wanted
        var starts = [0]
        var bytes = 0
        for index in 0..<count {
            let length = index - starts[starts.count - 1]
            let full = Self.headerSize + bytes + sizes[index] > shape.maximumBytes || length == shape.maximumEntries
            let even = starts.count < wanted && bytes + sizes[index] / 2 > target
            if full || even, length >= fewest {
                starts.append(index)
                bytes = 0
            }
            bytes += sizes[index]
        }
        starts[starts.count - 1] = min(starts[starts.count - 1], count - fewest)
        return zip(starts, starts.dropFirst() + [count]).map { piece($0..<$1) }
    }

    /// An inner node has two children at least: a child alone would have no neighbour to join.
    private var fewest: Int { level == 0 ? 1 : 2 }

    private func splitAtRun(_ shape: NodeShape) -> [Node]? {
        let cut = min(lastInsert + 1, count - fewest)
        guard cut >= fewest else { return nil }
        var left = piece(0..<cut)
        var right = piece(cut..<count)
        guard !shape.isOversize(left), !shape.isOversize(right) else { return nil }
        if lastInsert < cut {
            left.lastInsert = lastInsert
            left.insertRun = insertRun
        } else {
            right.lastInsert = lastInsert - cut
            right.insertRun = insertRun
        }
        return [left, right]
    }

    private func piece(_ range: Range<Int>) -> Node {
        var piece = Node(level: level, reserving: live / 2 + 4096)
        piece.append(recordsOf: self, range)
        if level > 0 { piece.children = Array(children[range]) }
        return piece
    }

    /// The shortest key above everything in `left` and not above anything in this node.
    private func separator(after left: borrowing Node) -> Key {
        let first = key(0)
        guard level == 0, left.count > 0 else { return first }
        let last = left.key(left.count - 1)
        let shared = zip(first.bytes, last.bytes).prefix { $0 == $1 }.count
        return Key(Array(first.bytes.prefix(shared + 1)))
    }
}

extension FrameRef {
    /// Stands where a reference has been taken out.
    static let nowhere = FrameRef(block: .zero, key: .zero, index: 0, offset: 0, length: 0)
}
