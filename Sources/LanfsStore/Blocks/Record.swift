import Glibc
import LanfsProtocol

/// SHA-256 of the bytes; injected, so that this room needs no cryptography. Its first word is also the checksum of
/// every structure the store keeps on disk: it runs at memory speed on today's CPUs and finds what a CRC would and
/// more.
public typealias BlockHash = @Sendable (UnsafeRawBufferPointer) -> BlockID

/// The layout of a segment: one page of header, then records, each starting on a page.
///
/// Pages because a hole can only be punched in whole pages, because a torn write then never touches a neighbour that
/// was flushed, and because recovery finds the next record after a bad one by looking at page starts only.
enum Layout {
    static let page: UInt64 = 4096
    static let segmentMagic: UInt64 = 0x6c61_6e66_7353_4547  // "lanfsSEG"
    static let sidecarMagic: UInt64 = 0x6c61_6e66_7349_4458  // "lanfsIDX"
    static let logMagic: UInt64 = 0x6c61_6e66_734c_4f47  // "lanfsLOG"
    static let version: UInt32 = 1

    static func pages(_ bytes: Int) -> UInt64 {
        (UInt64(bytes) + page - 1) / page
    }

    static func roundUp(_ bytes: UInt64, to unit: UInt64 = page) -> UInt64 {
        (bytes + unit - 1) / unit * unit
    }
}

/// What precedes a block's sealed bytes. The checksum covers the volume, the segment and the page too, so that a record
/// from elsewhere (a misdirected write, another volume's folder) is not taken for one of ours.
struct RecordHeader: Equatable {
    static let size = 72
    static let magic: UInt32 = 0x6c66_424b  // "lfBK"

    var id: BlockID
    var gcEpoch: UInt64
    var length: UInt32
    var segment: UInt32
    /// Page of the segment at which the record starts.
    var page: UInt32

    /// Bytes the record takes on disk.
    var span: UInt64 { RecordHeader.span(Int(length)) }

    static func span(_ length: Int) -> UInt64 { Layout.pages(size + length) * Layout.page }

    private func encodeFields(volume: VolumeID) -> [UInt8] {
        var writer = ByteWriter(reserving: 32 + RecordHeader.size)
        writer.append(volume)
        writer.append(RecordHeader.magic)
        writer.append(UInt32(0))  // flags, none yet
        writer.append(id)
        writer.append(gcEpoch)
        writer.append(length)
        writer.append(segment)
        writer.append(page)
        writer.append(UInt32(0))
        return writer.bytes
    }

    func encode(volume: VolumeID, hash: BlockHash) -> [UInt8] {
        var writer = ByteWriter(reserving: 0)
        writer.bytes = encodeFields(volume: volume)
        writer.append(writer.bytes.withUnsafeBytes(hash).word0)
        writer.bytes.removeFirst(32)
        return writer.bytes
    }

    /// `nil` unless the bytes are the header that belongs at this very place.
    init?(_ bytes: [UInt8], segment: UInt32, page: UInt64, volume: VolumeID, hash: BlockHash) {
        guard bytes.count >= RecordHeader.size else { return nil }
        var reader = ByteReader(bytes)
        do throws(DecodingError) {
            guard try reader.integer(UInt32.self) == RecordHeader.magic, try reader.integer(UInt32.self) == 0 else {
                return nil
            }
            id = try reader.id()
            gcEpoch = try reader.integer()
            length = try reader.integer()
            self.segment = try reader.integer()
            self.page = try reader.integer()
            _ = try reader.integer(UInt32.self)
            let checksum: UInt64 = try reader.integer()
            guard self.segment == segment, UInt64(self.page) == page, length <= Limits.blockSize,
                gcEpoch <= BlockIndex.epochLimit,
                encodeFields(volume: volume).withUnsafeBytes(hash).word0 == checksum
            else { return nil }
        } catch {
            return nil
        }
    }

    init(id: BlockID, gcEpoch: UInt64, length: UInt32, segment: UInt32, page: UInt32) {
        self.id = id
        self.gcEpoch = gcEpoch
        self.length = length
        self.segment = segment
        self.page = page
    }
}

/// The first page of a segment.
enum SegmentHeader {
    static func encode(volume: VolumeID, segment: UInt32, hash: BlockHash) -> [UInt8] {
        var writer = ByteWriter()
        writer.append(Layout.segmentMagic)
        writer.append(Layout.version)
        writer.append(segment)
        writer.append(volume)
        writer.append(writer.bytes.withUnsafeBytes(hash).word0)
        return writer.bytes
    }

    static func isValid(_ bytes: [UInt8], volume: VolumeID, segment: UInt32, hash: BlockHash) -> Bool {
        let expected = encode(volume: volume, segment: segment, hash: hash)
        return bytes.starts(with: expected)
    }
}

/// Whether all bytes are zero: the first is, and each equals the one before. Recovery asks it of much that was
/// allocated and never written, so it is one library call.
func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return true }
    return bytes[0] == 0 && memcmp(start, start + 1, bytes.count - 1) == 0
}
