import TestSupport
import Testing

@testable import LanfsProtocol

@Suite("Recoveries by force on several sides, simulated")
struct RecoverySimulationTests {
    @Test("alarm exactly those who have seen what is not in the volume any more (F1)")
    func keepsEveryRule() async {
        let tally: Tally = await simulate("recoveries", test: "RecoverySimulationTests/keepsEveryRule", seeds: 2000) { seed, tally in
            var world = RecoveryWorld(seed: seed)
            defer { tally += world.tally }
            try world.run()
        }
        expect(Rule.remembering, in: tally)
    }

    @Test("finds a history that is read wrong on purpose", arguments: RecoveryWorld.Mutant.allCases)
    func findsMutant(_ mutant: RecoveryWorld.Mutant) {
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) {
            var world = RecoveryWorld(seed: seed, mutant: mutant)
            do { try world.run() } catch {
                print("mutant \(mutant): seed \(seed): \(error)")
                return
            }
        }
        Issue.record("no seed notices \(mutant)")
    }
}
