import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

@Suite("A walk")
struct WalkTests {
    /// Walks to the end, fetching what is stored; the stored nodes in the order they came, and how many were not stored.
    private func nodes(
        of tree: Tree, _ blocks: Blocks, skippingStored: Bool = false, window: Int, _ visit: (Node) -> Void = { _ in }
    ) throws -> (stored: [FrameRef], held: Int) {
        var walk = TreeWalk(tree, skippingStored: skippingStored)
        var stored: [FrameRef] = []
        var held = 0
        while case let places = walk.take(window), !places.isEmpty {
            for place in places {
                let node: Node
                if let missing = place.stored {
                    stored.append(missing.ref)
                    node = try Node(decoding: try #require(blocks.frames[missing.ref]), for: missing)
                } else {
                    held += 1
                    node = try #require(place.held)
                }
                visit(node)
                walk.enter(node)
            }
        }
        return (stored, held)
    }

    @Test("passes every node and every entry once", arguments: [1, 3, 1000] as [Int], [51, 52] as [UInt64])
    func everything(_ window: Int, _ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let blocks = Blocks()
        let cache = NodeCache(limitBytes: 64 << 20)
        var tree = Tree(shape: .tiny)
        var model = Model()
        for round in 0..<12 {
            for _ in 0..<generator.below(12) {
                let changes = (0..<40).map { _ in generator.change(among: 500, removals: 20, largest: 20) }
                try tree.apply(changes, nodes: cache)
                model.apply(changes)
            }
            var entries: [Change] = []
            let seen = try nodes(of: tree, blocks, window: window) { node in
                node.forEachEntry { entries.append(Change(key: $0, value: $1)) }
            }
            var walked = Model()
            walked.apply(entries)
            let isSame = walked == model && entries.count == model.entries.count
            try #require(isSame, "round \(round)")
            #expect(Set(seen.stored).count == seen.stored.count)

            let fresh = try nodes(of: tree, blocks, skippingStored: true, window: window)
            #expect(fresh.stored.isEmpty && fresh.held == seen.held)

            let checkpoint = tree.checkpoint(seal: blocks.seal)
            try tree.install(checkpoint, changesSince: [], nodes: cache)
            let stored = try nodes(of: tree, blocks, window: window)
            let isComplete = Set(stored.stored) == Set(try blocks.reachable(from: checkpoint.root))
            #expect(isComplete && stored.held == 0)
        }
    }

    @Test("of an empty map is over at once")
    func empty() throws {
        var walk = TreeWalk(Tree())
        #expect(walk.take(10).isEmpty)
    }
}
