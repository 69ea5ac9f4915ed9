import Testing

@testable import LanfsProtocol

@Suite("Joining")
struct JoiningTests {
    private let fixture = RegisterFixture(keepers: 3)
    private let bob = RegisterFixture.bob

    private func join(_ ticket: UInt64? = nil) -> RegisterRequest {
        fixture.request(.join(known: nil, ticket: ticket), from: bob)
    }

    /// A keeper whose lease alice holds since 0.
    private func held() -> Keeper<SimulatedAuthority> {
        var keeper = fixture.keeper()
        let step = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        #expect(step.response?.isAlone == true)
        return keeper
    }

    @Test("waits for the holder, whose lease goes on only when it has acknowledged this very registration")
    func acknowledged() throws {
        var keeper = held()
        let first = keeper.step(join(), now: .seconds(1))
        #expect(first.response?.ticket == nil && first.wakesWatchers)
        let renewal = try #require(keeper.step(fixture.request(.renew(ballot(5))), now: .seconds(2)).response)
        #expect(renewal.verdict == .yes && !renewal.leased && !renewal.isAlone)
        let ticket = try #require(renewal.joining.first)
        #expect(ticket.session == bob && renewal.joining.count == 1)

        let stale = JoinTicket(session: bob, ticket: ticket.ticket - 1)
        _ = keeper.step(fixture.request(.admit(ballot(5), [stale])), now: .seconds(2))
        #expect(keeper.step(join(), now: .seconds(2)).response?.ticket == nil)
        let stranger = fixture.request(.admit(ballot(9, bob), [ticket]), from: bob)
        #expect(keeper.step(stranger, now: .seconds(2)).refusal == .outbid)
        _ = keeper.step(fixture.request(.admit(ballot(5), [ticket])), now: .seconds(2))
        #expect(keeper.step(fixture.request(.renew(ballot(5))), now: .seconds(3)).response?.leased == true)
        #expect(keeper.step(join(), now: .seconds(3)).response?.ticket == ticket.ticket)
        #expect(keeper.step(join(ticket.ticket), now: .seconds(3)).response?.mayRead == true)
    }

    @Test("is over after L, when the holder's lease is too, and at once where there is none")
    func runsOut() {
        var keeper = held()
        #expect(keeper.step(join(), now: .seconds(1)).response?.ticket == nil)
        #expect(keeper.step(join(), now: .seconds(9)).response?.ticket == nil)
        #expect(keeper.step(join(), now: .seconds(11)).response?.ticket != nil)
        var free = fixture.keeper()
        #expect(free.step(join(), now: .zero).response?.ticket != nil)
    }

    @Test("ends with the session's connection: the holder is alone again, and a session that comes back a stranger")
    func leaves() throws {
        var keeper = held()
        _ = keeper.step(join(), now: .seconds(1))
        let ticket = try #require(keeper.step(fixture.request(.renew(ballot(5))), now: .seconds(1)).response?.joining.first)
        _ = keeper.step(fixture.request(.admit(ballot(5), [ticket])), now: .seconds(1))
        #expect(keeper.step(join(ticket.ticket), now: .seconds(1)).response?.mayRead == true)
        keeper.left(bob)
        let renewal = keeper.step(fixture.request(.renew(ballot(5))), now: .seconds(2)).response
        #expect(renewal?.isAlone == true && renewal?.leased == true)
        let back = keeper.step(join(ticket.ticket), now: .seconds(2)).response
        #expect(back?.mayRead == false && back?.ticket == nil, "the holder may have closed files since that nobody waited for")
    }

    @Test("begins again at a keeper that started anew")
    func restarted() throws {
        var keeper = held()
        _ = keeper.step(join(), now: .seconds(1))
        let ticket = try #require(keeper.step(join(), now: .seconds(12)).response?.ticket)
        var copy = fixture.restarted(keeper, now: .seconds(13))
        let answer = copy.step(join(ticket), now: .seconds(14)).response
        #expect(answer?.ticket == nil && answer?.mayRead == false)
    }

