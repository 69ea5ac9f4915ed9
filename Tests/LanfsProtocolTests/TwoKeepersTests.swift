import TestSupport
import Testing

@testable import LanfsProtocol

@Suite("Two keepers")
struct TwoKeepersTests {
    @Test("keep every rule, also where one of them answers a read alone")
    func keepEveryRule() {
        let seeds = environment("LANFS_SEED").map { [$0] } ?? Array(0..<(environment("LANFS_SEEDS") ?? 200))
        var commits = 0
        for seed in seeds {
            var world = RegisterWorld(RegisterWorldOptions(seed: seed, keepers: 2))
            do {
                try world.run()
                commits += world.oracle.commitCount
            } catch {
                Issue.record("seed \(seed): \(error); replay: LANFS_SEED=\(seed) swift test --filter TwoKeepersTests")
                return
            }
        }
        #expect(commits > seeds.count, "a simulation in which nothing happens proves nothing")
    }

    @Test("one alone tells the newest root once it has learned that it is chosen, and not before")
    func readsFromOne() throws {
        let fixture = RegisterFixture(keepers: 2)
        var read = FastRead(
            volume: fixture.volume, epoch: 1, keepers: Keepers(fixture.servers), sender: 9, verifier: SimulatedAuthority())
        _ = read.start(now: .zero)
        let ballot = fixture.genesis.ballot
        var answer = RegisterResponse(
            epoch: 1, highest: ballot, learned: .zero, verdict: .accepted(ballot, fixture.genesis))
        #expect(read.answered(fixture.servers[1], answer, now: .zero).isEmpty)
        answer.learned = ballot
        #expect(read.answered(fixture.servers[1], answer, now: .zero) == [.chosen(fixture.genesis)])
    }
}
