import Glibc
import TestSupport
import Testing

@testable import LanfsProtocol

@Suite("Block placement")
struct BlockPlacementTests {
    private var random = SplitMix64(seed: 42)

    private static func config(_ members: [Member], replicas: UInt8 = 2) -> VolumeConfig {
        VolumeConfig(
            version: 1, servers: members, keepers: Keepers([members[0].server]), replicas: replicas)
    }

    @Test("gives each server its share by weight")
    mutating func balances() {
        let members = [1, 2, 4, 8, 1].map { Member(server: random.id(), weight: $0) }
        let placement = BlockPlacement(Self.config(members, replicas: 1))
        let total = 40_000
        var counts: [ServerID: Int] = [:]
        for _ in 0..<total { counts[placement.replicas(of: random.id())[0], default: 0] += 1 }
        for member in members {
            let share = Double(counts[member.server] ?? 0) / Double(total)
            let expected = Double(member.weight) / 16
            // Four standard deviations.
            #expect(abs(share - expected) < 4 * (expected * (1 - expected) / Double(total)).squareRoot())
        }
    }

    @Test("moves to a new server its share and nothing else")
    mutating func movesLittle() {
        let members = (0..<5).map { _ in Member(server: random.id(), weight: 3) }
        let newcomer = Member(server: random.id(), weight: 3)
        let before = BlockPlacement(Self.config(members))
        let after = BlockPlacement(Self.config(members + [newcomer]))
        var moved = 0
        for _ in 0..<10_000 {
            let block: BlockID = random.id()
            let old = before.ranking(of: block)
            let new = after.ranking(of: block)
            #expect(new.filter { $0 != newcomer.server } == old)
            if after.replicas(of: block).contains(newcomer.server) { moved += 1 }
        }
        #expect(abs(moved - 10_000 / 3) < 200, "two copies on six equal servers: a third")
    }

    @Test("ranks only active servers with room, every one once, the same way for everybody")
    mutating func ranks() {
        let members = [
            Member(server: random.id(), weight: 5), Member(server: random.id(), state: .draining, weight: 5),
            Member(server: random.id(), state: .gone, weight: 5), Member(server: random.id(), weight: 0),
            Member(server: random.id(), weight: 7), Member(server: random.id(), weight: 1),
        ]
        let placement = BlockPlacement(Self.config(members))
        let mirrored = BlockPlacement(Self.config(members.reversed()))
        let expected = [members[0], members[4], members[5]].map(\.server).sorted()
        for _ in 0..<1000 {
            let block: BlockID = random.id()
            #expect(placement.ranking(of: block).sorted() == expected)
            #expect(placement.ranking(of: block) == mirrored.ranking(of: block))
            #expect(placement.replicas(of: block) == Array(placement.ranking(of: block).prefix(2)))
        }
    }

    @Test("has no answer without servers and one with one")
    mutating func smallest() {
        let only = Member(server: random.id(), weight: 1)
        let witness = Member(server: random.id(), weight: 0)
        #expect(BlockPlacement(Self.config([only])).replicas(of: random.id()) == [only.server])
        #expect(BlockPlacement(Self.config([witness])).replicas(of: random.id()).isEmpty)
        #expect(Self.config([only, witness]).requiredCopies == 1)
    }

    /// The format itself: a block found by one version must be found by the next.
    @Test("never changes")
    func isStable() {
        let members = (1...4).map {
            Member(server: ServerID(word0: $0, word1: $0, word2: $0, word3: $0), weight: UInt16($0))
        }
        let placement = BlockPlacement(Self.config(members))
        let rankings = (0..<6).map { index in
            placement.ranking(of: BlockID(word0: index, word1: 0, word2: 0, word3: 0)).map { $0.word0 }
        }
        #expect(
            rankings == [
                [4, 3, 2, 1], [4, 3, 2, 1], [3, 4, 2, 1], [2, 4, 3, 1], [4, 2, 3, 1], [3, 4, 2, 1],
            ])
    }

    @Test("has a logarithm as good as the C library's")
    mutating func logarithm() {
        for _ in 0..<10_000 {
            let x = Double(random.next() >> 11) / Double(1 << 53 as UInt64) + 1e-17
            let error = abs(BlockPlacement.logarithm(x) - log(x))
            #expect(error <= 1e-15 * max(1, abs(log(x))))
        }
    }
}
