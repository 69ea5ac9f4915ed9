import LanfsProtocol
import SystemPackage

/// Appends records to both journals at once; used by one thread at a time.
///
/// Invariant: a file is written over only when the blocks of all records are settled: on disk in the segments.
struct JournalWriter {
    private let journals: JournalPair
    private let volume: VolumeID
    private let hash: BlockHash
    private var generation: UInt64
    private var sequence: UInt64
    /// Blocks of records up to this one are on disk in the segments, those of later ones are `unsettled`.
    private var settled: UInt64
    private var unsettled: [(sequence: UInt64, block: CarriedBlock)] = []
    private var newestState: [UInt8] = []
    private let settle: KeeperJournal.Settle
    private var slot = 0
    /// After it nobody knows what is on the disk: only a new start, which reads it, may go on.
    private var failure: StoreError?
    private let buffer: AlignedBuffer
    private let writer = PairedWriter()

    init(
        _ journals: JournalPair, after newest: JournalReading.Record?, volume: VolumeID,
        hash: @escaping BlockHash, settle: @escaping KeeperJournal.Settle
    ) {
        self.journals = journals
        // The next generation goes to the file that does not hold the newest record.
        generation = newest.map { $0.generation &+ 1 } ?? 1
        sequence = newest.map { $0.sequence &+ 1 } ?? 1
        settled = newest?.sequence ?? 0
        self.settle = settle
        self.volume = volume
        self.hash = hash
        buffer = AlignedBuffer(KeeperJournal.partsLimit * JournalSlot.size)
    }

    mutating func append(_ state: [UInt8], _ blocks: [CarriedBlock], _ meanwhile: () -> Void) throws(StoreError) {
        if let failure { throw failure }
        do throws(StoreError) {
            try write(state, blocks, meanwhile)
        } catch {
            failure = error
            throw error
        }
    }

    private mutating func write(
        _ state: [UInt8], _ blocks: [CarriedBlock], _ meanwhile: () -> Void
    ) throws(StoreError) {
        var parts = encode(state, blocks)
        if slot + parts > JournalFolder.slots {
            try settleAll()
            generation &+= 1
            slot = 0
            parts = encode(state, blocks)
        }
        unsettled += blocks.map { (sequence, $0) }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer.bytes[..<(parts * JournalSlot.size)])
        let offset = UInt64(slot * JournalSlot.size)

        try writer.write(
            bytes, to: journals.files(generation), at: offset, sharesFlush: journals.sharesFlush, meanwhile: meanwhile)
        slot += parts
        sequence &+= 1
        newestState = state
    }

    /// Blocks to be settled, and the last record they are of.
    struct Due {
        var blocks: [CarriedBlock]
        var sequence: UInt64
    }

    var due: Due? {
        get throws(StoreError) {
            if let failure { throw failure }
            return unsettled.isEmpty ? nil : Due(blocks: unsettled.map(\.block), sequence: sequence - 1)
        }
    }

    /// They are on disk in the segments. The journals hear of it with the next record, which is made when none came since.
    mutating func noteSettled(_ due: Due) throws(StoreError) {
        guard due.sequence > settled else { return }
        unsettled.removeAll { $0.sequence <= due.sequence }
        settled = due.sequence
        if sequence == due.sequence + 1 { try append(newestState, [], {}) }
    }

    private func encode(_ state: [UInt8], _ blocks: [CarriedBlock]) -> Int {
        let entry = JournalEntry(state: state, settled: settled, blocks: blocks)
        return JournalReading.Record(generation: generation, sequence: sequence, entry: entry)
            .encode(into: buffer.bytes, volume: volume, hash: hash)
    }

    private mutating func settleAll() throws(StoreError) {
        if !unsettled.isEmpty { try settle(unsettled.map(\.block), false) }
        unsettled = []
        settled = sequence - 1
    }
}

/// Memory that starts on a page, as writes past the page cache require.
private final class AlignedBuffer {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ count: Int) {
        bytes = .allocate(byteCount: count, alignment: JournalSlot.size)
    }

    deinit { bytes.deallocate() }
}
