import Testing

@testable import LanfsProtocol

@Suite("A keeper")
struct KeeperTests {
    let fixture = RegisterFixture()

    @Test("promises only higher ballots, and repeats the promise that stands")
    func promises() {
        var keeper = fixture.keeper()
        let first = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        #expect(first.response?.verdict == .accepted(fixture.genesis.ballot, fixture.genesis))
        #expect(first.persist?.promised == ballot(5))
        #expect(first.response?.leased == true)
        let repeated = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        #expect(repeated.isYes)
        #expect(repeated.persist == nil)
        let lower = keeper.step(fixture.request(.prepare(ballot(4))), now: .zero)
        #expect(lower.refusal == .outbid)
        #expect(lower.response?.highest == ballot(5))  // A3
        #expect(lower.persist == nil)
    }

    @Test("accepts at its promise or above, keeps it, and says yes again to a repeat")
    func accepts() {
        var keeper = fixture.keeper()
        _ = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        let record = fixture.child(of: fixture.genesis, ballot(5))
        let low = fixture.child(of: fixture.genesis, ballot(4))
        #expect(keeper.step(fixture.request(.accept(low, next: nil)), now: .zero).refusal == .outbid)
        let yes = keeper.step(fixture.request(.accept(record, next: ballot(6))), now: .zero)
        #expect(yes.isYes)
        #expect(yes.persist?.accepted == record)
        #expect(yes.persist?.promised == ballot(6))  // P6
        #expect(yes.wakesWatchers, "the only keeper's yes is the quorum")
        let again = keeper.step(fixture.request(.accept(record, next: ballot(6))), now: .zero)
        #expect(again.isYes)
        #expect(again.persist == nil)
        let other = fixture.child(of: fixture.genesis, ballot(5), contents: [9])
        #expect(keeper.step(fixture.request(.accept(other, next: nil)), now: .zero).refusal == .invalid(.badBallot))
    }

    @Test("refuses what is not signed, not this volume's, or piggybacks another's ballot")
    func refusesInvalid() {
        var keeper = fixture.keeper()
        func refusal(_ record: RootRecord, next: Ballot? = nil) -> RegisterRefusal? {
            keeper.step(fixture.request(.accept(record, next: next)), now: .zero).refusal
        }
        var record = fixture.child(of: fixture.genesis, ballot(5))
        #expect(refusal(record, next: ballot(6, RegisterFixture.bob)) == .invalid(.badBallot))
        #expect(refusal(record, next: ballot(5)) == .invalid(.badBallot))
        record.gcEpoch += 1
        #expect(refusal(record) == .invalid(.badSignature))
        record.volume = .zero
        #expect(refusal(record) == .invalid(.wrongVolume))
        #expect(refusal(fixture.child(of: fixture.genesis, ballot(5), epoch: 2)) == .invalid(.badEpoch))
        #expect(keeper.state.accepted == fixture.genesis)
    }

    @Test("keeps others out for L after its last yes, and tells the holder that it is wanted")
    func lease() {
        var keeper = fixture.keeper()
        let bob = fixture.request(.prepare(ballot(9, RegisterFixture.bob)), from: RegisterFixture.bob)
        _ = keeper.step(fixture.request(.prepare(ballot(5))), now: .seconds(1))
        #expect(keeper.step(fixture.request(.renew(ballot(5))), now: .seconds(4)).response?.wanted == false)
        let held = keeper.step(bob, now: .seconds(5))
        #expect(held.refusal == .held(milliseconds: 9000))
        #expect(held.wakesWatchers)
        #expect(keeper.step(fixture.request(.renew(ballot(5))), now: .seconds(6)).response?.wanted == true)
        #expect(keeper.step(bob, now: .milliseconds(15_999)).refusal == .held(milliseconds: 1))
        #expect(keeper.step(bob, now: .seconds(16)).isYes)
        #expect(keeper.step(fixture.request(.renew(ballot(5))), now: .seconds(16)).refusal == .outbid)
    }

    @Test("lets others in at once after a release, also after a restart, and ignores late copies of what came before")
    func release() {
        var keeper = fixture.keeper()
        let bob = fixture.request(.prepare(ballot(9, RegisterFixture.bob)), from: RegisterFixture.bob)
        let record = fixture.child(of: fixture.genesis, ballot(5))
        _ = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        _ = keeper.step(fixture.request(.accept(record, next: ballot(6))), now: .zero)
        #expect(keeper.step(fixture.request(.release(ballot(6))), now: .zero).persist != nil)
        for late: RegisterRequest.Body in [.prepare(ballot(6)), .renew(ballot(6)), .prepare(ballot(5))] {
            #expect(keeper.step(fixture.request(late), now: .zero).refusal == .outbid)
        }
        let again = keeper.step(fixture.request(.accept(record, next: ballot(6))), now: .zero)
        #expect(again.isYes)
        #expect(again.response?.leased == false)
        var copy = fixture.restarted(keeper, now: .zero)
        #expect(keeper.step(bob, now: .zero).isYes)
        #expect(copy.step(bob, now: .zero).isYes)
    }