    @Test("takes answers only of a round that began when enough keepers knew the session")
    func reads() {
        var read = FastRead(
            volume: fixture.volume, epoch: 1, keepers: Keepers(fixture.servers), sender: bob, session: SessionTickets(),
            verifier: fixture.authority)
        _ = read.start(now: .zero)
        func answer(ticket: UInt64?, mayRead: Bool = false) -> RegisterResponse {
            RegisterResponse(
                epoch: 1, highest: fixture.genesis.ballot, learned: .zero, ticket: ticket, mayRead: mayRead,
                verdict: .accepted(fixture.genesis.ballot, fixture.genesis))
        }
        #expect(read.answered(fixture.servers[0], answer(ticket: 1), now: .zero) == [])
        let second = read.answered(fixture.servers[1], answer(ticket: 2), now: .zero)
        let named = second.compactMap { effect -> UInt64? in
            if case .send(_, let request) = effect, case .join(_, let ticket) = request.body { ticket } else { nil }
        }
        #expect(named == [1, 2])
        // Asked before that round.
        #expect(read.answered(fixture.servers[0], answer(ticket: 1), now: .zero) == [])
        var other = read
        #expect(read.answered(fixture.servers[0], answer(ticket: 1, mayRead: true), now: .zero) == [])
        #expect(
            read.answered(fixture.servers[1], answer(ticket: 2, mayRead: true), now: .zero) == [.chosen(fixture.genesis)])
        #expect(other.answered(fixture.servers[0], answer(ticket: nil), now: .zero) == [.rejoin])
    }

    @Test("makes a solo holder commit before its lease goes on")
    func solo() {
        var proposer = fixture.proposer()
        var keepers = fixture.servers.indices.map { fixture.keeper($0) }
        func answer(_ effects: [ProposerEffect], at now: Duration) -> [ProposerEffect] {
            effects.flatMap { effect -> [ProposerEffect] in
                guard case .send(let server, let request) = effect, let index = fixture.servers.firstIndex(of: server),
                    let response = keepers[index].step(request, now: now).response
                else { return [] }
                let later = now + .milliseconds(1)
                return proposer.step(.answered(server, request, sentAt: now, response), now: later, random: 0)
            }
        }
        _ = answer(proposer.step(.acquire, now: .zero, random: 0), at: .zero)
        #expect(proposer.isSolo(.seconds(1)))
        // One keeper hears of bob: the lease goes on at the others, and yet not.
        _ = keepers[2].step(join(), now: .seconds(2))
        let renewed = answer(proposer.step(.tick, now: .seconds(4), random: 0), at: .seconds(4))
        #expect(renewed.contains(.joining))
        #expect(!proposer.isSolo(.seconds(4)))
        let admitted = answer(proposer.step(.admit, now: .seconds(5), random: 0), at: .seconds(5))
        #expect(!admitted.contains(.joining))
        #expect(keepers[2].step(join(), now: .seconds(5)).response?.ticket != nil)
        _ = answer(proposer.step(.tick, now: .seconds(8), random: 0), at: .seconds(8))
        #expect(proposer.holdsLease(.seconds(16)))
    }

    @Test("the first in line is served first, for 20 ms after a release")
    func fair() {
        var keeper = held()
        let carol: ProposerID = 0xCA201
        func prepare(_ proposer: ProposerID, _ counter: UInt64, _ now: Duration) -> KeeperStep {
            keeper.step(fixture.request(.prepare(ballot(counter, proposer)), from: proposer), now: now)
        }
        #expect(prepare(bob, 9, .seconds(1)).refusal != nil)
        #expect(prepare(carol, 10, .seconds(1)).refusal != nil)
        _ = keeper.step(fixture.request(.release(ballot(5))), now: .seconds(2))
        #expect(prepare(carol, 11, .milliseconds(2001)).refusal == .held(milliseconds: 19))
        #expect(prepare(RegisterFixture.alice, 12, .milliseconds(2002)).refusal == .held(milliseconds: 18))
        #expect(prepare(bob, 13, .milliseconds(2003)).isYes)
        _ = keeper.step(fixture.request(.release(ballot(13, bob)), from: bob), now: .seconds(3))
        #expect(prepare(carol, 14, .milliseconds(3001)).isYes)
    }
}
