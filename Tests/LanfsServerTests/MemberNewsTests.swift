import LanfsProtocol
import Testing

@testable import LanfsServer

@Suite("What the log says of the other servers") struct MemberNewsTests {
    private let ids: [ServerID] = (1...3).map { ServerID(word0: $0, word1: 0, word2: 0, word3: 0) }

    @Test("a line when one goes, is given up, and comes back, and none for who was not heard yet")
    func health() {
        let config = VolumeConfig(
            version: 1, servers: ids.map { Member(server: $0, weight: 1) }, keepers: Keepers([ids[0]]), replicas: 2)
        var options = MemberOptions()
        options.timing.grace = .seconds(10)
        var core = MemberCore(server: ids[0], incarnation: 1, config: config, options: options, now: .zero)
        var news = MemberNews()
        func run(from start: Int, to end: Int, hearing: [Int]) -> [String] {
            var lines: [String] = []
            for second in start..<end {
                let now = Duration.seconds(second)
                _ = core.tick(nonce: UInt128(second), now: now)
                var hears = MemberSet()
                hears.insert(0)
                for place in hearing { hears.insert(place) }
                for place in hearing {
                    let heartbeat = Heartbeat(incarnation: 7, number: UInt64(second), configVersion: 1, hears: hears)
                    _ = core.heard(heartbeat, from: ids[place], now: now)
                }
                lines += news.look(at: core, now: now).map(\.description)
            }
            return lines
        }
        // The first look is before anybody was heard.
        _ = news.look(at: core, now: .zero)
        #expect(run(from: 1, to: 5, hearing: [1, 2]).count == 2)
        #expect(run(from: 5, to: 8, hearing: [1, 2]).isEmpty)
        let gone = run(from: 8, to: 60, hearing: [1])
        #expect(gone.count == 2 && gone[0].hasSuffix("is silent") && gone[1].contains("is lost"))
        let back = run(from: 60, to: 70, hearing: [1, 2])
        #expect(back.count == 1 && back[0].hasSuffix("is there"))
    }
}
