import TestSupport
import Testing

@testable import LanfsProtocol

@Suite("A repair plan")
struct RepairPlanTests {
    private let fixture = RepairFixture(servers: 4)

    /// One pass over `blocks`, of which the others hold what `holders` says. Returns the copies that it starts.
    private func pass(
        _ plan: inout RepairPlan, _ blocks: [StoredBlock], now: Duration, holders: (BlockID) -> [ServerID]
    ) -> [RepairPlan.Effect] {
        var copies: [RepairPlan.Effect] = []
        var left = plan.tick(now: now)[...]
        while let effect = left.popFirst() {
            switch effect {
            case .list(let after, let limit):
                let page = blocks.filter { $0.block > after ?? .zero }.sorted { $0.block < $1.block }.prefix(limit)
                left += plan.listed(Array(page), now: now)
            case .ask(let member, let query):
                let held = query.blocks.map { holders($0.block).contains(member) }
                left += plan.answered(HoldingsAnswer(page: query.page, held: held), from: member, now: now)
            case .copy, .cancel:
                copies.append(effect)
            }
        }
        return copies
    }

    @Test("copies to the next in rank what a lost member held, by the first holder that is alive")
    func replaces() {
        let block = fixture.blocks[0]
        let ranking = fixture.ranking(block)
        let view = fixture.view(ranking[1], lost: [ranking[0]])
        var plan = RepairPlan(view: view, now: .zero)
        #expect(pass(&plan, [fixture.stored(block)], now: .seconds(1)) { _ in [] } == [.copy(block, to: ranking[2])])
        // Nobody is lost: both hold it, and nothing is to be done.
        plan = RepairPlan(view: fixture.view(ranking[1]), now: .zero)
        #expect(pass(&plan, [fixture.stored(block)], now: .seconds(1)) { _ in [ranking[0]] }.isEmpty)
    }

    @Test("waits for those before it in rank, and then for a pass that still finds the block missing")
    func turns() {
        let block = fixture.blocks[0]
        let ranking = fixture.ranking(block)
        let holders = { (_: BlockID) in [ranking[0]] }
        var plan = RepairPlan(view: fixture.view(ranking[2]), now: .zero)
        let stored = [fixture.stored(block)]
        #expect(pass(&plan, stored, now: .seconds(1), holders: holders).isEmpty)
        #expect(plan.waiting == 0)
        #expect(pass(&plan, stored, now: .seconds(500), holders: holders).isEmpty)
        // Its turn comes without waiting for the hour to be over.
        #expect(pass(&plan, stored, now: .seconds(700), holders: holders) == [.copy(block, to: ranking[1])])
    }

