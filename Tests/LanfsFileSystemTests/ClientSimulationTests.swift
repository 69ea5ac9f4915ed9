import TestSupport
import Testing

@Suite("Clients that overtake each other, simulated")
struct ClientSimulationTests {
    @Test("nothing acknowledged is lost, nothing is done twice, every root is whole (L6, T1, T2, T5)")
    func keepsEveryRule() async {
        let tally: ClientsTally = await simulate("clients", test: "ClientSimulationTests/keepsEveryRule", seeds: 300) { seed, tally in
            var world = try ClientsWorld(seed: seed)
            defer { tally += world.tally }
            try world.run(steps: 250)
        }
        guard environment("LANFS_SEED") == nil else { return }
        for kind in ClientsTally.Kind.allCases { #expect(tally[kind] > 10, "too few \(kind) to prove anything") }
    }

    @Test("finds every rule that is broken on purpose", arguments: ClientsWorld.Mutant.allCases)
    func findsMutant(_ mutant: ClientsWorld.Mutant) throws {
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) {
            do {
                var world = try ClientsWorld(seed: seed, mutant: mutant)
                try world.run(steps: 250)
            } catch {
                return
            }
        }
        Issue.record("no seed finds the mutant \(mutant)")
    }
}
