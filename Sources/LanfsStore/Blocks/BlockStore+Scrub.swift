import Glibc
import LanfsProtocol
import SystemPackage

/// Where a scrub goes on; the default starts a new pass.
public struct ScrubCursor: Equatable, Sendable {
    var segment: UInt32 = 0
    var page: UInt32 = 0

    public init() {}

    init(segment: UInt32, page: UInt32) {
        self.segment = segment
        self.page = page
    }
}

/// What one step of a scrub found.
public struct ScrubReport: Equatable, Sendable {
    public var checkedBlocks = 0
    /// Bytes read, headers and padding included.
    public var checkedBytes: UInt64 = 0
    /// Wrong or unreadable, and no longer served: fetch them from a peer.
    public var rotten: [BlockID] = []
    /// Every block that was there when the pass began has been checked.
    public var isComplete = false
}

extension ScrubCursor {
    static func path(_ folder: FilePath) -> FilePath { folder.appending("scrub") }

    /// Where an earlier process was; from the start when that cannot be told.
    init(restoredFrom folder: FilePath) {
        self.init()
        guard let bytes = try? OpenFile(Self.path(folder), O_RDONLY).readAll(limit: 8), bytes.count == 8 else { return }
        var reader = ByteReader(bytes)
        guard let segment = try? reader.integer() as UInt32, let page = try? reader.integer() as UInt32 else { return }
        self.init(segment: segment, page: page)
    }

    func save(in folder: FilePath) throws(StoreError) {
        var writer = ByteWriter(reserving: 8)
        writer.append(segment)
        writer.append(page)
        try Disk.replace(Self.path(folder), with: writer.bytes)
    }
}

/// A scrub that goes on through the lives of a server: a round takes longer than many of them.
struct LastingScrub {
    /// Steps between two saves; what a crash makes the next process check again.
    static let stepsPerSave = 100

    var cursor: ScrubCursor
    var saved: ScrubCursor
    var steps = 0

    init(_ folder: FilePath) {
        cursor = ScrubCursor(restoredFrom: folder)
        saved = cursor
    }

    mutating func save(in folder: FilePath) throws(StoreError) {
        guard cursor != saved else { return }
        try cursor.save(in: folder)
        saved = cursor
        steps = 0
    }
}

extension BlockStore {
    /// Scrubs on from where the last call ended, be it in an earlier process.
    public func scrubOn(budget: UInt64) throws(StoreError) -> ScrubReport {
        try scrubbing.withLock { (scrubbing) throws(StoreError) in
            let report = try scrub(&scrubbing.cursor, budget: budget)
            scrubbing.steps += 1
            // A disk too full for eight bytes is no reason to check nothing; the next step tries again.
            if scrubbing.steps >= LastingScrub.stepsPerSave { try? scrubbing.save(in: folder) }
            return report
        }
    }

    /// Reads blocks from `cursor` on, in disk order, until `budget` bytes are checked (one block more at most), and
    /// compares each with its name. The caller sets the pace: a pass over everything every 30 days (section 7).
    public func scrub(_ cursor: inout ScrubCursor, budget: UInt64) throws(StoreError) -> ScrubReport {
        var report = ScrubReport()
        while let (number, path, records) = try nextToScrub(cursor) {
            // Deleted since we looked.
            guard let file = try? OpenFile(path, SegmentFile.reading) else {
                cursor = ScrubCursor(segment: number, page: .max)
                continue
            }
            for record in records where number > cursor.segment || record.page > cursor.page {
                guard report.checkedBytes < budget else { return report }
                try check(record, number, file, &report)
                cursor = ScrubCursor(segment: number, page: record.page)
            }
            cursor = ScrubCursor(segment: number, page: .max)
        }
        cursor = ScrubCursor()
        report.isComplete = true
        return report
    }

    private func check(
        _ record: Segment.Record, _ segment: UInt32, _ file: OpenFile, _ report: inout ScrubReport
    ) throws(StoreError) {
        let entry = state.withLock { state in
            state.index.find(record.id).map { state.index.entry($0) }
        }
        guard let entry, entry.isAt(segment: segment, page: record.page) else { return }
        report.checkedBlocks += 1
        report.checkedBytes += entry.span
        if (try? verifiedBytes(of: entry, in: file)) != nil { return }
        // Once more, against a passing fault of the machine rather than the disk.
        if (try? verifiedBytes(of: entry, in: file)) != nil { return }
        if dropRotten(record.id, segment: segment, page: record.page) { report.rotten.append(record.id) }
    }

    private func nextToScrub(
        _ cursor: ScrubCursor
    ) throws(StoreError) -> (UInt32, FilePath, [Segment.Record])? {
        let next = state.withLock { state -> (UInt32, FilePath, [Segment.Record]?)? in
            let rest = state.segments.values.filter {
                $0.number > cursor.segment || ($0.number == cursor.segment && cursor.page != .max)
            }
            guard let segment = rest.min(by: { $0.number < $1.number }) else { return nil }
            return (segment.number, segment.path, segment.isSealed ? nil : segment.records)
        }
        guard let (number, path, known) = next else { return nil }
        var records = known ?? []
        if known == nil { records = try recordsOfSealed(number, path) }
        return (number, path, records.sorted { $0.page < $1.page })
    }

    /// Takes a block whose bytes are wrong out of the index, so that it is asked for elsewhere and can be put again.
    /// Its bytes stay on disk until the next start.
    ///
    /// - Returns: false if it is not (or no longer) at that place.
    func dropRotten(_ id: BlockID, segment: UInt32, page: UInt32) -> Bool {
        let span: UInt64? = state.withLock { state in
            guard let number = state.index.find(id) else { return nil }
            let entry = state.index.entry(number)
            guard entry.isAt(segment: segment, page: page) else { return nil }
            if entry.state != .live { state.leaveQuarantine(entry) }
            state.forget(entry)
            state.giveBack(entry.span)
            return entry.span
        }
        guard let span else { return false }
        space.release(span)
        logger.error("a block's bytes are wrong", metadata: ["block": "\(id)", "segment": "\(segment)"])
        return true
    }

    /// For a reader that found a block's bytes wrong: checks, and if it is true drops the block.
    ///
    /// - Returns: whether the block was rotten.
    @discardableResult
    public func reportRotten(_ id: BlockID) throws(StoreError) -> Bool {
        guard let location = try locate(id) else { return false }
        var report = ScrubReport()
        try check(
            Segment.Record(id: id, page: location.page), location.segment, location.file, &report)
        return !report.rotten.isEmpty
    }
}
