import Testing

@testable import LanfsClient

@Suite("A turn with the lease that another client waits for")
struct TurnTests {
    private let start = ContinuousClock.now
    private func at(_ microseconds: Int) -> ContinuousClock.Instant { start + .microseconds(microseconds) }

    @Test("ends soon after the last change, and not before there was one")
    func idle() throws {
        var turn = Turn(since: start)
        #expect(turn.rest(at(20_000)) != nil, "what it was got for is not done yet")
        turn.changed(at(20_100))
        #expect(turn.rest(at(20_600)) == .microseconds(500))
        #expect(turn.rest(at(21_100)) == nil)
    }

    @Test("lasts 50 ms for one that goes on changing things, and no longer")
    func busy() {
        var turn = Turn(since: start)
        for time in stride(from: 0, to: 49_900, by: 100) {
            turn.changed(at(time))
            #expect(turn.rest(at(time)) != nil)
        }
        turn.changed(at(49_900))
        #expect(turn.rest(at(49_950)) == .microseconds(50))
        #expect(turn.rest(at(50_000)) == nil)
        #expect(Turn(since: start).rest(at(50_000)) == nil, "not even for one that has done nothing yet")
    }
}
