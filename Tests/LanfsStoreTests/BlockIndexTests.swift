import LanfsProtocol
import TestSupport
import Testing

@testable import LanfsStore

@Suite("The block index")
struct BlockIndexTests {
    private func id(_ generator: inout SplitMix64) -> BlockID {
        BlockID(
            word0: generator.next(), word1: generator.next(), word2: generator.next(), word3: generator.next())
    }

    private func entry(_ id: BlockID, _ number: UInt64) -> BlockIndex.Entry {
        BlockIndex.Entry(
            id: id, gcEpoch: number, length: UInt32(truncatingIfNeeded: number & 0xfffff),
            segment: UInt32(truncatingIfNeeded: number), page: UInt32(truncatingIfNeeded: number & 0xfffff))
    }

    @Test("does what a dictionary does, in id order", arguments: [1, 2, 3] as [UInt64])
    func matchesDictionary(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let index = BlockIndex()
        var model: [BlockID: UInt64] = [:]
        var known: [BlockID] = []
        // Ids whose first bytes agree make long clusters, at the very end of a table too.
        let crowded: [UInt64] = [0, .max, 0x00ff_ffff_ffff_ff00, 0x7fff_ffff_ffff_fff0]
        for step in 0..<6000 {
            if known.isEmpty || Int.random(in: 0..<3, using: &generator) < 2 {
                var new = id(&generator)
                if step % 5 == 0, let top = crowded.randomElement(using: &generator) {
                    new = BlockID(word0: top, word1: new.word1, word2: new.word2, word3: new.word3)
                }
                index.insert(entry(new, UInt64(step)))
                model[new] = UInt64(step)
                known.append(new)
            } else {
                let victim = known.remove(at: Int.random(in: 0..<known.count, using: &generator))
                #expect(index.remove(victim)?.gcEpoch == model[victim])
                model[victim] = nil
                #expect(index.find(victim) == nil)
            }
        }
        #expect(index.count == model.count)
        for (id, number) in model {
            let found = index.find(id).map { index.entry($0) }
            #expect(found?.gcEpoch == number && found?.segment == UInt32(number) && found?.page == UInt32(number))
        }
        var listed: [BlockID] = []
        while true {
            let page = index.list(after: listed.last, limit: 13) { _ in true }
            if page.isEmpty { break }
            listed += page.map(\.id)
        }
        #expect(listed == model.keys.sorted())
        let middle = id(&generator)
        #expect(index.list(after: middle, limit: 1) { _ in true }.first?.id == listed.first { $0 > middle })
    }

    @Test("takes at most 64 bytes a block, at every size")
    func memory() {
        var generator = SplitMix64(seed: 9)
        let index = BlockIndex()
        for count in 1...140_000 {
            index.insert(entry(id(&generator), 1))
            if count >= 16384, count % 1024 == 0 { #expect(index.footprint <= 64 * count, "at \(count)") }
        }
    }

    @Test("keeps every field apart")
    func fields() {
        let id = BlockID(word0: 1, word1: 2, word2: 3, word3: 4)
        var entry = BlockIndex.Entry(
            id: id, gcEpoch: BlockIndex.epochLimit, length: UInt32(Limits.blockSize), segment: .max, page: 0xf_ffff)
        entry.generation = BlockIndex.generationLimit
        entry.state = .swept
        #expect(entry.gcEpoch == BlockIndex.epochLimit && entry.length == UInt32(Limits.blockSize))
        #expect(entry.segment == .max && entry.page == 0xf_ffff && entry.isAt(segment: .max, page: 0xf_ffff))
        #expect(entry.generation == BlockIndex.generationLimit && entry.state == .swept)
        entry.move(segment: 0, page: 1)
        entry.gcEpoch = 5
        #expect(entry.isAt(segment: 0, page: 1) && entry.state == .swept && entry.generation == 1023)
        #expect(entry.gcEpoch == 5 && entry.length == UInt32(Limits.blockSize))
    }
}
