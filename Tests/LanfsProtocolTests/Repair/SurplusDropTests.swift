import Testing

@testable import LanfsProtocol

@Suite("A surplus copy")
struct SurplusDropTests {
    private let fixture = RepairFixture(servers: 4)
    private let day = Duration.seconds(24 * 3600)

    /// A server that holds a block that belongs to two others, a day and more ago.
    private struct Holder {
        var drop: SurplusDrop
        let block: BlockID
        let server: ServerID
        let home: [ServerID]
        let now: Duration

        func challenge(_ nonce: UInt128, version: UInt64 = 1) -> PossessionChallenge {
            PossessionChallenge(block: block, nonce: nonce, configVersion: version, gcEpoch: 3)
        }

        func digest(_ prover: ServerID, _ nonce: UInt128) -> PossessionDigest {
            RepairWorld.digest(challenge(nonce), asker: server, prover: prover, named: true)
        }

        /// Up to where both have been asked.
        mutating func ask(_ nonce: UInt128, now: Duration) -> [SurplusDrop.Effect] {
            guard drop.tick(nonce: nonce, now: now) == [.digest(block, nonce: nonce, provers: home)] else { return [] }
            return drop.digested(challenge(nonce), expected: home.map { digest($0, nonce) })
        }

        mutating func prove(_ prover: Int, _ nonce: UInt128, now: Duration) -> [SurplusDrop.Effect] {
            drop.answered(
                PossessionAnswer(block: block, nonce: nonce, digest: digest(home[prover], nonce)), from: home[prover],
                now: now)
        }
    }

    private var holder: Holder {
        let block = fixture.blocks[0]
        let ranking = fixture.ranking(block)
        var drop = SurplusDrop(view: fixture.view(ranking[2]))
        drop.consider([fixture.stored(block)], now: .zero)
        return Holder(drop: drop, block: block, server: ranking[2], home: Array(ranking.prefix(2)), now: day)
    }

    @Test("goes when all where it belongs have proven, after a day")
    func drops() {
        var holder = holder
        #expect(holder.ask(1, now: day - .seconds(1)).isEmpty)
        let challenge = holder.challenge(1)
        #expect(holder.ask(1, now: day) == holder.home.map { .challenge(challenge, to: $0) })
        #expect(holder.prove(1, 1, now: day).isEmpty)
        #expect(holder.prove(1, 1, now: day).isEmpty, "the same one twice")
        // The tag is that of the hashed copy: a copy that was touched since then stays (G2).
        #expect(holder.prove(0, 1, now: day) == [.drop(holder.block, gcEpoch: 3)])
        #expect(holder.drop.candidateCount == 0)
    }

    @Test("stays without a proof, with an old one, a late one, or one of another's")
    func refuses() {
        var holder = holder
        _ = holder.ask(1, now: day)
        _ = holder.prove(0, 1, now: day)
        let wrong = PossessionAnswer(block: holder.block, nonce: 1, digest: holder.digest(holder.home[0], 1))
        #expect(holder.drop.answered(wrong, from: holder.home[1], now: day).isEmpty, "it names another")
        #expect(holder.drop.roundCount == 0)
        let again = day + .seconds(3600)
        #expect(holder.ask(2, now: again).count == 2)
        #expect(holder.prove(0, 2, now: again).isEmpty)
        #expect(holder.prove(1, 1, now: again).isEmpty, "of the last round")
        let none = PossessionAnswer(block: holder.block, nonce: 2, digest: nil)
        #expect(holder.drop.answered(none, from: holder.home[1], now: again).isEmpty)
        let third = again + .seconds(3600)
        #expect(holder.ask(3, now: third).count == 2)
        #expect(holder.prove(0, 3, now: third).isEmpty)
        #expect(holder.prove(1, 3, now: third + .seconds(31)).isEmpty, "too late")
        #expect(holder.drop.candidateCount == 1)
    }

    @Test("stays while anybody is suspect, and when anything changed since the challenge")
    func changes() {
        var holder = holder
        let others = fixture.servers.filter { $0 != holder.server && !holder.home.contains($0) }
        holder.drop.update(fixture.view(holder.server, suspect: others, generation: 2))
        #expect(holder.ask(1, now: day).isEmpty)
        holder.drop.update(fixture.view(holder.server, generation: 3))
        #expect(holder.ask(1, now: day).count == 2)
        #expect(holder.prove(0, 1, now: day).isEmpty)
        holder.drop.update(fixture.view(holder.server, generation: 4))
        #expect(holder.prove(1, 1, now: day).isEmpty)

        // Lost and back: it was needed, and its day begins anew.
        holder.drop.update(fixture.view(holder.server, lost: [holder.home[0]], generation: 5))
        #expect(holder.drop.candidateCount == 0)
        holder.drop.update(fixture.view(holder.server, generation: 6))
        holder.drop.consider([fixture.stored(holder.block)], now: day)
        #expect(holder.ask(2, now: day + .seconds(10)).isEmpty)
        #expect(holder.ask(2, now: day * 2).count == 2)
        holder.drop.update(fixture.view(holder.server, config: fixture.config(version: 2), generation: 7))
        #expect(holder.drop.candidateCount == 0)
    }

    @Test("is proven only under the asker's configuration, and only by those where it belongs")
    func provers() {
        let holder = holder
        for server in fixture.servers {
            let view = fixture.view(server)
            #expect(view.mayProve(holder.challenge(1)) == holder.home.contains(server))
            #expect(!view.mayProve(holder.challenge(1, version: 2)))
        }
    }

