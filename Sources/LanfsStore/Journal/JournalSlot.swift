import LanfsProtocol

/// One page of a journal: a part of a record with a checksum of its own, so that every page on disk says for itself
/// which record of which generation it belongs to, also a left-over that was overwritten in part.
struct JournalSlot: Equatable {
    static let size = 4096
    static let headerSize = 4 + 2 + 1 + 1 + 8 + 8 + 8
    static let payloadSize = size - headerSize
    static let magic: UInt32 = 0x6c66_4a4e  // "lfJN"

    var generation: UInt64
    var sequence: UInt64
    var part: UInt8
    var parts: UInt8
    var payload: ArraySlice<UInt8>

    private static func checksum(_ page: UnsafeRawBufferPointer, volume: VolumeID, hash: BlockHash) -> UInt64 {
        // Volume, then the page without its checksum field.
        withUnsafeTemporaryAllocation(byteCount: 32 + size, alignment: 8) { buffer in
            volume.withUnsafeBytes { buffer.copyMemory(from: $0) }
            UnsafeMutableRawBufferPointer(rebasing: buffer[32...]).copyMemory(from: page)
            buffer.storeBytes(of: 0, toByteOffset: 32 + 24, as: UInt64.self)
            return hash(UnsafeRawBufferPointer(buffer)).word0
        }
    }

    /// Writes the slot into a page that is all its own.
    func encode(into page: UnsafeMutableRawBufferPointer, volume: VolumeID, hash: BlockHash) {
        page.initializeMemory(as: UInt8.self, repeating: 0)
        page.storeBytes(of: JournalSlot.magic.bigEndian, as: UInt32.self)
        page.storeBytes(of: UInt16(payload.count).bigEndian, toByteOffset: 4, as: UInt16.self)
        page[6] = part
        page[7] = parts
        page.storeBytes(of: generation.bigEndian, toByteOffset: 8, as: UInt64.self)
        page.storeBytes(of: sequence.bigEndian, toByteOffset: 16, as: UInt64.self)
        UnsafeMutableRawBufferPointer(rebasing: page[JournalSlot.headerSize...]).copyBytes(from: payload)
        let checksum = JournalSlot.checksum(UnsafeRawBufferPointer(page), volume: volume, hash: hash)
        page.storeBytes(of: checksum.bigEndian, toByteOffset: 24, as: UInt64.self)
    }

    /// `nil` unless the page is a sound slot of this volume.
    init?(_ page: ArraySlice<UInt8>, volume: VolumeID, hash: BlockHash) {
        guard page.count == JournalSlot.size else { return nil }
        var reader = ByteReader(page)
        do throws(DecodingError) {
            guard try reader.integer(UInt32.self) == JournalSlot.magic else { return nil }
            let length = Int(try reader.integer(UInt16.self))
            part = try reader.integer()
            parts = try reader.integer()
            generation = try reader.integer()
            sequence = try reader.integer()
            let checksum: UInt64 = try reader.integer()
            guard length <= JournalSlot.payloadSize, part < parts,
                page.withUnsafeBytes({ JournalSlot.checksum($0, volume: volume, hash: hash) }) == checksum
            else { return nil }
            let start = page.startIndex + JournalSlot.headerSize
            payload = page[start..<start + length]
        } catch {
            return nil
        }
    }

    init(generation: UInt64, sequence: UInt64, part: UInt8, parts: UInt8, payload: ArraySlice<UInt8>) {
        self.generation = generation
        self.sequence = sequence
        self.part = part
        self.parts = parts
        self.payload = payload
    }
}
