import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

extension SplitMix64 {
    /// Keys of several lengths from a small set, so that changes meet keys that are there as often as not.
    mutating func key(among count: Int) -> Key {
        let number = below(count)
        var bytes: [UInt8] = [UInt8(number % 5)]
        bytes += [UInt8](repeating: 7, count: number % 23)
        bytes += withUnsafeBytes(of: UInt32(number).bigEndian) { Array($0) }
        return Key(bytes)
    }

    mutating func change(among keys: Int, removals percent: Int, largest: Int) -> Change {
        let key = key(among: keys)
        if below(100) < percent { return Change(key: key, value: nil) }
        return Change(key: key, value: bytes(below(4) == 0 ? below(largest + 1) : below(min(40, largest + 1))))
    }
}

/// A sorted array: what the tree must be equal to.
struct Model: Equatable {
    private(set) var entries: [(key: Key, value: [UInt8])] = []

    static func == (left: Model, right: Model) -> Bool {
        left.entries.elementsEqual(right.entries) { $0.key == $1.key && $0.value == $1.value }
    }

    private func lowerBound(_ key: Key) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].key < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    mutating func apply(_ changes: [Change]) {
        for change in changes {
            let index = lowerBound(change.key)
            let found = index < entries.count && entries[index].key == change.key
            switch (found, change.value) {
            case (true, let value?): entries[index].value = value
            case (true, nil): entries.remove(at: index)
            case (false, let value?): entries.insert((change.key, value), at: index)
            case (false, nil): break
            }
        }
    }

    func value(_ key: Key) -> [UInt8]? {
        let index = lowerBound(key)
        return index < entries.count && entries[index].key == key ? entries[index].value : nil
    }

    func range(from: Key, below: Key) -> ArraySlice<(key: Key, value: [UInt8])> {
        let start = lowerBound(from)
        return entries[start..<max(start, lowerBound(below))]
    }
}

extension NodeShape: CustomTestStringConvertible {
    public var testDescription: String { self == .tiny ? "tiny nodes" : "standard nodes" }
}

func same(_ left: (key: Key, value: [UInt8])?, _ right: (key: Key, value: [UInt8])?) -> Bool {
    left?.key == right?.key && left?.value == right?.value
}

/// Where blocks are stored: what sealing, uploading, fetching and opening come to, without their bytes.
final class Blocks {
    private(set) var frames: [FrameRef: [UInt8]] = [:]
    private(set) var sizes: [(frames: Int, payload: Int)] = []
    private(set) var fetches = 0
    private var generator = SplitMix64(seed: 0xB10C)

    func seal(_ payloads: [[UInt8]]) -> [FrameRef] {
        let block = BlockID(
            word0: generator.next(), word1: generator.next(), word2: generator.next(), word3: generator.next())
        let key = BlockKey(
            word0: generator.next(), word1: generator.next(), word2: generator.next(), word3: generator.next())
        var offset = 0
        sizes.append((payloads.count, payloads.reduce(0) { $0 + $1.count }))
        return payloads.enumerated().map { index, payload in
            let length = payload.count + Limits.frameOverhead
            let ref = FrameRef(
                block: block, key: key, index: UInt32(index), offset: UInt32(offset), length: UInt32(length))
            frames[ref] = payload
            offset += length
            return ref
        }
    }

    func fetch(_ missing: MissingNode, into nodes: NodeCache) throws {
        guard let payload = frames[missing.ref] else { throw missing }
        fetches += 1
        nodes.insert(missing.ref, try Node(decoding: payload, for: missing))
    }

    /// Runs an operation again and again until no node is missing, as every caller does.
    func retrying<Result>(_ nodes: NodeCache, _ operation: () throws -> Result) throws -> Result {
        for _ in 0..<100_000 {
            do { return try operation() } catch let missing as MissingNode { try fetch(missing, into: nodes) }
        }
        return try operation()
    }

    /// Every frame a stored tree consists of, each as often as it is referred to.
    func reachable(from root: FrameRef?) throws -> [FrameRef] {
        guard let root else { return [] }
        var all: [FrameRef] = []
        var rest = [MissingNode(ref: root, level: nil)]
        while let next = rest.popLast() {
            guard let payload = frames[next.ref] else { throw next }
            let node = try Node(decoding: payload, for: next)
            all.append(next.ref)
            rest += node.childReferences.map { MissingNode(ref: $0, level: node.level - 1) }
        }
        return all
    }
}

/// What must be true of every tree, whatever happened to it.
struct Audit {
    private(set) var leaves = 0
    private(set) var depth = 0
    private(set) var entryBytes = 0

    enum Flaw: Error {
        case tooFew, oversize(Int), order(Key), outside(Key), children, lowestKey(Key), miscounted
    }

    init(_ tree: Tree, nodes: NodeCache) throws {
        guard let top = tree.top else { return }
        let node = try Tree.load(top, level: nil, nodes)
        depth = Int(node.level) + 1
        try visit(node, from: .empty, below: nil, tree.shape, nodes)
    }

    private mutating func visit(_ node: Node, from: Key, below: Key?, _ shape: NodeShape, _ nodes: NodeCache) throws {
        if node.count < (node.level == 0 ? 1 : 2) { throw Flaw.tooFew }
        if shape.isOversize(node) { throw Flaw.oversize(node.size) }
        if node.live != (0..<node.count).reduce(0, { $0 + node.record($1).range.count }) { throw Flaw.miscounted }
        if node.children.count != (node.level > 0 ? node.count : 0) { throw Flaw.children }
        for index in 0..<node.count {
            let key = node.key(index)
            if index > 0, key <= node.key(index - 1) { throw Flaw.order(key) }
            if key < from { throw Flaw.outside(key) }
            if let below, key >= below { throw Flaw.outside(key) }
        }
        guard node.level > 0 else {
            leaves += 1
            entryBytes += node.live
            return
        }
        if node.key(0) != from { throw Flaw.lowestKey(from) }
        for index in 0..<node.count {
            let child = try Tree.load(node.children[index], level: node.level - 1, nodes)
            try visit(
                child, from: node.key(index), below: index + 1 < node.count ? node.key(index + 1) : below, shape, nodes)
        }
    }
}

extension Key {
    /// A big-endian number.
    init(_ number: Int) { self.init(withUnsafeBytes(of: UInt64(number).bigEndian) { Array($0) }) }

    static let top = Key([UInt8](repeating: 255, count: Key.sizeLimit))
}

/// Whether the tree is this map; a plain truth, as to print the difference would take minutes.
func holds(_ tree: Tree, _ model: Model, _ nodes: NodeCache) throws -> Bool { try contents(tree, nodes) == model }

func contents(_ tree: Tree, _ nodes: NodeCache) throws -> Model {
    var all: [Change] = []
    try tree.scan(from: .empty, below: .top, nodes: nodes) { key, value in
        all.append(Change(key: key, value: value))
        return true
    }
    var model = Model()
    model.apply(all)
    return model
}