    @Test("of a draining server stays (B6)")
    func draining() {
        let block = fixture.blocks[0]
        let server = fixture.ranking(block)[2]
        var drop = SurplusDrop(view: fixture.view(server, config: fixture.config(draining: server)))
        drop.consider([fixture.stored(block)], now: .zero)
        #expect(drop.candidateCount == 0)
    }

    @Test("waits in a table with a bound, and makes room when nobody proves it")
    func bounded() {
        var options = SurplusDrop.Options()
        options.candidateLimit = 2
        let server = fixture.servers[0]
        let surplus = fixture.blocks.filter { fixture.ranking($0).firstIndex(of: server) ?? 0 >= 2 }.sorted()
        var drop = SurplusDrop(view: fixture.view(server), options: options)
        drop.consider(surplus.map { fixture.stored($0) }, now: .zero)
        #expect(drop.candidateCount == 2)
        #expect(drop.tick(nonce: 1, now: day).count == 2)
        #expect(drop.tick(nonce: 2, now: day + .seconds(30)).count <= 1)
        #expect(drop.candidateCount == 1)
        drop.consider([fixture.stored(surplus[5])], now: day)
        #expect(drop.candidateCount == 2)
    }
}

@Suite("A token bucket")
struct TokenBucketTests {
    @Test("begins empty, fills at its rate and holds no more than its burst")
    func fills() {
        let block = Limits.blockSize
        var bucket = TokenBucket(rate: UInt64(block), burst: UInt64(2 * block), now: .zero)
        #expect(bucket.take(1, now: .zero) == false)
        #expect(bucket.take(block, now: .milliseconds(999)) == false)
        #expect(bucket.take(block, now: .seconds(1)) == true)
        #expect(bucket.take(3 * block, now: .seconds(1000)) == false)
        #expect(bucket.take(2 * block, now: .seconds(1000)) == true)
        #expect(bucket.take(1, now: .seconds(1)) == false, "a clock that goes back gives nothing")
        var slow = TokenBucket(rate: 3, burst: 0, now: .zero)
        var passed = 0
        for millisecond in 1...10_000 where slow.take(1, now: .milliseconds(millisecond)) { passed += 1 }
        #expect(passed == 30, "what rounds to nothing adds up")
        var fast = TokenBucket(rate: .max, burst: .max, now: .zero)
        #expect(fast.take(.max, now: .seconds(Int64.max / 4)) == true)
    }
}

@Suite("A copy that arrives")
struct SweptBlocksTests {
    private let fixture = RepairFixture(servers: 1)

    @Test("is refused when a free or sweep named its block, unless a client gave it a newer tag since")
    func verdicts() {
        var swept = SweptBlocks()
        let (known, other) = (fixture.blocks[0], fixture.blocks[1])
        swept.note([known], cutoff: 5, now: .zero)
        swept.note([known], cutoff: 4, now: .zero)
        #expect(swept.verdict(on: known, gcEpoch: 5, local: .absent) == .swept)
        #expect(swept.verdict(on: known, gcEpoch: 6, local: .absent) == .stored)
        #expect(swept.verdict(on: known, gcEpoch: 5, local: .quarantined(gcEpoch: 2)) == .swept)
        #expect(swept.verdict(on: known, gcEpoch: 1, local: .live(gcEpoch: 9)) == .present)
        #expect(swept.verdict(on: other, gcEpoch: 0, local: .absent) == .stored)
        #expect(swept.verdict(on: other, gcEpoch: 2, local: .quarantined(gcEpoch: 2)) == .swept)
        #expect(swept.verdict(on: other, gcEpoch: 3, local: .quarantined(gcEpoch: 2)) == .stored)
    }

    @Test("is judged the same way after a restart, for as long as quarantine lasts")
    func restored() throws {
        var swept = SweptBlocks(limit: 10, memory: .seconds(60))
        let (old, new, gone) = (fixture.blocks[0], fixture.blocks[1], fixture.blocks[2])
        swept.note([gone], cutoff: 3, now: .seconds(1000))
        swept.note([old], cutoff: 1, now: .seconds(1050))
        swept.note([old], cutoff: 5, now: .seconds(1060))
        swept.note([new], cutoff: 9, now: .seconds(1080))
        let bytes = swept.encoded(now: .seconds(1090))
        var again = SweptBlocks(limit: 10, memory: .seconds(60))
        try again.restore(encoded: bytes, now: .seconds(7))
        again.forget(.seconds(7))
        #expect(again.verdict(on: old, gcEpoch: 5, local: .absent) == .swept)
        #expect(again.verdict(on: old, gcEpoch: 6, local: .absent) == .stored)
        #expect(again.verdict(on: new, gcEpoch: 9, local: .absent) == .swept)
        #expect(again.verdict(on: gone, gcEpoch: 3, local: .absent) == .stored)
        // Thirty seconds old then, and ten.
        again.forget(.seconds(7 + 31))
        #expect(again.verdict(on: old, gcEpoch: 5, local: .absent) == .stored)
        #expect(again.verdict(on: new, gcEpoch: 9, local: .absent) == .swept)
        for length in bytes.indices {
            #expect(throws: DecodingError.self) { try again.restore(encoded: Array(bytes[..<length]), now: .zero) }
        }
    }

    @Test("is judged by a memory that ends with quarantine and has a bound")
    func bounded() {
        var swept = SweptBlocks(limit: 10, memory: .seconds(60))
        for round in 0..<30 { swept.note(fixture.blocks, cutoff: UInt64(round), now: .seconds(round)) }
        #expect(swept.count == 10)
        #expect(swept.verdict(on: fixture.blocks[99], gcEpoch: 29, local: .absent) == .swept)
        swept.forget(.seconds(95))
        #expect(swept.count == 0)
    }
}
