import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

@Suite("A difference of two trees")
struct DifferenceTests {
    /// Fetches what is missing until it is known; how many nodes that were.
    private func difference(
        _ old: Tree, _ new: Tree, _ blocks: Blocks, limit: Int = .max
    ) throws -> (changes: [Change]?, fetched: Int) {
        let cache = NodeCache(limitBytes: 64 << 20)
        var fetched = 0
        while true {
            switch old.difference(to: new, limit: limit, nodes: cache) {
            case .changes(let changes): return (changes, fetched)
            case .large: return (nil, fetched)
            case .missing(let missing):
                for node in missing {
                    cache.insert(node.ref, try Node(decoding: try #require(blocks.frames[node.ref]), for: node))
                    fetched += 1
                }
            }
        }
    }

    @Test(
        "makes the one of the other, whatever lies between them, and nothing else", arguments: [61, 62, 63] as [UInt64])
    func makes(_ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let blocks = Blocks()
        let cache = NodeCache(limitBytes: 64 << 20)
        var tree = Tree(shape: .tiny)
        var model = Model()
        var snapshots: [(tree: Tree, model: Model)] = [(tree, model)]
        for _ in 0..<14 {
            // Much, little or nothing; of a tree that grows and shrinks.
            for _ in 0..<generator.below(8) {
                let removals = generator.below(100)
                let changes = (0..<1 + generator.below(40)).map { _ in
                    generator.change(among: 500, removals: removals, largest: 20)
                }
                try tree.apply(changes, nodes: cache)
                model.apply(changes)
            }
            if generator.below(3) > 0 {
                try tree.install(tree.checkpoint(seal: blocks.seal), changesSince: [], nodes: cache)
            }
            snapshots.append((tree, model))
        }
        for _ in 0..<60 {
            let (old, new) = (snapshots[generator.below(snapshots.count)], snapshots[generator.below(snapshots.count)])
            let changes = try #require(try difference(old.tree, new.tree, blocks).changes)
            var made = old.model
            made.apply(changes)
            let isSame = made == new.model
            let isNeeded = changes.allSatisfy { old.model.value($0.key) != $0.value }
            try #require(isSame && isNeeded)
            #expect(changes.map(\.key) == changes.map(\.key).sorted())
        }
    }

    @Test("reads only what is not the same, and gives up where that is much")
    func reads() throws {
        let blocks = Blocks()
        let cache = NodeCache(limitBytes: 64 << 20)
        var old = Tree(shape: .tiny)
        func change(_ number: Int, _ value: UInt8) -> Change {
            Change(key: Key([UInt8(number >> 8), UInt8(number & 255)]), value: [value])
        }
        try old.apply((0..<5000).map { change($0, 0) }, nodes: cache)
        try old.install(old.checkpoint(seal: blocks.seal), changesSince: [], nodes: cache)
        var new = old
        try new.apply([change(2500, 1)], nodes: cache)
        try new.install(new.checkpoint(seal: blocks.seal), changesSince: [], nodes: cache)
        let (changes, fetched) = try difference(old, new, blocks)
        #expect(changes == [change(2500, 1)] && fetched < 20)
        let none = try difference(old, old, blocks)
        #expect(none.changes == [] && none.fetched == 0)
        try new.apply((0..<5000).map { change($0, 2) }, nodes: cache)
        try new.install(new.checkpoint(seal: blocks.seal), changesSince: [], nodes: cache)
        #expect(try difference(old, new, blocks, limit: 50).changes == nil)
    }
}
