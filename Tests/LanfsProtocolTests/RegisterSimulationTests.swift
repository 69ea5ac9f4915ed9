import TestSupport
import Testing

@testable import LanfsProtocol

private func outcome(_ options: RegisterWorldOptions) -> (violation: String?, trace: UInt64, events: Int, commits: Int)
{
    var world = RegisterWorld(options)
    do {
        try world.run()
        return (nil, world.trace, world.eventCount, world.oracle.commitCount)
    } catch {
        return ("\(error)", world.trace, world.eventCount, world.oracle.commitCount)
    }
}

@Suite("The rules that simulations watch")
struct RuleTests {
    @Test("every numbered rule of the protocol is met in a simulation, or named with what else decides it")
    func complete() {
        let numbers = ["A": 6, "P": 7, "L": 7, "T": 5, "B": 6, "G": 8, "M": 3, "F": 5].flatMap { letter, count in
            (1...count).map { "\(letter)\($0)" }
        }
        let watched = Set(Rule.allCases.map(\.number))
        #expect(watched.isDisjoint(with: Rule.elsewhere.keys))
        #expect(watched.union(Rule.elsewhere.keys) == Set(numbers))
        let required = Rule.moving + Rule.recovering + Rule.remembering + Rule.ofTimeAndDisk + Rule.garbage + Rule.repair
        #expect(Set(required) == Set(Rule.allCases), "a mark that no simulation has to reach")
    }
}

@Suite("The root register, simulated")
struct RegisterSimulationTests {
    @Test("keeps every rule under crashes, rot, loss, duplication, stalls and drifting clocks")
    func keepsEveryRule() async {
        // 35094: a keeper that lost its memory found it again, older, when more of its journals rotted.
        let tally: Tally = await simulate(
            "register", test: "RegisterSimulationTests/keepsEveryRule", seeds: 500, failedOnce: [35094]
        ) { seed, tally in
            var world = RegisterWorld(RegisterWorldOptions(seed: seed))
            defer {
                tally += world.tally
                tally[.commits] += world.oracle.commitCount
                tally[.events] += world.eventCount
                tally.nanoseconds += world.now
            }
            try world.run()
        }
        #expect(tally[.commits] > 10, "a simulation in which nothing happens proves nothing")
        expect(Rule.agreement + Rule.ofTimeAndDisk, in: tally)
    }

    @Test("runs the same way twice from the same seed")
    func isExact() {
        for seed: UInt64 in 1000..<1010 {
            let first = outcome(RegisterWorldOptions(seed: seed))
            let second = outcome(RegisterWorldOptions(seed: seed))
            #expect(first == second, "seed \(seed)")
        }
    }

    @Test(
        "agrees under any order of messages, while keepers come and go, and when one is given up",
        arguments: RegisterScheduler.Stage.allCases)
    func agrees(_ stage: RegisterScheduler.Stage) async {
        let tally: Tally = await simulate("agreement, \(stage)", test: "RegisterSimulationTests/agrees", seeds: 5000) { seed, tally in
            var scheduler = RegisterScheduler(seed: seed, stage: stage)
            defer {
                tally += scheduler.tally
                tally[.commits] += scheduler.oracle.commitCount
                tally[.moves] += scheduler.oracle.epochCount - 1
            }
            try scheduler.run()
        }
        #expect(tally[.commits] > 0, "a simulation in which nothing happens proves nothing")
        let rules = stage == .fixed ? Rule.agreement : stage == .moving ? Rule.moving : Rule.recovering
        expect(rules, in: tally)
    }

    @Test("finds every rule of agreement that is broken on purpose", arguments: RegisterScheduler.Mutant.allCases)
    func findsAgreementMutant(_ mutant: RegisterScheduler.Mutant) {
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) * 10 {
            var scheduler = RegisterScheduler(seed: seed, stage: mutant.stage, mutant: mutant)
            do { try scheduler.run() } catch {
                print("mutant \(mutant): seed \(seed): \(error)")
                return
            }
        }
        Issue.record("no seed notices \(mutant)")
    }

    @Test(
        "finds every rule of time and disk that is broken on purpose", arguments: RegisterWorldOptions.Mutant.allCases)
    func findsMutant(_ mutant: RegisterWorldOptions.Mutant) {
        // The lease of one that was alone goes on at just the right keepers once in a few thousand.
        let seeds = (environment("LANFS_MUTANT_SEEDS") ?? 1000) * (mutant == .countsSigns ? 10 : 1)
        for seed: UInt64 in 0..<seeds {
            // One keeper makes the narrowest stage for a lease that is believed in for too long.
            let keepers = mutant == .everyYesCounts ? 1 : 3
            let result = outcome(RegisterWorldOptions(seed: seed, mutant: mutant, keepers: keepers))
            if let violation = result.violation {
                print("mutant \(mutant): seed \(seed): \(violation)")
                return
            }
        }
        Issue.record("no seed notices \(mutant)")
    }
}
