import LanfsProtocol
import SystemPackage
import TestSupport
import Testing

@testable import LanfsStore

/// What the store must do, said with a dictionary.
private struct Model {
    enum State { case live, freed, swept }
    struct Block {
        var gcEpoch: UInt64
        var state = State.live
        var since: Int64 = 0
    }
    var blocks: [BlockID: Block] = [:]
    var newestSweep: UInt64 = 0
}

@Suite("Random operations against a model")
struct ModelTests {
    static let duration: Int64 = 3200

    @Test(
        "whatever happens, also across restarts and crashes, nothing is lost and nothing lives for ever",
        arguments: 1...12 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        let folder = try TemporaryFolder()
        let clock = TestClock()
        var options = BlockStore.Options()
        options.segmentSize = 2 << 20
        options.quarantine = .seconds(Self.duration)
        options.punchesHoles = seed % 3 != 0
        options.openFiles = 2
        options.logSize = seed % 2 == 0 ? 8192 : 1 << 20
        let universe = (0..<80).map { TestBlock($0, size: [10, 5000, 120_000, 300_000][Int($0 % 4)]) }
        var model = Model()
        var store = try BlockStore.open(folder.path, options: options, clock: clock)
        var elapsed: Int64 = 0
        var epoch: UInt64 = 5

        for step in 0..<500 {
            let block = universe[Int.random(in: 0..<universe.count, using: &generator)]
            let some = (0..<Int.random(in: 1...8, using: &generator)).map { _ in
                universe[Int.random(in: 0..<universe.count, using: &generator)]
            }
            let tag = epoch - UInt64.random(in: 0...3, using: &generator)
            switch Int.random(in: 0..<100, using: &generator) {
            case 0..<40:
                let expected: BlockStore.PutOutcome = model.blocks[block.id] == nil ? .stored : .present
                // Something due may or may not have gone already.
                let isDue = model.blocks[block.id].map { $0.state != .live && elapsed - $0.since >= Self.duration }
                let outcome = try store.put(block, gcEpoch: tag)
                #expect(outcome == expected || isDue == true, "seed \(seed) step \(step)")
                let old = outcome == .present ? model.blocks[block.id]?.gcEpoch ?? 0 : 0
                model.blocks[block.id] = Model.Block(gcEpoch: max(old, tag))
            case 40..<50:
                let missing = try store.touch(some.map(\.id), gcEpoch: tag)
                for block in some {
                    guard let old = model.blocks[block.id] else {
                        #expect(missing.contains(block.id))
                        continue
                    }
                    if missing.contains(block.id) {
                        #expect(old.state != .live && elapsed - old.since >= Self.duration, "seed \(seed) step \(step)")
                        model.blocks[block.id] = nil
                    } else {
                        model.blocks[block.id] = Model.Block(gcEpoch: max(old.gcEpoch, tag))
                    }
                }
            case 50..<65:
                try store.free(some.map(\.id), gcEpoch: tag)
                for block in some {
                    if let old = model.blocks[block.id], old.state == .live, old.gcEpoch <= tag {
                        model.blocks[block.id] = Model.Block(gcEpoch: old.gcEpoch, state: .freed, since: elapsed)
                    }
                }
            case 65..<70:
                epoch += 1
                try store.sweep(some.map(\.id), gcEpoch: epoch, cutoff: epoch - 2)
                model.newestSweep = epoch
                for block in some {
                    if let old = model.blocks[block.id], old.state == .live, old.gcEpoch <= epoch - 2 {
                        model.blocks[block.id] = Model.Block(gcEpoch: old.gcEpoch, state: .swept, since: elapsed)
                    }
                }
            case 70..<80:
                let seconds = Int64.random(in: 1...400, using: &generator)
                elapsed += seconds
                clock.advance(seconds)
            case 80..<88:
                let report = try store.maintain()
                #expect(report.rotten.isEmpty)
                for (id, block) in model.blocks where !store.contains(id) {
                    #expect(block.state != .live && elapsed - block.since >= Self.duration, "seed \(seed) step \(step)")
                    model.blocks[id] = nil
                }
            case 88..<90:
                store.reclaimEarly(UInt64.random(in: 1...1_000_000, using: &generator))
                for (id, block) in model.blocks where !store.contains(id) {
                    #expect(block.state == .freed, "seed \(seed) step \(step)")
                    model.blocks[id] = nil
                }
            case 90..<95:
                try store.close()
                store = try BlockStore.open(folder.path, options: options, clock: clock)
                #expect(store.issues.isEmpty, "seed \(seed) step \(step)")
            default:
                // A kill: what was flushed must be back.
                try store.flush()
                store = try BlockStore.open(folder.path, options: options, clock: clock)
                #expect(store.issues.isEmpty, "seed \(seed) step \(step)")
            }
            try check(store, model, universe, "seed \(seed) step \(step)")
        }
        for block in model.blocks where block.value.state != .live {
            #expect(store.contains(block.key))
        }
        for _ in 0..<4 {
            clock.advance(Self.duration)
            try store.maintain()
        }
        #expect(store.status().quarantinedBlocks == 0)
        model.blocks = model.blocks.filter { $0.value.state == .live }
        try check(store, model, universe, "seed \(seed) at the end")
        let live = universe.filter { model.blocks[$0.id] != nil }
        #expect(store.status().usedBytes == live.reduce(0) { $0 + RecordHeader.span($1.bytes.count) })
        var cursor = ScrubCursor()
        let scrub = try store.scrub(&cursor, budget: .max)
        #expect(scrub.isComplete && scrub.rotten.isEmpty && scrub.checkedBlocks == live.count)
    }

    private func check(_ store: BlockStore, _ model: Model, _ universe: [TestBlock], _ place: Comment) throws {
        let live = model.blocks.filter { $0.value.state == .live }
        let listed = store.everything()
        #expect(listed.map(\.block) == live.keys.sorted(), place)
        for stored in listed { #expect(stored.gcEpoch == live[stored.block]?.gcEpoch, place) }
        for block in universe where model.blocks[block.id] != nil && block.bytes.count <= 5000 {
            #expect(store.has(block), place)
        }
    }
}
