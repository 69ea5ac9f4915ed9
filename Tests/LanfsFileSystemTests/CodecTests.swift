import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import TestSupport
import Testing

@Suite("Records")
struct CodecTests {
    @Test("come back as they were, and in order", arguments: 1...4)
    func keysComeBack(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        for _ in 0..<500 {
            let key = randomKey(&generator)
            #expect(RecordKey(key.key) == key)
            #expect(RecordKey(Key(key.key.bytes + [0])) != key)
        }
    }

    @Test("of names and numbers sort as they do")
    func order() {
        let keys: [RecordKey] = [
            .superblock, .inode(1), .inode(255), .inode(256), .entry(parent: 1, name: [1]),
            .entry(parent: 1, name: [1, 0]), .entry(parent: 1, name: [255]), .entry(parent: 2, name: [0]),
            .extent(1, generation: 0, chunk: 256), .extent(1, generation: 1, chunk: 0),
            .attribute(1, name: [97], piece: 0), .attribute(1, name: [97], piece: 1),
            .attribute(1, name: [97, 1], piece: 0), .orphan(Incarnation(high: 1, low: 0), 5), .trim(1, generation: 0),
            .usage(.zero), .dead(sequence: 1, .zero), .dead(sequence: 2, .zero),
            .pinnedRoot(sequence: 1, .zero), .pinnedRoot(sequence: 2, .zero), .recovery(1), .recovery(256),
        ]
        #expect(keys.map(\.key) == keys.map(\.key).sorted())
    }

    private func randomKey(_ generator: inout SplitMix64) -> RecordKey {
        let number = generator.next() >> UInt64(generator.below(64))
        let small = UInt32(truncatingIfNeeded: number)
        let block = BlockID(word0: number, word1: generator.next(), word2: 3, word3: 4)
        switch generator.below(11) {
        case 0: return .superblock
        case 1: return .inode(number)
        case 2: return .entry(parent: number, name: generator.bytes(generator.below(256)))
        case 3: return .extent(number, generation: small, chunk: generator.next())
        case 4:
            return .attribute(
                number, name: generator.bytes(generator.below(256)).map { $0 | 1 }, piece: UInt16(small & 15))
        case 5: return .orphan(Incarnation(high: generator.next(), low: number), number)
        case 6: return .trim(number, generation: small)
        case 7: return .usage(block)
        case 8: return .recovery(number)
        case 9: return .pinnedRoot(sequence: number, RecordHash(word0: number, word1: 1, word2: 2, word3: 3))
        default: return .dead(sequence: number, block)
        }
    }

    private func randomInode(_ generator: inout SplitMix64) -> InodeRecord {
        let times = (0..<2).map { _ in
            Timestamp(seconds: Int64(bitPattern: generator.next()), nanoseconds: UInt32(generator.below(1_000_000_000)))
        }
        let type = InodeType(rawValue: UInt8(1 + generator.below(7))) ?? .regular
        var record = InodeRecord(
            attributes: Attributes(
                inode: 5, type: type, permissions: UInt16(generator.below(4096)),
                linkCount: UInt32(generator.below(100)), user: 1, group: .max, device: 0, size: 0, allocated: 0,
                accessed: generator.pick(times), modified: generator.pick(times), changed: generator.pick(times),
                created: generator.pick(times)),
            attributeNames: generator.chance(50) ? 0 : 77)
        switch type {
        case .regular:
            record.inline = generator.bytes(generator.pick([0, 1, 2047, 2048]))
            record.generation = generator.chance(50) ? 0 : 3
            record.attributes.size = UInt64(record.inline.count) + UInt64(generator.below(1000))
            record.attributes.allocated = UInt64(record.inline.count) + UInt64(generator.below(1000))
        case .directory:
            record.parent = generator.next()
            record.attributes.size = generator.next()
        case .symlink:
            record.inline = generator.bytes(generator.below(4096))
            record.attributes.size = UInt64(record.inline.count)
        case .characterDevice, .blockDevice:
            record.attributes.device = 0x501
        default: break
        }
        return record
    }

    @Test("of inodes come back, and cut or changed bytes never trap", arguments: 1...4)
    func inodes(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        for _ in 0..<200 {
            let record = randomInode(&generator)
            var bytes = record.encoded()
            #expect(try InodeRecord(decoding: bytes, of: 5) == record)
            #expect(throws: DecodingError.self) {
                try InodeRecord(decoding: Array(bytes.prefix(generator.below(20))), of: 5)
            }
            bytes[generator.below(min(bytes.count, 90))] ^= UInt8(1 << generator.below(8))
            _ = try? InodeRecord(decoding: bytes, of: 5)
        }
    }

    @Test("of garbage are refused without a trap", arguments: 1...4)
    func garbage(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        for _ in 0..<2000 {
            var bytes = generator.bytes(generator.below(120))
            if !bytes.isEmpty { bytes[0] = 1 }
            _ = try? Superblock(decoding: bytes)
            _ = try? EntryRecord(decoding: bytes)
            _ = try? Extent(decoding: bytes)
            _ = try? BlockUsage(decoding: bytes)
            _ = try? InodeRecord(decoding: bytes, of: 1)
            if !bytes.isEmpty { bytes[0] = generator.pick([1, 0x10, 0x20, 0x30, 0x40, 0x50, 0x58, 0x60, 0x68, 0x70, 0x78, 0x80]) }
            if let key = RecordKey(Key(bytes)) { #expect(key.key == Key(bytes)) }
        }
    }

    @Test("that damage or a newer program left are answered with EIO, whatever the operation", arguments: 1...3)
    func damagedVolume(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        for _ in 0..<60 {
            let volume = try Volume(seed: seed)
            let directory = try volume.makeDirectory("d")
            let file = try volume.create("f", in: directory)
            _ = try volume.write(file, offset: 0, [UInt8](repeating: 1, count: 100_000))
            let records = try volume.records()
            for _ in 0..<1 + generator.below(3) {
                var change = generator.pick(records)
                guard var value = change.value else { continue }
                if generator.chance(30) { value.removeLast(generator.below(value.count)) }
                if !value.isEmpty { value[generator.below(value.count)] ^= UInt8(1 << generator.below(8)) }
                change.value = value
                volume.apply([change])
            }
            _ = try? volume.contents(file, count: 200_000)
            _ = try? volume.write(file, offset: 70_000, [UInt8](repeating: 2, count: 10))
            _ = try? volume.truncate(file, to: 40_000)
            _ = try? volume.names(directory)
            _ = try? volume.rename("f", in: directory, to: "g")
            _ = try? volume.rename("d", to: "d2")
            _ = try? volume.unlink("g")
            _ = try? volume.removeDirectory("d2")
            _ = try? volume.reapAll()
            _ = try volume.check()
        }
    }
}
