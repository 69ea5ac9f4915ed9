import Glibc
import LanfsProtocol
import SystemPackage

/// The two files of one journal.
///
/// Generation g is appended to file g % 2; a full file is followed by the other one, which holds only what that
/// generation's records have long replaced. So the journal is append-only within a generation, never overwrites the
/// file with the newest record, and needs neither space nor a rename after it was made: a full disk cannot stop it, and
/// no commit waits for a compaction (what records carry is settled ahead, `KeeperJournal.settle`). The files are written full of zeros once: overwriting them changes no file system
/// structure, and one write is one flush of the device.
struct JournalFolder {
    static let fileSize = 256 * JournalSlot.size
    static let slots = fileSize / JournalSlot.size

    let path: FilePath
    let files: (OpenFile, OpenFile)

    static func filePath(_ folder: FilePath, _ number: Int) -> FilePath {
        folder.appending("journal.\(number)")
    }

    /// Makes the journal anew with just this record, or none. Each file is replaced at once, the record's first, so
    /// that a crash leaves the old journal, or one that says the same.
    static func rebuild(
        _ path: FilePath, with record: JournalReading.Record?, volume: VolumeID, hash: BlockHash
    ) throws(StoreError) {
        try Disk.createDirectories(path)
        var content = [UInt8](repeating: 0, count: fileSize)
        let first = record.map { Int($0.generation % 2) } ?? 0
        if let record {
            _ = content.withUnsafeMutableBytes { record.encode(into: $0, volume: volume, hash: hash) }
        }
        try Disk.replace(filePath(path, first), with: content)
        try Disk.replace(filePath(path, 1 - first), with: [UInt8](repeating: 0, count: fileSize))
    }

    /// Opens the files for writing.
    init(_ path: FilePath, _ flags: Int32) throws(StoreError) {
        self.path = path
        files = (
            try OpenFile(JournalFolder.filePath(path, 0), flags), try OpenFile(JournalFolder.filePath(path, 1), flags)
        )
    }

    /// The file of a generation.
    func file(_ generation: UInt64) -> OpenFile { generation % 2 == 0 ? files.0 : files.1 }
}

/// What one journal says.
struct JournalReading: Equatable {
    struct Record: Equatable {
        var generation: UInt64
        var sequence: UInt64
        var entry: JournalEntry

        /// Writes the record's pages to the start of `buffer`, which has room for the longest. Returns how many.
        func encode(into buffer: UnsafeMutableRawBufferPointer, volume: VolumeID, hash: BlockHash) -> Int {
            let payload = entry.encoded
            let parts = (payload.count + JournalSlot.payloadSize - 1) / JournalSlot.payloadSize
            for part in 0..<parts {
                let start = part * JournalSlot.payloadSize
                let slot = JournalSlot(
                    generation: generation, sequence: sequence, part: UInt8(part), parts: UInt8(parts),
                    payload: payload[start..<min(start + JournalSlot.payloadSize, payload.count)])
                let page = buffer[part * JournalSlot.size..<(part + 1) * JournalSlot.size]
                slot.encode(into: UnsafeMutableRawBufferPointer(rebasing: page), volume: volume, hash: hash)
            }
            return parts
        }
    }

    enum Page: Equatable {
        case blank, bad
        case slot(JournalSlot)
    }

    /// Neither file is there.
    private(set) var isMissing = false
    /// The record with the highest sequence number that is whole.
    private(set) var newest: Record?
    /// All that are whole.
    private(set) var records: [Record] = []
    /// Something that is no whole record stands where the record after the newest would be: an append that a crash
    /// tore, or rot.
    private(set) var hasBadTail = false
    /// No record is whole, yet more is there than a torn first append can leave.
    private(set) var hasLostRecords = false
    /// There is something in it that the next reading could take for the trace of a torn append.
    private(set) var needsRebuild = false

    init(
        _ folder: FilePath, volume: VolumeID, hash: BlockHash, isProven: KeeperJournal.StateProof
    ) throws(StoreError) {
        let first = try JournalReading.pages(JournalFolder.filePath(folder, 0), volume, hash)
        let second = try JournalReading.pages(JournalFolder.filePath(folder, 1), volume, hash)
        // A file that is missing beside one that was used is a loss; beside one never used it was never made.
        let wasUsed = (first ?? []).contains { $0 != .blank } || (second ?? []).contains { $0 != .blank }
        let absent = [Page](repeating: wasUsed ? .bad : .blank, count: JournalFolder.slots)
        self.init(pages: [first ?? absent, second ?? absent], isProven: isProven)
        isMissing = first == nil && second == nil
        if first == nil || second == nil { needsRebuild = true }
    }

