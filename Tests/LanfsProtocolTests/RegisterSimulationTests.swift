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

@Suite("The root register, simulated")
struct RegisterSimulationTests {
    @Test("keeps every rule under crashes, rot, loss, duplication, stalls and drifting clocks")
    func keepsEveryRule() {
        let seeds = environment("LANFS_SEED").map { [$0] } ?? Array(0..<(environment("LANFS_SEEDS") ?? 200))
        var events = 0
        var commits = 0
        for seed in seeds {
            let result = outcome(RegisterWorldOptions(seed: seed))
            events += result.events
            commits += result.commits
            if let violation = result.violation {
                Issue.record(
                    """
                    seed \(seed): \(violation)
                    replay: LANFS_SEED=\(seed) swift test --filter RegisterSimulationTests/keepsEveryRule
                    """)
                return
            }
        }
        print("register simulation: \(seeds.count) seeds, \(events) events, \(commits) commits")
        #expect(commits > seeds.count, "a simulation in which nothing happens proves nothing")
    }

    @Test("runs the same way twice from the same seed")
    func isExact() {
        for seed: UInt64 in 1000..<1010 {
            let first = outcome(RegisterWorldOptions(seed: seed))
            let second = outcome(RegisterWorldOptions(seed: seed))
            #expect(first == second, "seed \(seed)")
        }
    }

    @Test("agrees under any order of messages")
    func agreesInAnyOrder() {
        let seeds = environment("LANFS_SEED").map { [$0] } ?? Array(0..<(environment("LANFS_SEEDS") ?? 200) * 5)
        var commits = 0
        for seed in seeds {
            var scheduler = RegisterScheduler(seed: seed)
            do {
                try scheduler.run()
                commits += scheduler.oracle.commitCount
            } catch {
                Issue.record(
                    """
                    seed \(seed): \(error)
                    replay: LANFS_SEED=\(seed) swift test --filter RegisterSimulationTests/agreesInAnyOrder
                    """)
                return
            }
        }
        print("register scheduler: \(seeds.count) seeds, \(commits) commits")
        #expect(commits > seeds.count / 4, "a simulation in which nothing happens proves nothing")
    }

    @Test("finds every rule of agreement that is broken on purpose", arguments: RegisterScheduler.Mutant.allCases)
    func findsAgreementMutant(_ mutant: RegisterScheduler.Mutant) {
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) * 10 {
            var scheduler = RegisterScheduler(seed: seed, mutant: mutant)
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
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) {
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

    @Test("agrees while keepers come and go, under any order of messages")
    func agreesWhileMoving() {
        let seeds = environment("LANFS_SEED").map { [$0] } ?? Array(0..<(environment("LANFS_SEEDS") ?? 200) * 5)
        var (commits, epochs) = (0, 0)
        for seed in seeds {
            var scheduler = MoveScheduler(seed: seed)
            do {
                try scheduler.run()
                commits += scheduler.oracle.commitCount
                epochs += scheduler.oracle.epochCount - 1
            } catch {
                Issue.record(
                    """
                    seed \(seed): \(error)
                    replay: LANFS_SEED=\(seed) swift test --filter RegisterSimulationTests/agreesWhileMoving
                    """)
                return
            }
        }
        print("keeper moves: \(seeds.count) seeds, \(commits) commits, \(epochs) moves")
        #expect(epochs > seeds.count / 2, "a simulation in which nothing moves proves nothing")
    }

    @Test("finds every rule of moving that is broken on purpose", arguments: MoveScheduler.Mutant.allCases)
    func findsMovingMutant(_ mutant: MoveScheduler.Mutant) {
        for seed: UInt64 in 0..<(environment("LANFS_MUTANT_SEEDS") ?? 1000) * 10 {
            var scheduler = MoveScheduler(seed: seed, mutant: mutant)
            do { try scheduler.run() } catch {
                print("mutant \(mutant): seed \(seed): \(error)")
                return
            }
        }
        Issue.record("no seed notices \(mutant)")
    }
}