    @Test("lets only the last holder in for L after its own start")
    func restart() {
        var keeper = fixture.keeper()
        _ = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        var restarted = fixture.restarted(keeper, now: .seconds(100))
        let bob = fixture.request(.prepare(ballot(9, RegisterFixture.bob)), from: RegisterFixture.bob)
        #expect(restarted.step(bob, now: .seconds(109)).refusal == .held(milliseconds: 1000))
        #expect(restarted.step(fixture.request(.renew(ballot(5))), now: .seconds(109)).response?.leased == true)
        #expect(restarted.step(bob, now: .seconds(111)).refusal != nil)
        #expect(restarted.step(fixture.request(.prepare(ballot(10))), now: .seconds(111)).isYes)
    }

    @Test("says nothing of a volume it does not hold, and takes a first record only when empty")
    func initialization() {
        var keeper = fixture.emptyKeeper()
        for body: RegisterRequest.Body in [.read(known: nil), .prepare(ballot(5)), .learn(ballot(1))] {
            #expect(keeper.step(fixture.request(body), now: .zero).refusal == .uninitialized)
        }
        var stranger = fixture.genesis
        stranger.config = VolumeConfig(
            version: 1, servers: [Member(server: .zero, weight: 1)], keepers: Keepers([.zero]), replicas: 1)
        stranger = stranger.signed(ballot: stranger.ballot, fixture.authority)
        let initialize = fixture.request(.initialize(fixture.genesis, next: nil))
        #expect(
            keeper.step(fixture.request(.initialize(stranger, next: nil)), now: .zero).refusal == .invalid(.badEpoch))
        #expect(keeper.step(initialize, now: .zero).persist != nil)
        let repeated = keeper.step(initialize, now: .zero)
        #expect(repeated.isYes)
        #expect(repeated.persist == nil)
        var other = fixture.genesis
        other.contents = [7]
        other = other.signed(ballot: ballot(2), fixture.authority)
        #expect(
            keeper.step(fixture.request(.initialize(other, next: nil)), now: .zero).refusal
                == .occupied(fixture.genesis))
    }

    @Test("moves to the next epoch by the sealing record, once, and refuses the old epoch with what it has")
    func epochs() {
        var keeper = fixture.keeper()
        var change = RootChange(contents: [1], gcEpoch: 0)
        change.sealedNext = Keepers(fixture.servers)
        let seal = fixture.genesis.child(change, epoch: 1, ballot: ballot(5), signer: fixture.authority)
        let holder = ballot(6)
        let move = fixture.request(.initialize(seal, next: holder), epoch: 2)
        #expect(keeper.step(move, now: .zero).persist?.epoch == 2)
        let bob = ballot(9, RegisterFixture.bob)
        let outsider = fixture.request(.prepare(bob), epoch: 2, from: RegisterFixture.bob)
        #expect(keeper.step(outsider, now: .seconds(9)).refusal == .held(milliseconds: 1000))
        #expect(keeper.step(move, now: .seconds(9)).isYes)
        #expect(keeper.step(outsider, now: .seconds(10)).isYes, "a repeated move starts no second lease")
        #expect(keeper.step(fixture.request(.prepare(ballot(20))), now: .seconds(10)).refusal == .wrongEpoch(seal))
        #expect(fixture.genesis.config(in: 1).version == 1)
        #expect(seal.config(in: 2).version == 2)
        #expect(seal.isSealed(in: 1) && !seal.isSealed(in: 2))
    }

    @Test("named as having acknowledged more than it has, never votes again, also after a restart")
    func amnesia() throws {
        var keeper = fixture.keeper()
        let harmless = ChosenEvidence(epoch: 1, ballot: ballot(50), acknowledgedBy: [.zero])
        #expect(keeper.step(fixture.request(.prepare(ballot(5)), chosen: harmless), now: .zero).isYes)
        let evidence = ChosenEvidence(epoch: 1, ballot: ballot(50), acknowledgedBy: [fixture.servers[0]])
        let step = keeper.step(fixture.request(.prepare(ballot(60)), chosen: evidence), now: .zero)
        #expect(step.refusal == .amnesiac)
        #expect(step.persist?.isAmnesiac == true)
        var restarted = fixture.restarted(keeper, now: .seconds(99))
        for body: RegisterRequest.Body in [
            .read(known: nil), .prepare(ballot(99)), .initialize(fixture.genesis, next: nil),
        ] {
            #expect(restarted.step(fixture.request(body), now: .seconds(200)).refusal == .amnesiac)
        }
        let lost = Keeper(
            server: fixture.servers[0], volume: fixture.volume, recovery: .amnesiac, verifier: fixture.authority, now: .zero)
        #expect(try KeeperState(encoded: lost.state.encoded) == .amnesiac, "what its journals are to say from now on")
        var again = fixture.restarted(lost, now: .zero)
        #expect(again.step(fixture.request(.prepare(ballot(99))), now: .seconds(200)).refusal == .amnesiac)
        var empty = fixture.emptyKeeper()
        #expect(empty.step(fixture.request(.read(known: nil), chosen: evidence), now: .zero).refusal == .amnesiac)
    }

    @Test("lets a watcher wait until something was learned or its lease is wanted")
    func watches() {
        let fixture = RegisterFixture(keepers: 3)
        var keeper = fixture.keeper()
        let record = fixture.child(of: fixture.genesis, ballot(5))
        let (bob, carol) = (RegisterFixture.bob, RegisterFixture.bob + 1)
        let watch = fixture.request(.watch(known: fixture.genesis.ballot, knowsWanted: false), from: carol)
        #expect(keeper.step(watch, now: .zero).response == nil)
        _ = keeper.step(fixture.request(.accept(record, next: ballot(6))), now: .zero)
        #expect(keeper.step(watch, now: .zero).response == nil, "accepted is not chosen")
        #expect(keeper.step(fixture.request(.learn(ballot(4))), now: .zero).wakesWatchers == false)
        #expect(keeper.step(fixture.request(.learn(ballot(5))), now: .zero).wakesWatchers)
        #expect(keeper.step(watch, now: .zero).response?.verdict == .accepted(ballot(5), record))
        let later = fixture.request(.watch(known: ballot(6), knowsWanted: false), from: carol)
        #expect(keeper.step(later, now: .zero).response == nil, "what is older is no news")
        let own = fixture.request(.watch(known: fixture.genesis.ballot, knowsWanted: false))
        #expect(keeper.step(own, now: .zero).response == nil, "the holder knows what it committed")

        let next = fixture.request(.watch(known: ballot(5), knowsWanted: false))
        #expect(keeper.step(next, now: .zero).response == nil)
        #expect(keeper.step(fixture.request(.prepare(ballot(9, bob)), from: bob), now: .zero).wakesWatchers)
        #expect(keeper.step(next, now: .zero).response?.wanted == true)
        let aware = fixture.request(.watch(known: ballot(5), knowsWanted: true))
        #expect(keeper.step(aware, now: .zero).response == nil)

        let waiting = fixture.request(.watch(known: ballot(5), knowsWanted: false), from: bob)
        #expect(keeper.step(waiting, now: .zero).response == nil)
        #expect(keeper.step(fixture.request(.release(ballot(6))), now: .zero).wakesWatchers)
        #expect(keeper.step(waiting, now: .zero).response?.verdict == .yes, "the first in line hears that it is its turn")
        #expect(keeper.step(later, now: .zero).response == nil)
        #expect(keeper.step(waiting, now: .seconds(1)).response == nil, "for as long as nobody else gets it")
    }
}

