import Glibc
import LanfsProtocol
import SystemPackage

/// A segment's records and their states as one checksummed file, so that a restart need not read the segment.
struct Sidecar {
    static let headerSize = 8 + 4 + 4 + 32 + 8 + 8
    static let entrySize = 32 + 8 + 4 + 4 + 4 + 8

    struct Entry: Equatable {
        var id: BlockID
        var gcEpoch: UInt64
        var length: UInt32
        var page: UInt32
        var state: BlockIndex.State
        /// When it was quarantined, in the store's seconds.
        var time: UInt64
    }

    var volume: VolumeID
    var segment: UInt32
    /// Records of the segment before this byte are listed; what follows must be scanned.
    var covered: UInt64
    var entries: [Entry]

    func encode(hash: BlockHash) -> [UInt8] {
        var writer = ByteWriter(reserving: Sidecar.headerSize + entries.count * Sidecar.entrySize + 8)
        writer.append(Layout.sidecarMagic)
        writer.append(Layout.version)
        writer.append(segment)
        writer.append(volume)
        writer.append(covered)
        writer.append(UInt64(entries.count))
        for entry in entries {
            writer.append(entry.id)
            writer.append(entry.gcEpoch)
            writer.append(entry.length)
            writer.append(entry.page)
            writer.append(UInt32(entry.state.rawValue))
            writer.append(entry.time)
        }
        writer.append(writer.bytes.withUnsafeBytes(hash).word0)
        return writer.bytes
    }

    /// `nil` unless the bytes are this segment's sidecar, whole and sound.
    init?(_ bytes: [UInt8], volume: VolumeID, segment: UInt32, hash: BlockHash) {
        self.volume = volume
        self.segment = segment
        let body = bytes.count - Sidecar.headerSize - 8
        guard body >= 0, body % Sidecar.entrySize == 0 else { return nil }
        let isWhole = bytes.withUnsafeBytes {
            hash(UnsafeRawBufferPointer(rebasing: $0.dropLast(8))).word0 == $0.word(at: $0.count - 8)
        }
        guard isWhole else { return nil }
        var reader = ByteReader(bytes)
        do throws(DecodingError) {
            guard try reader.integer(UInt64.self) == Layout.sidecarMagic,
                try reader.integer(UInt32.self) == Layout.version, try reader.integer(UInt32.self) == segment,
                try reader.id(VolumeID.self) == volume
            else { return nil }
            covered = try reader.integer()
            guard try reader.integer(UInt64.self) == UInt64(body / Sidecar.entrySize) else { return nil }
        } catch {
            return nil
        }
        var entries: [Entry] = []
        entries.reserveCapacity(body / Sidecar.entrySize)
        let covered = covered
        let sound = bytes.withUnsafeBytes { bytes in
            for start in stride(from: Sidecar.headerSize, to: Sidecar.headerSize + body, by: Sidecar.entrySize) {
                let entry = Entry(bytes, at: start)
                guard let entry, entry.length <= Limits.blockSize, entry.gcEpoch <= BlockIndex.epochLimit,
                    entry.page > 0, UInt64(entry.page) * Layout.page + RecordHeader.span(Int(entry.length)) <= covered
                else { return false }
                entries.append(entry)
            }
            return true
        }
        guard sound else { return nil }
        self.entries = entries
    }

    init(volume: VolumeID, segment: UInt32, covered: UInt64, entries: [Entry]) {
        self.volume = volume
        self.segment = segment
        self.covered = covered
        self.entries = entries
    }

    static func read(
        _ path: FilePath, volume: VolumeID, segment: UInt32, hash: BlockHash
    ) throws(StoreError) -> Sidecar? {
        guard Disk.exists(path) else { return nil }
        let limit = headerSize + 8 + entrySize * Int(BlockStore.Options.maximumSegmentSize / Layout.page)
        let file = try OpenFile(path, O_RDONLY)
        guard try file.information().size <= UInt64(limit) else { return nil }
        return Sidecar(try file.readAll(limit: limit), volume: volume, segment: segment, hash: hash)
    }
}

extension Sidecar.Entry {
    /// Field by field from the buffer: a million of these are read at a restart.
    fileprivate init?(_ bytes: UnsafeRawBufferPointer, at start: Int) {
        guard let state = BlockIndex.State(rawValue: UInt64(bytes.half(at: start + 48))), state != .unused else {
            return nil
        }
        self.init(
            id: BlockID(
                word0: bytes.word(at: start), word1: bytes.word(at: start + 8), word2: bytes.word(at: start + 16),
                word3: bytes.word(at: start + 24)),
            gcEpoch: bytes.word(at: start + 32), length: bytes.half(at: start + 40), page: bytes.half(at: start + 44),
            state: state, time: bytes.word(at: start + 52))
    }
}

extension UnsafeRawBufferPointer {
    func word(at offset: Int) -> UInt64 { UInt64(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
    func half(at offset: Int) -> UInt32 { UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
}
