import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import SystemPackage
import Testing

@testable import LanfsServer

@Suite("What a server writes down of the others") struct MemberBookTests {
    private let key = VolumeKey.generate()
    private let ids: [ServerID] = (1...3).map { ServerID(word0: $0, word1: 0, word2: 0, word3: 0) }

    private func record(epoch: UInt64 = 1, version: UInt64, gone: Set<Int> = [], contents: [UInt8] = []) -> RootRecord {
        let members = ids.indices.map { Member(server: ids[$0], state: gone.contains($0) ? .gone : .active, weight: 1) }
        let config = VolumeConfig(version: version, servers: members, keepers: Keepers([ids[0]]), replicas: 2)
        var record = RootRecord(
            creating: key.id, config: config, contents: contents, ballot: Ballot(counter: 1, proposer: 1))
        record.epoch = epoch
        return record
    }

    @Test("takes the higher epoch and configuration, and no other word on the same one")
    func newer() {
        var book = MemberBook()
        func take(_ record: RootRecord) -> Bool { book.take(record) }
        #expect(take(record(version: 2)))
        #expect(!take(record(version: 1)) && !take(record(version: 2, contents: [1])))
        #expect(book.record?.contents == [])
        #expect(take(record(version: 3)) && take(record(epoch: 2, version: 3)))
        #expect(!take(record(version: 9)))
    }

    @Test("forgets where those are who have gone, and keeps eight addresses of the others, the last seen first")
    func addresses() {
        var book = MemberBook()
        func take(_ record: RootRecord) -> Bool { book.take(record) }
        func note(_ addresses: [String], _ server: Int) -> Bool { book.note(addresses, of: ids[server]) }
        #expect(!note(["a:1"], 0))
        #expect(take(record(version: 1)))
        #expect(note(["a:1", "b:1"], 0) && !note(["a:1"], 0))
        #expect(note(["b:1"], 0))
        #expect(book.addresses[ids[0]] == ["b:1", "a:1"])
        #expect(note((0..<20).map { "c:\($0)" }, 1))
        #expect(book.addresses[ids[1]]?.count == 8)
        #expect(book.others(of: ids[2]) == [ids[0], ids[1]])
        #expect(take(record(version: 2, gone: [1])))
        #expect(book.addresses[ids[1]] == nil && book.others(of: ids[2]) == [ids[0]])
        #expect(book.others(of: ids[1]).isEmpty)
    }

    @Test("is read back as it was written, and damage is noticed")
    func codec() throws {
        var book = MemberBook()
        _ = book.take(record(version: 4))
        _ = book.note(["192.168.1.2:40000"], of: ids[2])
        let bytes = book.encoded
        #expect(try MemberBook(encoded: bytes) == book)
        #expect(try MemberBook(encoded: MemberBook().encoded) == MemberBook())
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 1
            #expect(throws: DecodingError.self) { try MemberBook(encoded: damaged) }
        }
        #expect(throws: DecodingError.self) { try MemberBook(encoded: Array(bytes.dropLast())) }
    }

    @Test("a pin is kept with the server's own identity, and a damaged one is no pin")
    func pins() throws {
        let folder = try TemporaryFolder()
        let identity = StaticKeyPair.generate()
        let pins = MemberPins(folder.path, identity: identity)
        #expect(pins.pin(of: ids[0]) == nil && pins.newClientKey().publicKey == identity.publicKey)
        let secret = (0..<32).map { UInt8($0) }
        try pins.keep(Pin(server: ids[0], clientKey: identity, pairwiseKey: SharedSecret(copying: secret)))
        let kept = try #require(pins.pin(of: ids[0]))
        #expect(kept.server == ids[0] && kept.clientKey.publicKey == identity.publicKey)
        #expect(kept.pairwiseKey.withUnsafeBytes { Array($0) } == secret)
        #expect(pins.pin(of: ids[1]) == nil)
        try write("nothing", to: folder.path.appending(ids[0].hex))
        #expect(pins.pin(of: ids[0]) == nil)
    }

    @Test("the meter tells bytes a second over the last ten seconds")
    func meter() {
        var meter = RepairMeter()
        meter.add(1000, now: .seconds(3))
        meter.add(500, now: .seconds(4))
        #expect(meter.rate(now: .seconds(4)) == 150)
        #expect(meter.rate(now: .seconds(12)) == 150)
        #expect(meter.rate(now: .seconds(13)) == 50)
        #expect(meter.rate(now: .seconds(100_000)) == 0)
    }
}
