import TestSupport
import Testing

@testable import LanfsProtocol

/// `LANFS_EXPLORE_DEPTH` and `LANFS_EXPLORE_STATES` go further than there is time for otherwise.
@Suite("Every order of messages")
struct ExplorationTests {
    private let states = Int(environment("LANFS_EXPLORE_STATES") ?? 60_000)

    @Test("between three keepers, two clients, a seal and a crash keeps to agreement")
    func agrees() {
        var exploration = Exploration()
        let outcome = exploration.run(depth: Int(environment("LANFS_EXPLORE_DEPTH") ?? 100), limit: states)
        #expect(outcome.violation == nil)
        #expect(outcome.epochs == 2 && outcome.commits > 0, "an exploration in which nothing happens proves nothing")
        print(
            "exploration: \(outcome.states) states, \(outcome.steps) steps, \(outcome.depth) deep"
                + (outcome.isComplete ? ", nothing left out" : ""))
    }

    @Test("finds every rule that is broken on purpose", arguments: Exploration.Mutant.allCases)
    func findsMutant(_ mutant: Exploration.Mutant) {
        var exploration = Exploration(mutant: mutant)
        let outcome = exploration.run(depth: 100, limit: 400_000)
        print("mutant \(mutant): \(outcome.violation ?? "not found in \(outcome.states) states, \(outcome.depth) deep")")
        #expect(outcome.violation != nil)
    }
}
