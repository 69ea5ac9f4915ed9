import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

@Suite("Transactions")
struct TransactionTests {
    @Test("read their own writes as if they were applied", arguments: [101, 102, 103] as [UInt64])
    func readOwnWrites(_ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let nodes = NodeCache(limitBytes: 64 << 20)
        for round in 0..<200 {
            var tree = Tree(shape: .tiny)
            var model = Model()
            let base = (0..<generator.below(60)).map { _ in generator.change(among: 60, removals: 0, largest: 5) }
            try tree.apply(base, nodes: nodes)
            model.apply(base)
            var transaction = Transaction(reading: tree, nodes: nodes)
            for _ in 0..<generator.below(40) {
                let change = generator.change(among: 60, removals: 60, largest: 5)
                if let value = change.value {
                    transaction.set(change.key, value)
                } else {
                    transaction.remove(change.key)
                }
                model.apply([change])

                let (a, b) = (generator.key(among: 60), generator.key(among: 60))
                let (from, below) = (min(a, b), max(a, b))
                let range = model.range(from: from, below: below)
                try #require(try transaction.value(a) == model.value(a))
                try #require(same(try transaction.next(from: from, below: below), range.first))
                try #require(same(try transaction.previous(before: below, atLeast: from), range.last))
                var scanned = Model()
                let limit = 1 + generator.below(20)
                var seen: [Change] = []
                try transaction.scan(from: from, below: below) { key, value in
                    seen.append(Change(key: key, value: value))
                    return seen.count < limit
                }
                scanned.apply(seen)
                try #require(seen.map(\.key) == range.prefix(limit).map(\.key), "seed \(seed), round \(round)")
                try #require(scanned.entries.elementsEqual(range.prefix(limit)) { same($0, $1) })
            }
            try #require(zip(transaction.changes, transaction.changes.dropFirst()).allSatisfy { $0.key < $1.key })
            try tree.apply(transaction.changes, nodes: nodes)
            try #require(try holds(tree, model, nodes))
        }
    }

    @Test("keep the last write of a key")
    func lastWrite() {
        var transaction = Transaction(reading: Tree(), nodes: NodeCache(limitBytes: 1 << 20))
        #expect(transaction.isEmpty)
        transaction.set(Key(2), [1])
        transaction.set(Key(1), [2])
        transaction.remove(Key(2))
        transaction.set(Key(1), [3])
        #expect(transaction.changes == [Change(key: Key(1), value: [3]), Change(key: Key(2), value: nil)])
    }
}

@Suite("Neighbours at the edges")
struct NeighbourTests {
    @Test("bounds are: at or above the lower, below the upper", arguments: [NodeShape.tiny, .standard])
    func bounds(_ shape: NodeShape) throws {
        let nodes = NodeCache(limitBytes: 1 << 20)
        var tree = Tree(shape: shape)
        try tree.apply((1...40).map { Change(key: Key($0 * 10), value: [UInt8($0)]) }, nodes: nodes)
        for number in 1...40 {
            let key = Key(number * 10)
            #expect(try tree.next(from: key, below: key, nodes: nodes) == nil)
            #expect(try tree.next(from: key, below: key.successor, nodes: nodes)?.key == key)
            #expect(try tree.previous(before: key, atLeast: key, nodes: nodes) == nil)
            #expect(try tree.previous(before: key.successor, atLeast: key, nodes: nodes)?.key == key)
            #expect(try tree.next(from: key.successor, below: Key(number * 10 + 10), nodes: nodes) == nil)
            #expect(try tree.previous(before: key, atLeast: Key(number * 10 - 9), nodes: nodes) == nil)
            let before = try tree.previous(before: key, atLeast: .empty, nodes: nodes)?.key
            #expect(before == (number > 1 ? Key(number * 10 - 10) : nil))
            let after = try tree.next(from: key.successor, below: .top, nodes: nodes)?.key
            #expect(after == (number < 40 ? Key(number * 10 + 10) : nil))
        }
        #expect(try tree.next(from: .top, below: .empty, nodes: nodes) == nil)
        #expect(try tree.previous(before: .empty, atLeast: .top, nodes: nodes) == nil)
    }

