import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

struct Scenario: CustomTestStringConvertible, Sendable {
    let shape: NodeShape
    let seed: UInt64
    let operations: Int
    let keys: Int
    let largest: Int

    var testDescription: String { "\(shape.testDescription), \(keys) keys, seed \(seed)" }
}

@Suite("The map equals a sorted array")
struct MapTests {
    static let scenarios = [
        Scenario(shape: .tiny, seed: 1, operations: 60_000, keys: 300, largest: 60),
        Scenario(shape: .tiny, seed: 2, operations: 20_000, keys: 3_000, largest: 10),
        Scenario(shape: .standard, seed: 3, operations: 40_000, keys: 8_000, largest: 200),
        Scenario(shape: .standard, seed: 4, operations: 10_000, keys: 1_000, largest: Tree.valueSizeLimit),
    ]

    @Test("through any changes, for point reads, scans and neighbours", arguments: scenarios)
    func randomOperations(_ scenario: Scenario) throws {
        var generator = SplitMix64(seed: scenario.seed)
        let nodes = NodeCache(limitBytes: 1 << 20)
        var tree = Tree(shape: scenario.shape)
        var model = Model()
        for step in 0..<scenario.operations {
            // Phases of growing and shrinking, so that the tree is small and large in turn.
            let removals = step / (scenario.operations / 6) % 2 == 0 ? 25 : 70
            let count = generator.below(200) == 0 ? generator.below(400) : 1 + generator.below(2)
            let changes = (0..<count).map { _ in
                generator.change(among: scenario.keys, removals: removals, largest: scenario.largest)
            }
            try tree.apply(changes, nodes: nodes)
            model.apply(changes)

            let key = generator.key(among: scenario.keys)
            let other = generator.key(among: scenario.keys)
            let (from, below) = (min(key, other), max(key, other))
            let range = model.range(from: from, below: below)
            guard try tree.value(key, nodes: nodes) == model.value(key),
                same(try tree.next(from: from, below: below, nodes: nodes), range.first),
                same(try tree.previous(before: below, atLeast: from, nodes: nodes), range.last)
            else {
                Issue.record("step \(step): a read of \(key), or between \(from) and \(below), differs")
                return
            }
            if step % 500 == 0 {
                _ = try Audit(tree, nodes: nodes)
                var scanned: [Key] = []
                try tree.scan(from: from, below: below, nodes: nodes) { key, _ in
                    scanned.append(key)
                    return scanned.count < 100
                }
                try #require(scanned == range.prefix(100).map(\.key))
            }
        }
        _ = try Audit(tree, nodes: nodes)
        #expect(try holds(tree, model, nodes))
    }
    @Test("for keys that are prefixes of each other and full of zeros", arguments: [5, 6] as [UInt64])
    func awkwardKeys(_ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let nodes = NodeCache(limitBytes: 1 << 20)
        for shape in [NodeShape.tiny, .standard] {
            var tree = Tree(shape: shape)
            var model = Model()
            for _ in 0..<4_000 {
                let key = Key((0..<generator.below(9)).map { _ in UInt8(generator.below(2)) })
                let change = Change(key: key, value: generator.below(5) < 2 ? nil : generator.bytes(generator.below(9)))
                try tree.apply([change], nodes: nodes)
                model.apply([change])
                let other = Key((0..<generator.below(11)).map { _ in UInt8(generator.below(2)) })
                try #require(try tree.value(other, nodes: nodes) == model.value(other))
                let next = try tree.next(from: other, below: .top, nodes: nodes)
                try #require(same(next, model.range(from: other, below: .top).first))
                let previous = try tree.previous(before: other, atLeast: .empty, nodes: nodes)
                try #require(same(previous, model.range(from: .empty, below: other).last))
            }
            _ = try Audit(tree, nodes: nodes)
            #expect(try holds(tree, model, nodes))
        }
    }
}
