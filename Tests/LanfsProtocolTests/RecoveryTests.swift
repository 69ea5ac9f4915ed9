import Testing

@testable import LanfsProtocol

@Suite("A recovery by force (M3)")
struct RecoveryTests {
    let fixture = RegisterFixture(keepers: 2)

    private func survivor(_ keeper: Keeper<SimulatedAuthority>) throws -> ForcedRecovery.Survivor {
        .init(server: keeper.server, record: try #require(keeper.state.accepted))
    }

    private func seal(_ recovery: ForcedRecovery) -> RootRecord {
        recovery.seal(contents: [9], ballot: recovery.base.ballot.next(for: 77, skipping: 1024), fixture.authority)
    }

    @Test("goes on from what the survivor accepted last, alone, with the others draining")
    func goesOn() throws {
        var keeper = fixture.keeper()
        _ = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        let newest = fixture.child(of: fixture.genesis, ballot(5))
        #expect(keeper.step(fixture.request(.accept(newest, next: nil)), now: .zero).isYes)
        let survivors = [try survivor(keeper)]
        #expect(ForcedRecovery.isNeeded(survivors, of: Keepers(fixture.servers)))
        let recovery = try #require(ForcedRecovery(from: survivors, in: 1))
        let seal = seal(recovery)
        let step = keeper.step(fixture.request(.recover(seal, next: nil), epoch: 2), now: .zero)
        #expect(step.isYes && step.persist?.epoch == 2)
        // Nobody has to wait for a lease, and a repeat changes nothing.
        #expect(keeper.step(fixture.request(.recover(seal, next: nil), epoch: 2), now: .zero).persist == nil)
        let config = seal.config(in: 2)
        #expect(config.keepers == Keepers([keeper.server]))
        #expect(config.servers.first { $0.server != keeper.server }?.state == .draining)
        #expect(config.requiredCopies == 1)
        var proposer = Proposer(
            id: RegisterFixture.bob, volume: fixture.volume, epoch: 2, keepers: config.keepers, signer: fixture.authority, above: seal.ballot)
        var isAcquired = false
        for case .send(_, let request) in proposer.step(.acquire, now: .zero, random: 0) {
            let response = try #require(keeper.step(request, now: .zero).response)
            isAcquired = proposer.step(
                .answered(keeper.server, request, sentAt: .zero, response), now: .zero, random: 0
            ).contains(.acquired(seal))
        }
        #expect(isAcquired)
    }

    @Test("is refused when the survivor has accepted something else meanwhile, or moves already")
    func refuses() throws {
        var keeper = fixture.keeper()
        let early = try #require(ForcedRecovery(from: [try survivor(keeper)], in: 1))
        _ = keeper.step(fixture.request(.prepare(ballot(5))), now: .zero)
        let newest = fixture.child(of: fixture.genesis, ballot(5))
        _ = keeper.step(fixture.request(.accept(newest, next: nil)), now: .zero)
        let step = keeper.step(fixture.request(.recover(seal(early), next: nil), epoch: 2), now: .zero)
        #expect(step.refusal == .occupied(newest) && step.persist == nil)

        let moving = newest.child(
            RootChange(contents: [3], gcEpoch: 0, sealedNext: Keepers([fixture.servers[1]])), epoch: 1, ballot: ballot(6),
            signer: fixture.authority)
        _ = keeper.step(fixture.request(.accept(moving, next: nil)), now: .zero)
        #expect(ForcedRecovery(from: [try survivor(keeper)], in: 1) == nil)
        #expect(ForcedRecovery(from: [], in: 1) == nil)
        var empty = fixture.emptyKeeper()
        #expect(
            empty.step(fixture.request(.recover(seal(early), next: nil), epoch: 2), now: .zero).refusal == .uninitialized)
    }

    @Test("of three keepers is noticed by whoever saw what it left behind, however far the volume has gone on (F1)")
    func alarms() throws {
        let fixture = RegisterFixture(keepers: 3)
        let authority = fixture.authority
        // Two of three chose this, and are lost; it went on there.
        let unknown = fixture.child(of: fixture.genesis, ballot(5), contents: [5])
        let beyond = unknown.child(RootChange(contents: [6], gcEpoch: 0), epoch: 1, ballot: ballot(6), signer: authority)
        let recovery = try #require(
            ForcedRecovery(from: [.init(server: fixture.servers[0], record: fixture.genesis)], in: 1))
        var recoveries = RecoveryHistory()
        recoveries.add(recovery.point(id: 1, authority))
        var root = seal(recovery)
        for number in 0..<5 {
            root = root.child(
                RootChange(contents: [UInt8(number)], gcEpoch: 0), epoch: 2, ballot: ballot(UInt64(2000 + number)),
                signer: authority)
        }
        for seen in [unknown, beyond] {
            let memory = RollbackMemory(seen, RecoveryHistory(), authority)
            // The plain comparison cannot tell: newer by more than one.
            #expect(memory.judge(root, authority) == .newer)
            #expect(recoveries.relation(to: memory) == .leftBehind(by: recovery.point(id: 1, authority)))
        }
        #expect(recoveries.relation(to: RollbackMemory(fixture.genesis, RecoveryHistory(), authority)) == .sameSide)
        for seen in [seal(recovery), root] {
            #expect(recoveries.relation(to: RollbackMemory(seen, recoveries, authority)) == .sameSide)
        }
        // The other side went on from the same root, and knows nothing of this.
        var others = RecoveryHistory()
        others.add(recovery.point(id: 2, authority))
        #expect(others.relation(to: RollbackMemory(root, recoveries, authority)) == .otherSide)
        #expect(RecoveryHistory().relation(to: RollbackMemory(root, recoveries, authority)) == .otherSide)
        // One that came later went on from far above what the first left behind.
        others.add(RecoveryPoint(id: 3, of: root, authority))
        #expect(others.relation(to: RollbackMemory(beyond, RecoveryHistory(), authority)) == .leftBehind(by: recovery.point(id: 2, authority)))
    }

    @Test("forgets the oldest of many, and who remembers that is alarmed")
    func forgets() {
        var recoveries = RecoveryHistory()
        recoveries.add(RecoveryPoint(id: 1, of: fixture.genesis, fixture.authority))
        let early = RollbackMemory(fixture.genesis, recoveries, fixture.authority)
        for id in 2...UInt64(RecoveryHistory.limit) {
            recoveries.add(RecoveryPoint(id: id, of: fixture.genesis, fixture.authority))
        }
        #expect(recoveries.relation(to: early) == .sameSide)
        recoveries.add(RecoveryPoint(id: 99, of: fixture.genesis, fixture.authority))
        #expect(recoveries.points.count == RecoveryHistory.limit)
        #expect(recoveries.relation(to: early) == .otherSide)
    }
}
