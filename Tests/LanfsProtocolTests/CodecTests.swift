import TestSupport
import Testing

@testable import LanfsProtocol

/// A value's encoding, its decoding, and whether decoding gives the value back.
private struct Codec: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let make: @Sendable (inout SplitMix64) -> (bytes: [UInt8], isRestoredFrom: @Sendable ([UInt8]) throws -> Bool)
    /// Decodes; when it succeeds, encodes again.
    let reencode: @Sendable ([UInt8]) throws -> [UInt8]

    init<Value: Equatable & Sendable>(
        _ name: String, sample: @escaping @Sendable (inout SplitMix64) -> Value,
        encode: @escaping @Sendable (Value) -> [UInt8], decode: @escaping @Sendable ([UInt8]) throws -> Value
    ) {
        testDescription = name
        make = { random in
            let value = sample(&random)
            return (encode(value), { try decode($0) == value })
        }
        reencode = { encode(try decode($0)) }
    }

    static let all = [
        Codec("root record", sample: { $0.record() }, encode: \.encoded, decode: { try RootRecord(encoded: $0) }),
        Codec("root contents", sample: { $0.contents() }, encode: \.encoded, decode: { try RootContents(encoded: $0) }),
        Codec(
            "keeper state", sample: { $0.keeperState() }, encode: \.encoded, decode: { try KeeperState(encoded: $0) }),
        Codec(
            "rollback memory", sample: { RollbackMemory($0.record(), $0.recoveries(), SimulatedAuthority()) }, encode: \.encoded,
            decode: { try RollbackMemory(encoded: $0) }),
        Codec(
            "discovery query",
            sample: { DiscoveryQuery(nonce: $0.wide(), need: $0.next(), volumeToken: $0.wide()) }, encode: \.encoded,
            decode: { try DiscoveryQuery(encoded: $0) }),
        Codec(
            "discovery answer", sample: { $0.discoveryAnswer() }, encode: \.encoded,
            decode: { try DiscoveryAnswer(encoded: $0) }),
        Codec(
            "request", sample: { $0.request() }, encode: { encoded($0.encode) },
            decode: { try decoded($0) { reader throws(DecodingError) in try Request(from: &reader) } }),
        Codec(
            "response", sample: { $0.response() }, encode: { encoded($0.encode) },
            decode: { try decoded($0) { reader throws(DecodingError) in try Response(from: &reader) } }),
        Codec(
            "member message", sample: { $0.memberMessage() }, encode: { encoded($0.encode) },
            decode: { try decoded($0) { reader throws(DecodingError) in try MemberMessage(from: &reader) } }),
    ]
}

private func encoded(_ encode: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter()
    encode(&writer)
    return writer.bytes
}

private func decoded<Value>(
    _ bytes: [UInt8], _ decode: (inout ByteReader) throws(DecodingError) -> Value
) throws -> Value {
    var reader = ByteReader(bytes)
    let value = try decode(&reader)
    try reader.finish()
    return value
}

@Suite("Every message and record")
struct CodecTests {
    @Test("is read back as it was written", arguments: Codec.all)
    private func roundTrips(_ codec: Codec) throws {
        for seed: UInt64 in 0..<200 {
            var random = SplitMix64(seed: seed)
            let (bytes, isRestored) = codec.make(&random)
            #expect(try isRestored(bytes), "seed \(seed)")
        }
    }

    @Test("is refused when cut short or continued", arguments: Codec.all)
    private func refusesWrongLengths(_ codec: Codec) throws {
        var random = SplitMix64(seed: 1)
        for _ in 0..<20 {
            let bytes = codec.make(&random).bytes
            for length in bytes.indices {
                #expect(throws: DecodingError.self) { try codec.reencode(Array(bytes[..<length])) }
            }
            #expect(throws: DecodingError.self) { try codec.reencode(bytes + [0]) }
        }
    }

