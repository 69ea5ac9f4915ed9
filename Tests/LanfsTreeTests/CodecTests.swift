import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsTree

private let somewhere = FrameRef(
    block: BlockID(word0: 1, word1: 2, word2: 3, word3: 4), key: BlockKey(word0: 5, word1: 6, word2: 7, word3: 8),
    index: 9, offset: 10, length: 11)

/// Bytes that are not quite what an encoder wrote.
private func mutated(_ bytes: [UInt8], _ generator: inout SplitMix64) -> [UInt8] {
    var bytes = bytes
    for _ in 0...generator.below(4) {
        let index = generator.below(max(1, bytes.count))
        switch generator.below(5) {
        case 0 where !bytes.isEmpty: bytes[index] ^= 1 << UInt8(generator.below(8))
        case 1 where !bytes.isEmpty: bytes[index] = [0, 1, 127, 128, 255][generator.below(5)]
        case 2 where !bytes.isEmpty: bytes.removeSubrange(index...)
        case 3 where !bytes.isEmpty: bytes.remove(at: index)
        default: bytes.insert(UInt8(generator.below(256)), at: min(index, bytes.count))
        }
    }
    return bytes
}

@Suite("Node encoding")
struct NodeCodecTests {
    private func samples() throws -> [(FrameRef, [UInt8])] {
        let blocks = Blocks()
        let nodes = NodeCache(limitBytes: 64 << 20)
        var generator = SplitMix64(seed: 51)
        for shape in [NodeShape.tiny, .standard] {
            var tree = Tree(shape: shape)
            for _ in 0..<3 {
                let changes = (0..<300).map { _ in generator.change(among: 3_000, removals: 0, largest: 100) }
                try tree.apply(changes, nodes: nodes)
                try tree.install(tree.checkpoint(seal: blocks.seal), changesSince: [], nodes: nodes)
            }
        }
        return blocks.frames.map { ($0.key, $0.value) }.sorted { ($0.0.block, $0.0.offset) < ($1.0.block, $1.0.offset) }
    }

    @Test("takes random bytes without a trap and refuses them", arguments: [61, 62] as [UInt64])
    func random(_ seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        for _ in 0..<20_000 {
            var bytes = generator.bytes(generator.below(200))
            if generator.below(2) == 0, bytes.count > 4 {
                bytes[0] = 1
                bytes[1] = UInt8(generator.below(3))
                bytes[2] = 0
            }
            _ = try? Node(decoding: bytes, from: somewhere)
        }
    }

    @Test("takes damaged nodes without a trap, and what it accepts is in order", arguments: [71, 72] as [UInt64])
    func damaged(_ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let samples = try samples()
        var refused = 0
        for _ in 0..<20_000 {
            let (ref, payload) = samples[generator.below(samples.count)]
            guard let node = try? Node(decoding: mutated(payload, &generator), from: ref) else {
                refused += 1
                continue
            }
            for index in 0..<node.count {
                _ = node.value(index)
                if index > 0 { try #require(node.key(index - 1) < node.key(index)) }
            }
            _ = node.lowerBound(generator.key(among: 3_000))
        }
        #expect(refused > 1_000)
    }

    @Test("refuses every cut and every addition")
    func cuts() throws {
        for (ref, payload) in try samples().prefix(20) {
            for length in 0..<payload.count {
                #expect(throws: DecodingError.self) { try Node(decoding: Array(payload[..<length]), from: ref) }
            }
            #expect(throws: DecodingError.self) { try Node(decoding: payload + [0], from: ref) }
        }
    }

    @Test("refuses keys out of order, repeated keys, an unknown version and an empty node")
    func wrong() {
        func node(_ version: UInt8, _ keys: [UInt8]) -> [UInt8] {
            [version, 0, 0, UInt8(keys.count)] + keys.flatMap { [0, 1, 0, 1, $0, 9] }
        }
        #expect(throws: Never.self) { try Node(decoding: node(1, [1, 2, 3]), from: somewhere) }
        for bytes in [node(1, [1, 3, 2]), node(1, [1, 1]), node(2, [1]), node(0, [1]), node(1, [])] {
            #expect(throws: DecodingError.self) { try Node(decoding: bytes, from: somewhere) }
        }
    }
}

@Suite("Change sets")
struct ChangeSetTests {
    private func sample(_ count: Int, seed: UInt64, previous: FrameRef? = somewhere) -> ChangeSet {
        var generator = SplitMix64(seed: seed)
        return ChangeSet(
            sequence: generator.next(), previous: previous,
            changes: (0..<count).map { _ in generator.change(among: 1_000, removals: 20, largest: 500) })
    }

    @Test("come back as they were, from any number of frames", arguments: [0, 1, 2, 100, 5_000])
    func roundTrip(_ count: Int) throws {
        for previous in [nil, somewhere] {
            let set = sample(count, seed: UInt64(count), previous: previous)
            let size = set.encoded().count
            #expect(size <= set.encodedSize)
            for limit in [size - 1, size, size + 1, 1_000, Limits.chunkSize] {
                let payloads = set.payloads(maximumFrame: limit)
                #expect(payloads.dropLast().allSatisfy { $0.count == limit } && payloads.last?.isEmpty == false)
                #expect(payloads.allSatisfy { $0.count <= limit })
                #expect(try ChangeSet(joining: payloads) == set)
            }
        }
    }

    @Test("keep removals apart from empty values")
    func emptyValue() throws {
        let set = ChangeSet(
            sequence: 1, previous: nil, changes: [Change(key: Key(1), value: []), Change(key: Key(2), value: nil)])
        #expect(try ChangeSet(joining: set.payloads()) == set)
    }

    @Test("too large for one block are cut into several that make the same changes")
    func split() {
        let set = sample(5_000, seed: 81)
        let parts = set.split(maximumBytes: 10_000)
        #expect(parts.count > 10)
        #expect(parts.allSatisfy { $0.encodedSize <= 10_000 && $0.sequence == set.sequence })
        #expect(parts.flatMap(\.changes) == set.changes)
        #expect(parts[0].previous == somewhere)
        #expect(set.split() == [set] || set.encodedSize > 1 << 20)
        #expect(sample(0, seed: 82).split() == [sample(0, seed: 82)])
    }

    @Test("that are cut, damaged or random are refused without a trap", arguments: [91, 92] as [UInt64])
    func hostile(_ seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let bytes = sample(20, seed: seed).encoded()
        for length in 0..<bytes.count {
            #expect(throws: DecodingError.self) { try ChangeSet(joining: [Array(bytes[..<length])]) }
        }
        for _ in 0..<20_000 { _ = try? ChangeSet(joining: [mutated(bytes, &generator)]) }
        for _ in 0..<20_000 { _ = try? ChangeSet(joining: [generator.bytes(generator.below(120))]) }
        // A count that promises four billion changes costs nothing.
        var huge = sample(0, seed: 1, previous: nil).encoded()
        huge.replaceSubrange((huge.count - 4)..., with: [255, 255, 255, 255])
        #expect(throws: DecodingError.self) { try ChangeSet(joining: [huge]) }
        #expect(throws: DecodingError.self) { try ChangeSet(joining: []) }
    }
}
