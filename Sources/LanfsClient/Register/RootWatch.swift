import LanfsProtocol
import NIOCore
import Synchronization

/// Has every keeper answer as soon as there is news: another client waits for the lease held here (L2), it is this one's turn
/// to have it (L7), or there is a newer root. Hints only: all of it is found out without them, a second or two later.
final class RootWatch: Sendable {
    private struct State {
        /// A watch is under way there.
        var keepers: Set<ServerID> = []
        /// The newest root that is known here.
        var known = Ballot.zero
        /// And the newest that each keeper told of, in case it is older than that, or no root at all.
        var told: [ServerID: Ballot] = [:]
        /// How often each told of something new since when.
        var quick: [ServerID: (count: Int, since: ContinuousClock.Instant)] = [:]

        /// News come with commits and turns of the lease; a keeper that lies has them without end.
        mutating func isTooOften(_ keeper: ServerID, _ now: ContinuousClock.Instant) -> Bool {
            var quick = quick[keeper] ?? (0, now)
            if now - quick.since > .seconds(1) { quick = (0, now) }
            quick.count += 1
            self.quick[keeper] = quick
            return quick.count > RootWatch.mostNews
        }
    }

    /// A keeper that answers at once and tells nothing new is asked again after this.
    private static let pause = Duration.seconds(1)
    /// News of a keeper in a second, and the pause before the next when there are more.
    fileprivate static let mostNews = 500
    private static let breath = Duration.milliseconds(10)

    /// There may be a newer root.
    let news: Changes
    private let register: RootRegister
    private let eventLoop: any EventLoop
    private let state = Mutex(State())

    init(_ register: RootRegister, on eventLoop: any EventLoop) {
        self.register = register
        self.eventLoop = eventLoop
        news = Changes(on: eventLoop)
    }

    /// From now on, and with a new epoch at other keepers, nobody needs to tell of this root or an older one.
    func follow(_ record: RootRecord) {
        guard let place = register.place else { return }
        let new = state.withLock { state in
            state.known = max(state.known, record.ballot)
            let new = place.keepers.members.filter { !state.keepers.contains($0) }
            state.keepers.formUnion(new)
            return new
        }
        for keeper in new { ask(keeper) }
    }

    private func ask(_ keeper: ServerID) {
        let place = register.place
        let isWanted = register.isWanted
        let known = state.withLock { state -> Ballot? in
            guard let place, place.keepers.members.contains(keeper) else {
                state.keepers.remove(keeper)
                return nil
            }
            return max(state.known, state.told[keeper] ?? .zero)
        }
        guard let place, let known else { return }
        let request = RegisterRequest(
            epoch: place.epoch, sender: register.queries.sender, body: .watch(known: known, knowsWanted: isWanted))
        let askedAt = ContinuousClock.now
        register.queries.transport(keeper, request) { [weak self] answer in
            guard let self else { return }
            let isNews = answer.response.map { self.take($0, to: request, of: keeper, known) } ?? false
            let now = ContinuousClock.now
            let pause: Duration =
                if isNews { self.state.withLock { $0.isTooOften(keeper, now) } ? Self.breath : .zero } else {
                    now - askedAt > Self.pause ? .zero : Self.pause
                }
            guard pause > .zero else { return self.ask(keeper) }
            self.eventLoop.scheduleTask(in: TimeAmount(pause)) { [weak self] in self?.ask(keeper) }
        }
    }

    /// - Returns: whether there was something new in it.
    private func take(
        _ response: RegisterResponse, to request: RegisterRequest, of keeper: ServerID, _ known: Ballot
    ) -> Bool {
        register.heard(keeper, request, response)
        switch response.verdict {
        case .yes: return true
        case .accepted(let ballot, _):
            let isNewer = ballot > known && response.learned == ballot
            if isNewer { state.withLock { $0.told[keeper] = ballot } }
            if isNewer || response.epoch > request.epoch { news.happened() }
            return isNewer || (response.wanted && register.isWanted) || !response.joining.isEmpty
        case .refused, .silence: return false
        }
    }
}