    /// One encoding per value, too: what a keeper verifies is what it was sent.
    @Test("survives hostile bytes, and what it accepts it writes the same way", arguments: Codec.all)
    private func survivesHostileBytes(_ codec: Codec) {
        for seed: UInt64 in 0..<1500 {
            var random = SplitMix64(seed: seed)
            var bytes = random.chance(0.1) ? random.bytes(random.below(300)) : codec.make(&random).bytes
            for _ in 0...random.below(4) where !bytes.isEmpty {
                let index = random.below(bytes.count)
                switch random.below(5) {
                case 0: bytes[index] = random.pick([0, 1, 0x7F, 0x80, 0xFF])
                case 1: bytes[index] ^= 1 << UInt8(random.below(8))
                case 2: bytes.removeSubrange(index..<min(bytes.count, index + 1 + random.below(8)))
                case 3: bytes.insert(contentsOf: random.bytes(1 + random.below(8)), at: index)
                default:
                    for offset in index..<min(bytes.count, index + 4) { bytes[offset] = 0xFF }
                }
            }
            guard let again = try? codec.reencode(bytes) else { continue }
            // A query's padding is the one thing that nobody reads.
            if codec.testDescription != "discovery query" { #expect(again == bytes, "seed \(seed)") }
        }
    }
}

@Suite("A client's introduction")
struct IntroductionTests {
    @Test("of as many servers as a volume can have, with all their addresses, is not too long to send")
    func limit() {
        var random = SplitMix64(seed: 1)
        let address = String(repeating: "x", count: MemberEndpoints.addressLimit)
        let endpoints = (0..<VolumeConfig.serverLimit).map { _ in
            MemberEndpoints(server: random.id(), addresses: Array(repeating: address, count: 20) + [address + "x"])
        }
        #expect(endpoints.allSatisfy { $0.addresses.count == MemberEndpoints.limit })
        let bytes = encoded(Request.introduce(record: random.record(), endpoints: endpoints).encode)
        #expect(bytes.count + Limits.rootRecordSize <= Limits.messageSize)
    }
}

@Suite("A message between members")
struct MemberMessageTests {
    @Test("is never longer than its limit, and a longer page is not read")
    func limit() throws {
        let entry = HoldingsQuery.Entry(block: .zero, gcEpoch: .max)
        let full = HoldingsQuery(page: .max, blocks: Array(repeating: entry, count: HoldingsQuery.limit))
        #expect(encoded(MemberMessage.holdings(full).encode).count == MemberMessage.sizeLimit)
        let longer = HoldingsQuery(page: 1, blocks: full.blocks + [entry])
        let bytes = encoded(MemberMessage.holdings(longer).encode)
        #expect(throws: DecodingError.self) {
            try decoded(bytes) { reader throws(DecodingError) in try MemberMessage(from: &reader) }
        }
    }

    @Test("has a place for each of the 255 servers")
    func places() {
        var set = MemberSet()
        for place in [0, 127, 128, 254, 255, 256, -1, .max] { set.insert(place) }
        #expect((0..<256).filter(set.contains) == [0, 127, 128, 254, 255])
        #expect(!set.contains(256) && !set.contains(-1) && !set.contains(.min))
    }

    @Test("says nothing about blocks that it was not asked for")
    func answers() {
        let answer = HoldingsAnswer(page: 1, held: [true, false, true])
        #expect((0..<20).filter(answer.holds) == [0, 2])
        #expect(!answer.holds(-1) && answer.covers(3) && !answer.covers(9))
    }
}

@Suite("A root record")
struct RootRecordTests {
    @Test("of a volume with a hundred servers and a seal fits in 4096 bytes")
    func fitsAHundredServers() {
        var random = SplitMix64(seed: 7)
        var record = random.record(servers: 100)
        record.config.keepers = Keepers(record.config.servers.prefix(5).map(\.server))
        record.sealedNext = Keepers(record.config.servers.suffix(5).map(\.server))
        // Two frame references, some counters and the seal around them.
        record.contents = random.bytes(270)
        #expect(record.encoded.count <= Limits.rootRecordSize)
        #expect(record.fits)
        #expect((try? RootRecord(encoded: record.encoded)) == record)
    }

