import CLinux
import Glibc
import LanfsProtocol
import SystemPackage

/// The two files of one journal.
///
/// Generation g is appended to file g % 2; a full file is followed by the other one, which holds only what that
/// generation's records have long replaced. So the journal is append-only within a generation, never overwrites the file
/// with the newest record, and needs neither space nor a rename after it was made: a full disk cannot stop it, and no
/// commit waits for a compaction. The files are written full of zeros once: overwriting them changes no file system
/// structure, and one write is one flush of the device.
struct JournalFolder {
    static let fileSize = 64 * JournalSlot.size
    static let slots = fileSize / JournalSlot.size

    let path: FilePath
    let files: (OpenFile, OpenFile)
    /// Writes go past the page cache; what they return is then the disk's own word.
    let isDirect: Bool

    static func filePath(_ folder: FilePath, _ number: Int) -> FilePath {
        folder.appending("journal.\(number)")
    }

    /// Opens the files for writing, making those that are missing.
    init(_ path: FilePath) throws(StoreError) {
        self.path = path
        try Disk.createDirectories(path)
        for number in 0..<2 where !JournalFolder.isWhole(JournalFolder.filePath(path, number)) {
            try Disk.replace(
                JournalFolder.filePath(path, number), with: [UInt8](repeating: 0, count: JournalFolder.fileSize))
        }
        do throws(StoreError) {
            let flags = O_RDWR | O_DSYNC | LANFS_O_DIRECT
            files = (
                try OpenFile(JournalFolder.filePath(path, 0), flags), try OpenFile(JournalFolder.filePath(path, 1), flags)
            )
            isDirect = true
        } catch {
            guard error.errno == .invalidArgument else { throw error }
            files = (
                try OpenFile(JournalFolder.filePath(path, 0), O_RDWR | O_DSYNC),
                try OpenFile(JournalFolder.filePath(path, 1), O_RDWR | O_DSYNC)
            )
            isDirect = false
        }
    }

    private static func isWhole(_ path: FilePath) -> Bool {
        guard let file = try? OpenFile(path, O_RDONLY) else { return false }
        return (try? file.information().size) == UInt64(fileSize)
    }

    /// The file of a generation.
    func file(_ generation: UInt64) -> OpenFile { generation % 2 == 0 ? files.0 : files.1 }
}

/// What one journal says.
struct JournalReading: Equatable {
    struct Record: Equatable {
        var generation: UInt64
        var sequence: UInt64
        var payload: [UInt8]
    }

    enum Page: Equatable {
        case blank, bad
        case slot(JournalSlot)
    }

    /// Neither file is there.
    private(set) var isMissing = false
    /// The record with the highest sequence number that is whole.
    private(set) var newest: Record?
    /// Something that is no whole record stands where the record after the newest would be: an append that a crash tore,
    /// or rot.
    private(set) var hasBadTail = false
    /// No record is whole, yet more is there than a torn first append can leave.
    private(set) var hasLostRecords = false
    /// Bad pages with good ones after them: rot.
    private(set) var rottenPages = 0
    private(set) var highestGeneration: UInt64 = 0

    init(_ folder: FilePath, volume: VolumeID, hash: BlockHash) throws(StoreError) {
        let first = try JournalReading.pages(JournalFolder.filePath(folder, 0), volume, hash)
        let second = try JournalReading.pages(JournalFolder.filePath(folder, 1), volume, hash)
        // A file that is missing beside one that was used is a loss; beside one never used it was never made.
        let wasUsed = (first ?? []).contains { $0 != .blank } || (second ?? []).contains { $0 != .blank }
        let absent = [Page](repeating: wasUsed ? .bad : .blank, count: JournalFolder.slots)
        self.init(pages: [first ?? absent, second ?? absent])
        isMissing = first == nil && second == nil
    }

    init(pages: [[Page]]) {
        var best: (file: Int, end: Int)?
        for (file, pages) in pages.enumerated() {
            for (record, end) in JournalReading.records(pages, file: file) {
                highestGeneration = max(highestGeneration, record.generation)
                guard record.sequence >= newest?.sequence ?? 0 else { continue }
                newest = record
                best = (file, end)
            }
            for case .slot(let slot) in pages { highestGeneration = max(highestGeneration, slot.generation) }
        }
        // Where the record after the newest would stand: behind it, or at the start of the other file if it did not fit.
        guard let newest, let best else {
            hasBadTail = pages.contains { JournalReading.isTorn($0[...], after: nil) }
            // The first append of all, and only that one, goes to the start of file 1 with sequence number 1.
            hasLostRecords =
                JournalReading.isTorn(pages[0][...], after: nil)
                || JournalReading.isTorn(pages[1].dropFirst(JournalReading.reach), after: nil)
                || pages[1].contains { if case .slot(let slot) = $0 { slot.sequence > 1 } else { false } }
            return
        }
        let behind = pages[best.file].dropFirst(best.end).prefix(JournalReading.reach)
        let other = pages[1 - best.file].prefix(JournalReading.reach)
        hasBadTail = JournalReading.isTorn(behind, after: newest) || JournalReading.isTorn(other, after: newest)
        rottenPages = pages[best.file].prefix(best.end).count { $0 == .bad }
    }

    /// Pages that one append may touch.
    private static let reach = KeeperJournal.payloadLimit / JournalSlot.payloadSize + 1

    /// Whether an append that should have followed `newest` left traces: pages that are bad, or parts of a later record.
    private static func isTorn(_ pages: ArraySlice<Page>, after newest: Record?) -> Bool {
        pages.contains { page in
            switch page {
            case .blank: false
            case .bad: true
            case .slot(let slot): newest.map { slot.sequence > $0.sequence } ?? true
            }
        }
    }

    /// Whole records and the page behind each.
    private static func records(_ pages: [Page], file: Int) -> [(Record, end: Int)] {
        var found: [(Record, end: Int)] = []
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
            guard isWhole else { continue }
            let record = Record(generation: first.generation, sequence: first.sequence, payload: payload)
            found.append((record, position + Int(first.parts)))
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