    @Test("a neighbour that is known not to exist costs no node beyond its own")
    func noNeedlessNode() throws {
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree(shape: .tiny)
        try tree.apply((0..<200).map { Change(key: Key($0 * 10), value: []) }, nodes: nodes)
        tree = tree.checkpoint(seal: blocks.seal).tree
        let depth = try blocks.retrying(nodes) { try Audit(tree, nodes: nodes) }.depth
        var most = 0
        for number in 0..<200 {
            let cold = NodeCache(limitBytes: 64 << 20)
            let before = blocks.fetches
            _ = try blocks.retrying(cold) {
                try tree.next(from: Key(number * 10), below: Key(number * 10 + 1), nodes: cold)
            }
            _ = try blocks.retrying(cold) {
                try tree.previous(before: Key(number * 10 + 1), atLeast: Key(number * 10), nodes: cold)
            }
            most = max(most, blocks.fetches - before)
        }
        #expect(most == depth)
    }

    @Test("keys sort as memcmp sorts them, shorter first")
    func order() {
        let sorted: [[UInt8]] = [[], [0], [0, 0], [0, 255], [1], [127], [128], [255], [255, 255]]
        for (index, left) in sorted.enumerated() {
            for (other, right) in sorted.enumerated() { #expect((Key(left) < Key(right)) == (index < other)) }
        }
        #expect(Key([1, 255]).prefixEnd == Key([2]))
        #expect(Key([255, 255]).prefixEnd == nil)
        #expect(Key([3]).successor == Key([3, 0]))
    }
}

@Suite("The node cache")
struct NodeCacheTests {
    private func ref(_ number: Int) -> FrameRef {
        FrameRef(
            block: BlockID(word0: UInt64(number / 8) &* 0x9E37_79B9_7F4A_7C15, word1: 0, word2: 0, word3: 1),
            key: .zero, index: UInt32(number % 8), offset: UInt32(number % 8 * 100), length: 100)
    }

    private func leaf(_ size: Int) -> Node {
        var node = Node(level: 0)
        node.set(Key(1), [UInt8](repeating: 0, count: size))
        return node
    }

    @Test("stays within its limit and keeps what is used")
    func bounded() {
        let nodes = NodeCache(limitBytes: 400_000)
        let favourite = ref(3)
        nodes.insert(favourite, leaf(2_000))
        for number in 10..<5_000 {
            nodes.insert(ref(number), leaf(2_000))
            #expect(nodes.entry(favourite) != nil)
            #expect(nodes.bytes <= 400_000)
        }
        #expect(nodes.count > 100)
        #expect(nodes.contains(ref(4_999)) && !nodes.contains(ref(10)))
    }

    @Test("keeps enough for one operation whatever its limit")
    func floor() {
        let nodes = NodeCache(limitBytes: 0)
        for number in 0..<1_000 { nodes.insert(ref(number), leaf(2_000)) }
        #expect(nodes.count == NodeCache.minimumNodes)
    }

    @Test("keeps the newest, as many as one operation may need, when it is full", arguments: [0, 1, 17, 399])
    func newest(alreadyIn: Int) {
        let nodes = NodeCache(limitBytes: 400 * leaf(2_000).footprint)
        for number in 0..<400 + alreadyIn { nodes.insert(ref(number), leaf(2_000)) }
        let wanted = 1_000..<1_300
        for number in wanted { nodes.insert(ref(number), leaf(2_000)) }
        #expect(wanted.allSatisfy { nodes.contains(ref($0)) })
    }

    @Test("forgets, replaces and counts")
    func accounting() {
        let nodes = NodeCache(limitBytes: 1 << 20)
        nodes.insert(ref(1), leaf(10))
        let one = nodes.bytes
        nodes.insert(ref(1), leaf(10))
        #expect(nodes.bytes == one && nodes.count == 1)
        nodes.insert(ref(2), leaf(10))
        nodes.remove(ref(1))
        nodes.remove(ref(1))
        #expect(nodes.bytes == one && nodes.count == 1 && !nodes.contains(ref(1)))
        nodes.removeAll()
        #expect(nodes.bytes == 0 && nodes.count == 0)
    }
}