    init(pages: [[Page]], isProven: KeeperJournal.StateProof) {
        var pages = pages
        var found = pages.enumerated().flatMap { JournalReading.records($1, file: $0) }
        // Nobody heard of it: it is as good as torn.
        var unheard = 0
        while let last = found.indices.max(by: { found[$0].record.sequence < found[$1].record.sequence }),
            !isProven(found[last].record.entry.state)
        {
            for page in found[last].pages { pages[found[last].file][page] = .bad }
            found.remove(at: last)
            unheard += 1
        }
        records = found.map(\.record)
        let best = found.max { $0.record.sequence < $1.record.sequence }
        newest = best?.record
        needsRebuild = pages.contains { JournalReading.isTorn($0[...], after: newest) }
        // Where the record after the newest would stand: behind it, or at the start of the other file if it did not
        // fit.
        guard let newest, let best else {
            hasBadTail = pages.contains { JournalReading.isTorn($0[...], after: nil) }
            // The first append of all goes to the start of file 1 with sequence number 1, and only that one, or the one
            // after those that nobody heard of, can be torn.
            let reach = JournalReading.reach * (unheard + 1)
            hasLostRecords =
                JournalReading.isTorn(pages[0][...], after: nil)
                || JournalReading.isTorn(pages[1].dropFirst(reach), after: nil)
                || pages[1].contains { if case .slot(let slot) = $0 { slot.sequence > UInt64(unheard) + 1 } else { false } }
            return
        }
        let behind = pages[best.file].dropFirst(best.pages.upperBound).prefix(JournalReading.reach)
        let other = pages[1 - best.file].prefix(JournalReading.reach)
        hasBadTail = JournalReading.isTorn(behind, after: newest) || JournalReading.isTorn(other, after: newest)
    }

    /// Pages that one append may touch.
    private static let reach = KeeperJournal.partsLimit

    /// Whether an append that should have followed `newest` left traces: pages that are bad, or parts of a later
    /// record.
    private static func isTorn(_ pages: ArraySlice<Page>, after newest: Record?) -> Bool {
        pages.contains { page in
            switch page {
            case .blank: false
            case .bad: true
            case .slot(let slot): newest.map { slot.sequence > $0.sequence } ?? true
            }
        }
    }

    private struct Found {
        var record: Record
        var file: Int
        var pages: Range<Int>
    }

    /// Whole records and where they are.
    private static func records(_ pages: [Page], file: Int) -> [Found] {
        var found: [Found] = []
        var position = 0
        while position < pages.count {
            defer { position += 1 }
            guard case .slot(let first) = pages[position], first.part == 0, Int(first.generation % 2) == file,
                position + Int(first.parts) <= pages.count
            else { continue }
            var payload: [UInt8] = []
            var isWhole = true
            for part in 0..<first.parts {
                guard case .slot(let slot) = pages[position + Int(part)], slot.generation == first.generation,
                    slot.sequence == first.sequence, slot.part == part, slot.parts == first.parts
                else {
                    isWhole = false
                    break
                }
                payload += slot.payload
            }
            guard isWhole, let entry = try? JournalEntry(encoded: payload) else { continue }
            let record = Record(generation: first.generation, sequence: first.sequence, entry: entry)
            found.append(Found(record: record, file: file, pages: position..<position + Int(first.parts)))
        }
        return found
    }

    /// `nil` if there is no such file.
    private static func pages(
        _ path: FilePath, _ volume: VolumeID, _ hash: BlockHash
    ) throws(StoreError) -> [Page]? {
        guard Disk.exists(path) else { return nil }
        let file = try OpenFile(path, O_RDONLY)
        return (0..<JournalFolder.slots).map { number in
            let bytes = try? file.read(at: UInt64(number * JournalSlot.size), count: JournalSlot.size)
            // Unreadable or cut short: bad, not blank.
            guard let bytes, bytes.count == JournalSlot.size else { return .bad }
            if let slot = JournalSlot(bytes[...], volume: volume, hash: hash) { return .slot(slot) }
            return bytes.withUnsafeBytes(isZero) ? .blank : .bad
        }
    }
}