    @Test("a block that is deleted while the others are asked about it is nobody's to copy, now or when the turn would come")
    func deletedMeanwhile() {
        let block = fixture.blocks[0]
        let ranking = fixture.ranking(block)
        // While the page is read, and while the others are asked.
        for isAsked in [false, true] {
            var plan = RepairPlan(view: fixture.view(ranking[2]), now: .zero)
            _ = plan.tick(now: .seconds(1))
            if !isAsked { #expect(plan.withdraw(block).isEmpty) }
            let questions = plan.listed([fixture.stored(block)], now: .seconds(1))
            if isAsked { #expect(plan.withdraw(block).isEmpty) }
            for case .ask(let member, let query) in questions {
                let answer = HoldingsAnswer(page: query.page, held: [member == ranking[0]])
                for case .list in plan.answered(answer, from: member, now: .seconds(2)) {
                    #expect(plan.listed([], now: .seconds(2)).isEmpty)
                }
            }
            #expect(pass(&plan, [], now: .seconds(700)) { _ in [] }.isEmpty)
            #expect(plan.waiting == 0)
            // It came back.
            let stored = [fixture.stored(block)]
            #expect(pass(&plan, stored, now: .seconds(5000)) { _ in [ranking[0]] }.isEmpty)
            #expect(pass(&plan, stored, now: .seconds(5700)) { _ in [ranking[0]] } == [.copy(block, to: ranking[1])])
        }
    }

    @Test("neither copies to a suspect nor replaces it, and does not take the silent for holders or targets")
    func waitsForSuspects() {
        let block = fixture.blocks[0]
        let ranking = fixture.ranking(block)
        var plan = RepairPlan(view: fixture.view(ranking[0], suspect: [ranking[1]]), now: .zero)
        #expect(pass(&plan, [fixture.stored(block)], now: .seconds(1)) { _ in [] }.isEmpty)
        plan = RepairPlan(view: fixture.view(ranking[0]), now: .zero)
        _ = plan.tick(now: .seconds(1))
        #expect(plan.listed([fixture.stored(block)], now: .seconds(1)).count == 3)
        var asked = 0
        for second in 2..<20 {
            let effects = plan.tick(now: .seconds(second))
            for case .ask in effects { asked += 1 }
            for case .copy in effects { Issue.record("nobody answered") }
        }
        #expect(asked == 6, "each of three is asked three times in all")
    }

    @Test("copies what has the fewest copies first, at its rate, and a draining server's copy does not count")
    func order() {
        let drained = fixture.servers[3]
        let own = fixture.blocks.filter { fixture.ranking($0, draining: drained).first == fixture.servers[0] }
        let blocks = own.prefix(6)
        let config = fixture.config(draining: drained)
        var options = RepairPlan.Options()
        options.rate = UInt64(Limits.blockSize)
        options.burst = 0
        var plan = RepairPlan(
            view: fixture.view(fixture.servers[0], config: config, generation: 1), options: options, now: .zero)
        let ordered = blocks.sorted()
        // The last is only here; a draining server has the others, too.
        let stored = ordered.map { fixture.stored($0, length: UInt32(Limits.blockSize)) }
        let copies = pass(&plan, stored, now: .seconds(10)) { $0 == ordered.last ? [] : [drained] }
        #expect(copies.count == 1, "the bucket holds one block")
        #expect(plan.waiting == ordered.count - 1)
        var started = copies.count
        for tenth in 101...130 {
            started += plan.tick(now: .milliseconds(100 * tenth)).count { if case .copy = $0 { true } else { false } }
        }
        #expect(started == 4, "three more in three seconds")
    }

    @Test("prefers what has fewer copies")
    func fewestFirst() {
        var queue = RepairQueue(limit: 2)
        func entry(_ index: Int, _ copies: Int) -> RepairQueue.Entry {
            RepairQueue.Entry(
                block: fixture.blocks[index], length: 1, copies: copies, missing: [fixture.servers[0]],
                found: .seconds(index), turn: 0, page: fixture.blocks[index + 10])
        }
        queue.put(entry(0, 2))
        queue.put(entry(1, 3))
        queue.put(entry(2, 1))
        #expect(queue.entries.map(\.copies) == [1, 2])
        #expect(queue.leftOut == fixture.blocks[11])
        queue.put(entry(3, 4))
        #expect(queue.entries.map(\.copies) == [1, 2])
        #expect(queue.leftOut == min(fixture.blocks[11], fixture.blocks[13]))
        var again = entry(0, 0)
        again.found = .seconds(99)
        queue.put(again)
        #expect(queue.entries.map(\.copies) == [0, 1])
        #expect(queue.entries[0].found == .zero, "it was found before")
        queue.remove(fixture.blocks[2])
        queue.revise { $0.missing = [] }
        #expect(queue.entries.isEmpty)
    }

    /// B5: a store of 20 GiB whose blocks are large, and others with many more of them than the queue holds.
    @Test("never idles while blocks wait", arguments: [(20_000, 1 << 20), (60_000, 64 << 10), (100_000, 8 << 10)])
    func keepsBusy(count: Int, length: Int) {
        let fixture = RepairFixture(servers: 3)
        let (own, lost) = (fixture.servers[0], fixture.servers[1])
        var random = SplitMix64(seed: 7)
        let placement = BlockPlacement(fixture.config())
        let stored = (0..<count).map { _ in random.id(BlockID.self) }
            .filter { Set(placement.ranking(of: $0).prefix(2)) == [own, lost] }
            .sorted().map { fixture.stored($0, length: UInt32(length)) }
        var plan = RepairPlan(view: fixture.view(own, lost: [lost]), now: .zero)
        let rate = RepairPlan.Options().rate

        enum Event {
            case tick
            case listed([StoredBlock])
            case answered(HoldingsAnswer, ServerID)
            case copied(BlockID, ServerID)
        }
        var heap = EventHeap<Event>()
        var copied: Set<BlockID> = []
        var last = Duration.zero
        heap.push(.tick, at: 0)
        while copied.count < stored.count, let (time, event) = heap.pop(), time < 7_200_000_000_000 {
            let now = Duration.nanoseconds(time)
            let effects: [RepairPlan.Effect]
            switch event {
            case .tick:
                effects = plan.tick(now: now)
                heap.push(.tick, at: time + 1_000_000_000)
            case .listed(let page): effects = plan.listed(page, now: now)
            case .answered(let answer, let member): effects = plan.answered(answer, from: member, now: now)
            case .copied(let block, let target):
                #expect(copied.insert(block).inserted)
                last = now
                effects = plan.finished(block, target: target, .stored, now: now)
            }
            for effect in effects {
                switch effect {
                case .list(let after, let limit):
                    let start = after.map { after in stored.partitioningIndex { $0.block > after } } ?? 0
                    heap.push(.listed(Array(stored[start...].prefix(limit))), at: time + 1_000_000)
                case .ask(let member, let query):
                    let answer = HoldingsAnswer(page: query.page, held: query.blocks.map { copied.contains($0.block) })
                    heap.push(.answered(answer, member), at: time + 2_000_000)
                case .copy(let block, let target): heap.push(.copied(block, target), at: time + 5_000_000)
                case .cancel: Issue.record("nothing was to be cancelled")
                }
            }
        }
        #expect(copied.count == stored.count)
        let seconds = UInt64(last.components.seconds) + 1
        #expect(UInt64(stored.count * length) * 10 >= rate * seconds * 8, "\(stored.count) blocks took \(last)")
    }

    @Test("breaks off what a member's return makes needless")
    func cancels() {
        let block = fixture.blocks[0]
        let ranking = fixture.ranking(block)
        let lost = fixture.view(ranking[1], lost: [ranking[0]])
        var plan = RepairPlan(view: lost, now: .zero)
        _ = pass(&plan, [fixture.stored(block)], now: .seconds(1)) { _ in [] }
        #expect(plan.copying == 1)
        let back = fixture.view(ranking[1], generation: 2)
        #expect(plan.update(back, now: .seconds(2)) == [.cancel(block, to: ranking[2])])
        #expect(plan.copying == 0)
        #expect(plan.finished(block, target: ranking[2], .stored, now: .seconds(3)).isEmpty)
    }

    /// B5: each time it goes, others take its place; what they copied the first time is still there the second.
    @Test("copies nothing again for a member that flaps")
    func flaps() {
        let block = fixture.blocks[0]
        let ranking = fixture.ranking(block)
        var plan = RepairPlan(view: fixture.view(ranking[1]), now: .zero)
        var holders = [ranking[0]]
        var copies = 0
        for round in 1...20 {
            let now = Duration.seconds(2000 * round)
            _ = plan.update(fixture.view(ranking[1], lost: [ranking[0]], generation: UInt64(2 * round)), now: now)
            for case .copy(_, let target) in pass(
                &plan, [fixture.stored(block)], now: now, holders: { _ in holders })
            {
                copies += 1
                holders.append(target)
                _ = plan.finished(block, target: target, .stored, now: now)
            }
            _ = plan.update(fixture.view(ranking[1], generation: UInt64(2 * round + 1)), now: now + .seconds(1000))
        }
        #expect(copies == 1)
    }
}

/// Some servers of equal weight and R = 2, and views of them.
struct RepairFixture {
    let servers: [ServerID]
    let blocks: [BlockID]

    init(servers count: Int) {
        var random = SplitMix64(seed: 5)
        servers = (0..<count).map { ServerID(word0: UInt64($0) + 1, word1: 0, word2: 0, word3: 0) }
        blocks = (0..<100).map { _ in random.id() }
    }

    func config(version: UInt64 = 1, draining: ServerID? = nil) -> VolumeConfig {
        VolumeConfig(
            version: version,
            servers: servers.map { Member(server: $0, state: $0 == draining ? .draining : .active, weight: 1) },
            keepers: Keepers([servers[0]]), replicas: 2)
    }

    func ranking(_ block: BlockID, draining: ServerID? = nil) -> [ServerID] {
        BlockPlacement(config(draining: draining)).ranking(of: block)
    }

    func view(
        _ server: ServerID, config: VolumeConfig? = nil, lost: [ServerID] = [], suspect: [ServerID] = [],
        generation: UInt64 = 1
    ) -> MemberView {
        let config = config ?? self.config()
        let health = config.servers.map { member -> MemberHealth in
            lost.contains(member.server) ? .lost : suspect.contains(member.server) ? .suspect : .alive
        }
        return MemberView(server: server, config: config, health: health, generation: generation, returns: 0)
    }

    func stored(_ block: BlockID, length: UInt32 = 1000, gcEpoch: UInt64 = 0) -> StoredBlock {
        StoredBlock(block: block, length: length, gcEpoch: gcEpoch)
    }
}

extension Array {
    /// The first place whose element, and all after it, are as said.
    fileprivate func partitioningIndex(_ isSo: (Element) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if isSo(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