    @Test("over 4096 bytes fits nowhere and is not read")
    func refusesTooLong() {
        var random = SplitMix64(seed: 8)
        var record = random.record(servers: 3)
        record.sealedNext = nil
        record.contents = []
        record.contents = random.bytes(Limits.rootRecordSize - record.encoded.count)
        #expect(record.fits)
        #expect((try? RootRecord(encoded: record.encoded)) == record)
        record.contents.append(0)
        #expect(!record.fits)
        #expect(throws: DecodingError.self) { try RootRecord(encoded: record.encoded) }
    }

    @Test("is the same value under any ballot, and its signature covers ballot and epoch")
    func signature() {
        var random = SplitMix64(seed: 9)
        let signer = SimulatedAuthority()
        let record = random.record().signed(ballot: random.ballot(), signer)
        #expect(record.isSigned(for: record.volume, signer))
        let again = record.signed(ballot: random.ballot(), signer)
        #expect(again.sameValue(as: record))
        #expect(again.hash(signer) == record.hash(signer))
        var forged = record
        forged.ballot = again.ballot
        #expect(!forged.isSigned(for: record.volume, signer))
        forged = record
        forged.epoch += 1
        #expect(!forged.isSigned(for: record.volume, signer))
        #expect(!forged.sameValue(as: record))
        #expect(!record.isSigned(for: .zero, signer))
    }

    @Test("of this epoch outranks one of an older epoch under any ballot")
    func rank() {
        var random = SplitMix64(seed: 10)
        var old = random.record()
        var new = old
        old.epoch = 3
        old.ballot = Ballot(counter: 100, proposer: 1)
        new.epoch = 4
        new.ballot = Ballot(counter: 2, proposer: 1)
        #expect(new.isNewer(than: old))
        #expect(!old.isNewer(than: new))
    }

    @Test("keeps its keepers to majorities of distinct servers")
    func keepers() {
        let servers = (1...3).map { ServerID(word0: $0, word1: 0, word2: 0, word3: 0) }
        #expect(Keepers(servers).quorum == 2)
        #expect(Keepers(servers).isValid)
        #expect(Keepers([servers[0]]).quorum == 1)
        #expect(!Keepers(members: servers, quorum: 1).isValid)
        #expect(!Keepers(members: servers, quorum: 4).isValid)
        #expect(!Keepers([servers[0], servers[0]]).isValid)
        #expect(!Keepers([]).isValid)
    }
}

@Suite("A client's memory of the last root")
struct RollbackMemoryTests {
    @Test("tells a child from a fork and a rollback")
    func judges() {
        var random = SplitMix64(seed: 11)
        let signer = SimulatedAuthority()
        var record = random.record(servers: 1)
        record.sealedNext = nil
        record.sequence = 10
        record.epoch = 2
        let memory = RollbackMemory(record, RecoveryHistory(), signer)
        let change = RootChange(contents: [1], gcEpoch: 0)
        let child = record.child(change, epoch: 2, ballot: random.ballot(), signer: signer)
        #expect(memory.judge(record.signed(ballot: random.ballot(), signer), signer) == .same)
        #expect(memory.judge(child, signer) == .child)
        #expect(memory.judge(child.child(change, epoch: 2, ballot: random.ballot(), signer: signer), signer) == .newer)
        #expect(RollbackMemory(child, RecoveryHistory(), signer).judge(record, signer) == .rolledBack)
        var other = record
        other.contents.append(1)
        #expect(memory.judge(other, signer) == .forked)
        #expect(memory.judge(other.child(change, epoch: 2, ballot: .zero, signer: signer), signer) == .forked)
        var older = child
        older.epoch = 1
        #expect(memory.judge(older, signer) == .rolledBack)
    }
}
