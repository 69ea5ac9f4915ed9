import TestSupport
import Testing

@testable import LanfsProtocol

private struct Outcome: Equatable {
    var violation: String?
    var trace: UInt64
    var events: Int
}

private func outcome(seed: UInt64, mutant: RepairWorld.Mutant? = nil, counts: inout Tally) -> Outcome {
    var world = RepairWorld(seed: seed, mutant: mutant)
    var violation: String?
    do { try world.run() } catch { violation = "\(error)" }
    counts += world.counts
    return Outcome(violation: violation, trace: world.trace, events: world.events)
}

@Suite("Repair, simulated")
struct RepairSimulationTests {
    @Test("keeps every block under loss, partitions, crashes, lost disks, rot, lies and flapping")
    func keepsEveryRule() async {
        // 21246: a dead server was taken back from draining, and with it the majority that calls servers lost was gone.
        let tally: Tally = await simulate(
            "repair", test: "RepairSimulationTests/keepsEveryRule", seeds: 40, failedOnce: [21246]
        ) { seed, tally in
            var world = RepairWorld(seed: seed, mutant: nil)
            defer {
                tally += world.counts
                tally[.events] += world.events
                tally.nanoseconds += world.now
            }
            try world.run()
        }
        #expect(tally[.copies] > 10, "a simulation in which nothing is copied proves nothing")
        expect(Rule.repair, in: tally)
    }

    @Test("runs the same way twice from the same seed")
    func isExact() {
        for seed: UInt64 in 1000..<1002 {
            var counts = Tally()
            let first = outcome(seed: seed, counts: &counts)
            #expect(first == outcome(seed: seed, counts: &counts), "seed \(seed)")
        }
    }

    @Test("finds every rule that is broken on purpose", arguments: RepairWorld.Mutant.allCases)
    func findsMutant(_ mutant: RepairWorld.Mutant) {
        var counts = Tally()
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) {
            if let violation = outcome(seed: seed, mutant: mutant, counts: &counts).violation {
                print("mutant \(mutant): seed \(seed): \(violation)")
                return
            }
        }
        Issue.record("no seed notices \(mutant)")
    }
}
