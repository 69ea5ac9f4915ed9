import LanfsProtocol
import TestSupport
import Testing

@Suite("Garbage, simulated")
struct GarbageSimulationTests {
    @Test("is collected, and nothing else, under late, repeated and reordered messages and dying clients")
    func keepsEveryRule() async {
        let tally: Tally = await simulate("garbage", test: "GarbageSimulationTests/keepsEveryRule", seeds: 1000) { seed, tally in
            var world = GarbageWorld(seed: seed)
            defer { tally += world.tally }
            try world.run(steps: 600)
        }
        #expect(tally[.deletions] > 10, "a simulation in which nothing is swept proves nothing")
        #expect(tally[.pins] > 10 && tally[.held] > 10, "nor does one in which nothing is kept after a recovery")
        expect(Rule.garbage + [.M3], in: tally)
    }

    @Test("finds every rule that is broken on purpose", arguments: GarbageWorld.Mutant.allCases)
    func findsMutant(_ mutant: GarbageWorld.Mutant) {
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) {
            var world = GarbageWorld(seed: seed, mutant: mutant)
            do { try world.run(steps: 600) } catch { return }
        }
        Issue.record("no seed finds the mutant \(mutant)")
    }

    @Test("the fence lets pass what no sweep of the commit's root can take")
    func fence() {
        #expect(UploadFence.allows(base: 0, tag: 0))
        #expect(UploadFence.allows(base: 5, tag: 4))
        #expect(UploadFence.allows(base: 5, tag: 9))
        #expect(!UploadFence.allows(base: 5, tag: 3))
        #expect(UploadFence.allows(base: .max, tag: .max - 1))
        #expect(UploadFence.allows(base: 0, tag: .max))
    }

    @Test("a first collection sweeps nothing, a later one what is two collections old")
    func cutoff() {
        #expect(GarbageCollection(gcEpoch: 0).cutoff == nil)
        #expect(GarbageCollection(gcEpoch: 1).cutoff == nil)
        var collection = GarbageCollection(gcEpoch: 3)
        #expect(collection.cutoff == 1)
        func id(_ number: UInt64) -> BlockID { BlockID(word0: number, word1: 0, word2: 0, word3: 0) }
        let (old, reached, new) = (id(1), id(2), id(3))
        for (block, tag) in [(old, 1), (reached, 0), (new, 2)] as [(BlockID, UInt64)] {
            collection.consider(StoredBlock(block: block, length: 1, gcEpoch: tag))
        }
        collection.mark(reached)
        #expect(collection.unreached() == [old])
    }
}
