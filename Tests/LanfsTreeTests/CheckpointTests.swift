import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

@Suite("Checkpoints")
struct CheckpointTests {
    @Test(
        "store the same map, free exactly what is no longer reachable, and fit their blocks",
        arguments: [NodeShape.tiny, .standard], [31, 32, 33] as [UInt64])
    func exact(_ shape: NodeShape, _ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var live = Tree(shape: shape)
        var model = Model()
        var root: FrameRef?
        for round in 0..<36 {
            let removals = [10, 60, 100][round / 6 % 3]
            func changes(_ count: Int) -> [Change] {
                (0..<count).map { _ in
                    generator.change(
                        among: shape == .tiny ? 400 : 2_000, removals: removals, largest: shape == .tiny ? 20 : 300)
                }
            }
            for _ in 0..<generator.below(20) {
                let some = changes(1 + generator.below(60))
                try live.apply(some, nodes: nodes)
                model.apply(some)
            }
            let before = try blocks.reachable(from: root)
            let checkpoint = live.checkpoint(seal: blocks.seal)
            let stored = model

            // The live tree moves on while the checkpoint is written.
            var since: [Change] = []
            for _ in 0..<generator.below(10) {
                let some = changes(1 + generator.below(5))
                try live.apply(some, nodes: nodes)
                model.apply(some)
                since += some
            }
            try live.install(checkpoint, changesSince: since, nodes: nodes)
            let isForgotten = checkpoint.freed.allSatisfy { !nodes.contains($0) }
            try #require(isForgotten, "seed \(seed), round \(round)")
            let isSame = try holds(live, model, nodes)
            try #require(isSame, "seed \(seed), round \(round)")
            _ = try Audit(live, nodes: nodes)

            root = checkpoint.root
            let after = try blocks.reachable(from: root)
            // As plain truths: a difference of thousands of references would take minutes to print.
            let (old, new, freed) = (Set(before), Set(after), Set(checkpoint.freed))
            let isTree = new.count == after.count
            let isExact = freed.count == checkpoint.freed.count && old.subtracting(new) == freed
            let isComplete = new.subtracting(old) == Set(checkpoint.written.map(\.ref))
            try #require(isTree && isExact && isComplete, "seed \(seed), round \(round)")

            let fresh = NodeCache(limitBytes: 64 << 20)
            let reloaded = Tree(root: root, shape: shape)
            let isReloaded = try blocks.retrying(fresh) { try holds(reloaded, stored, fresh) }
            try #require(isReloaded, "seed \(seed), round \(round)")
            // What seeds the cache is what a reader would decode.
            let differing = try checkpoint.written.filter { ref, node in
                let decoded = try Node(decoding: try #require(blocks.frames[ref]), from: ref)
                return decoded.childReferences != node.childReferences || decoded.slots != node.slots
                    || decoded.heap != node.heap || decoded.live != node.live
            }
            #expect(differing.isEmpty)
        }
        #expect(blocks.sizes.allSatisfy { $0.payload <= 1 << 20 && $0.frames <= 2048 })
    }

    @Test("of one change write one node a level")
    func small() throws {
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree()
        try tree.apply((0..<50_000).map { Change(key: Key($0), value: [UInt8](repeating: 1, count: 80)) }, nodes: nodes)
        let first = tree.checkpoint(seal: blocks.seal)
        try tree.install(first, changesSince: [], nodes: nodes)
        let depth = try Audit(tree, nodes: nodes).depth
        let needed = (blocks.sizes.reduce(0) { $0 + $1.payload } + (1 << 20) - 1) >> 20
        #expect(blocks.sizes.count <= needed + 1)
        #expect(!tree.hasUnstoredNodes)

        try tree.apply([Change(key: Key(777), value: [2])], nodes: nodes)
        let second = tree.checkpoint(seal: blocks.seal)
        #expect(second.written.count == depth)
        #expect(second.freed.count == depth)
    }

    @Test("of several blocks find every node again, wherever a block ends", arguments: 51..<57 as Range<UInt64>)
    func blockEnds(_ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree(shape: .tiny)
        let changes = (0..<6_000).map { Change(key: Key($0), value: [UInt8(truncatingIfNeeded: $0)]) }
        // One by one in random order, so that the nodes are of all sizes.
        for change in changes.shuffled(using: &generator) { try tree.apply([change], nodes: nodes) }
        var model = Model()
        model.apply(changes)
        let checkpoint = tree.checkpoint(seal: blocks.seal)
        #expect(blocks.sizes.count >= 2 && blocks.sizes.dropLast().allSatisfy { $0.frames == 2048 })
        let isComplete = try Set(blocks.reachable(from: checkpoint.root)) == Set(checkpoint.written.map(\.ref))
        #expect(isComplete)
        let reloaded = Tree(root: checkpoint.root, shape: .tiny)
        let fresh = NodeCache(limitBytes: 64 << 20)
        for (ref, _) in checkpoint.written {
            fresh.insert(ref, try Node(decoding: try #require(blocks.frames[ref]), from: ref))
        }
        #expect(try holds(reloaded, model, fresh))
    }

    @Test("of a stored map write nothing, and of an emptied one free everything")
    func edges() throws {
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree(shape: .tiny)
        let empty = tree.checkpoint(seal: blocks.seal)
        #expect(empty.root == nil && empty.written.isEmpty && empty.freed.isEmpty)

        try tree.apply((0..<100).map { Change(key: Key($0), value: []) }, nodes: nodes)
        let full = tree.checkpoint(seal: blocks.seal)
        try tree.install(full, changesSince: [], nodes: nodes)
        let again = tree.checkpoint(seal: blocks.seal)
        #expect(again.root == full.root && again.written.isEmpty && again.freed.isEmpty)

        try tree.apply((0..<100).map { Change(key: Key($0), value: nil) }, nodes: nodes)
        #expect(tree.isEmpty)
        let emptied = tree.checkpoint(seal: blocks.seal)
        #expect(emptied.root == nil && emptied.written.isEmpty)
        let isExact = Set(emptied.freed) == Set(full.written.map(\.ref)) && emptied.freed.count == full.written.count
        #expect(isExact)
    }

    @Test("whose sealing fails change nothing")
    func failure() throws {
        struct Full: Error {}
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree()
        try tree.apply([Change(key: Key(1), value: [1])], nodes: nodes)
        #expect(throws: Full.self) { try tree.checkpoint { (_) throws(Full) in throw Full() } }
        #expect(try tree.value(Key(1), nodes: nodes) == [1])
    }
}

@Suite("Size follows content")
struct SizeTests {
    @Test(
        "mass removal shrinks the tree, in any order", arguments: [NodeShape.tiny, .standard], [41, 42, 43] as [UInt64])
    func massRemoval(_ shape: NodeShape, _ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let nodes = NodeCache(limitBytes: 64 << 20)
        let count = shape == .tiny ? 3_000 : 30_000
        var tree = Tree(shape: shape)
        try tree.apply((0..<count).map { Change(key: Key($0), value: [UInt8](repeating: 1, count: 60)) }, nodes: nodes)
        let full = try Audit(tree, nodes: nodes)
        var order = Array(0..<count)
        if seed != 41 { order.shuffle(using: &generator) }
        for number in order[..<(count * 9 / 10)] {
            try tree.apply([Change(key: Key(number), value: nil)], nodes: nodes)
        }
        let tenth = try Audit(tree, nodes: nodes)
        #expect(tenth.leaves <= full.leaves / 2)
        if shape == .standard { #expect(tenth.leaves <= 2 + tenth.entryBytes / shape.minimumBytes) }
        for number in order[(count * 9 / 10)...].dropLast() {
            try tree.apply([Change(key: Key(number), value: nil)], nodes: nodes)
        }
        let one = try Audit(tree, nodes: nodes)
        #expect(one.leaves == 1 && one.depth == 1)
        try tree.apply([Change(key: Key(order[count - 1]), value: nil)], nodes: nodes)
        #expect(tree.isEmpty)
    }

    @Test("keys that come in ascending order fill their nodes, also before others", arguments: [false, true])
    func ascending(_ othersFollow: Bool) throws {
        let nodes = NodeCache(limitBytes: 64 << 20)
        var tree = Tree()
        let value = [UInt8](repeating: 1, count: 60)
        if othersFollow {
            try tree.apply((0..<20).map { Change(key: Key(1 << 60 + $0), value: value) }, nodes: nodes)
        }
        for number in 0..<20_000 { try tree.apply([Change(key: Key(number), value: value)], nodes: nodes) }
        let audit = try Audit(tree, nodes: nodes)
        #expect(audit.leaves <= 1 + audit.entryBytes * 10 / 9 / NodeShape.standard.maximumBytes)
    }

    @Test("values and keys of the largest size fit")
    func largest() throws {
        let nodes = NodeCache(limitBytes: 64 << 20)
        let blocks = Blocks()
        var tree = Tree()
        let changes = (0..<60).map { number in
            Change(
                key: Key([UInt8](repeating: UInt8(number), count: Key.sizeLimit)),
                value: [UInt8](repeating: 1, count: Tree.valueSizeLimit))
        }
        for change in changes { try tree.apply([change], nodes: nodes) }
        _ = try Audit(tree, nodes: nodes)
        try tree.install(tree.checkpoint(seal: blocks.seal), changesSince: [], nodes: nodes)
        #expect(try contents(tree, nodes).entries.count == 60)
    }
}
