import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

@Suite("Copies and missing nodes")
struct SnapshotTests {
    @Test(
        "a copy does not see what the other goes through", arguments: [NodeShape.tiny, .standard], [11, 12] as [UInt64])
    func snapshots(_ shape: NodeShape, _ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let nodes = NodeCache(limitBytes: 64 << 20)
        let blocks = Blocks()
        var tree = Tree(shape: shape)
        var model = Model()
        var snapshots: [(tree: Tree, model: Model)] = []
        for step in 0..<3_000 {
            let changes = (0..<1 + generator.below(3)).map { _ in
                generator.change(among: 500, removals: 40, largest: 100)
            }
            try tree.apply(changes, nodes: nodes)
            model.apply(changes)
            if step % 100 == 50 { snapshots.append((tree, model)) }
            if step % 300 == 299 {
                try tree.install(tree.checkpoint(seal: blocks.seal), changesSince: [], nodes: nodes)
                snapshots.append((tree, model))
            }
            if step % 70 == 0, var other = snapshots.last {
                // A second line of history from the same snapshot.
                try blocks.retrying(nodes) { try other.tree.apply(changes, nodes: nodes) }
                other.model.apply(changes)
                try #require(try blocks.retrying(nodes) { try holds(other.tree, other.model, nodes) })
            }
        }
        // Nodes that a checkpoint freed are no longer in the cache; whoever reads an older state fetches them.
        for snapshot in snapshots {
            #expect(try blocks.retrying(nodes) { try holds(snapshot.tree, snapshot.model, nodes) })
        }
    }

    @Test(
        "an operation that misses a node has changed nothing, and succeeds once it is there",
        arguments: [NodeShape.tiny, .standard], [21, 22, 23] as [UInt64])
    func allOrNothing(_ shape: NodeShape, _ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let blocks = Blocks()
        let all = NodeCache(limitBytes: 64 << 20)
        let nodes = NodeCache(limitBytes: 64 << 20)
        var fetched: [FrameRef] = []
        var tree = Tree(shape: shape)
        var model = Model()
        var stops = 0
        for step in 0..<2_000 {
            if generator.below(20) == 0 {
                let checkpoint = tree.checkpoint(seal: blocks.seal)
                for (ref, node) in checkpoint.written { all.insert(ref, node) }
                tree = checkpoint.tree
            }
            // The cache forgets, all or some of what it had.
            fetched = fetched.filter { ref in
                guard step % 10 == 0 || generator.below(3) == 0 else { return true }
                nodes.remove(ref)
                return false
            }

            let removals = step / 400 % 2 == 0 ? 20 : 75
            let changes = (0..<1 + generator.below(generator.below(30) == 0 ? 200 : 4)).map { _ in
                generator.change(among: 400, removals: removals, largest: shape == .tiny ? 20 : 400)
            }
            let before = model
            var attempts = 0
            while true {
                attempts += 1
                try #require(attempts < 1_000, "seed \(seed), step \(step): no end to the missing nodes")
                do throws(MissingNode) {
                    try tree.apply(changes, nodes: nodes)
                    break
                } catch {
                    stops += 1
                    if stops % 50 == 0 {
                        let isUnchanged = try blocks.retrying(all) { try holds(tree, before, all) }
                        try #require(isUnchanged, "seed \(seed), step \(step)")
                    }
                    try blocks.fetch(error, into: nodes)
                    fetched.append(error.ref)
                }
            }
            model.apply(changes)
            let key = generator.key(among: 400)
            try #require(try blocks.retrying(nodes) { try tree.value(key, nodes: nodes) } == model.value(key))
            let from = generator.key(among: 400)
            let range = model.range(from: min(from, key), below: max(from, key))
            let first = try blocks.retrying(nodes) {
                try tree.next(from: min(from, key), below: max(from, key), nodes: nodes)
            }
            let last = try blocks.retrying(nodes) {
                try tree.previous(before: max(from, key), atLeast: min(from, key), nodes: nodes)
            }
            try #require(same(first, range.first))
            try #require(same(last, range.last))
            if step % 100 == 0 {
                #expect(try blocks.retrying(all) { try holds(tree, model, all) })
                _ = try blocks.retrying(all) { try Audit(tree, nodes: all) }
            }
        }
        #expect(stops > 100)
    }

    @Test("what an apply misses is found in one round for each level")
    func missingNodes() throws {
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree()
        try tree.apply((0..<20_000).map { Change(key: Key($0), value: [UInt8](repeating: 1, count: 50)) }, nodes: nodes)
        tree = tree.checkpoint(seal: blocks.seal).tree
        let depth = try blocks.retrying(nodes) { try Audit(tree, nodes: nodes) }.depth
        #expect(depth == 2)

        let changes = stride(from: 0, to: 20_000, by: 100).map { Change(key: Key($0), value: [2]) }
        let cold = NodeCache(limitBytes: 64 << 20)
        var rounds = 0
        while true {
            let missing = tree.missingNodes(for: changes, nodes: cold)
            if missing.isEmpty { break }
            #expect(Set(missing).count == missing.count)
            for node in missing { try blocks.fetch(node, into: cold) }
            rounds += 1
        }
        #expect(rounds == depth)
        try tree.apply(changes, nodes: cold)
        #expect(try tree.value(Key(500), nodes: cold) == [2])
    }

    @Test("a node of the wrong level is never taken for the one that is missing")
    func wrongLevel() throws {
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree(shape: .tiny)
        try tree.apply((0..<100).map { Change(key: Key($0), value: []) }, nodes: nodes)
        tree = tree.checkpoint(seal: blocks.seal).tree
        let root = try #require(tree.root)
        let payload = try #require(blocks.frames[root])
        let inner = try Node(decoding: payload, from: root)
        let child = try #require(inner.childReferences.first)
        nodes.insert(root, inner)
        // The root stands where its child should be: following it would go round for ever.
        nodes.insert(child, inner)
        #expect(throws: MissingNode(ref: child, level: inner.level - 1)) { try tree.value(Key(0), nodes: nodes) }
        #expect(throws: DecodingError.self) {
            try Node(decoding: payload, for: MissingNode(ref: child, level: inner.level - 1))
        }
    }
}