@Suite("Recovery of a keeper")
struct KeeperRecoveryTests {
    private func state(_ revision: UInt64) -> KeeperState {
        var state = KeeperState()
        state.revision = revision
        return state
    }

    private func recover(_ first: JournalScan, _ second: JournalScan) -> KeeperRecovery {
        let recovery = KeeperRecovery(first, second)
        #expect(recovery == KeeperRecovery(second, first))
        return recovery
    }

    @Test("takes the highest good record of either journal")
    func takesTheHighest() {
        let old = state(4)
        let new = state(5)
        for condition: JournalScan.Condition in [.clean, .tornTail, .rotten, .missing] {
            let other = JournalScan(newest: condition == .missing ? nil : old, condition: condition)
            #expect(recover(JournalScan(newest: new, condition: .clean), other) == .state(new))
        }
        let torn = JournalScan(newest: new, condition: .tornTail)
        #expect(recover(torn, JournalScan(newest: old, condition: .tornTail)) == .state(new))
        #expect(recover(torn, JournalScan(newest: old, condition: .rotten)) == .state(new))
        #expect(
            recover(JournalScan(newest: old, condition: .tornTail), JournalScan(newest: new, condition: .rotten))
                == .state(new))
    }

    @Test("trusts nothing when what is gone may have been acknowledged")
    func amnesiac() {
        let rotten = JournalScan(newest: state(4), condition: .rotten)
        let missing = JournalScan(newest: nil, condition: .missing)
        #expect(recover(rotten, rotten) == .amnesiac)
        #expect(recover(rotten, missing) == .amnesiac)
        #expect(recover(JournalScan(newest: state(4), condition: .tornTail), missing) == .amnesiac)
    }

    @Test("finds an empty slot where nothing was ever written")
    func empty() {
        let missing = JournalScan(newest: nil, condition: .missing)
        let clean = JournalScan(newest: nil, condition: .clean)
        #expect(recover(missing, missing) == .empty)
        #expect(recover(clean, missing) == .empty)
        #expect(recover(clean, JournalScan(newest: nil, condition: .tornTail)) == .empty)
    }
}
