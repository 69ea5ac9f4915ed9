import Glibc
import LanfsProtocol
import SystemPackage

/// What a volume's folder says at the start: sidecars, then what they do not cover record by record, then the log.
///
/// Nothing in the folder is believed further than its checksum or the block's own hash reaches; what is wrong is
/// reported and left where it is, and only a torn tail is cut off (section 7).
struct StoreRecovery {
    private let folder: FilePath
    private let volume: VolumeID
    private let hash: BlockHash
    private let segmentSize: UInt64

    private(set) var state: StoreState
    private(set) var tail = Tail()
    private(set) var time: StoreTime
    private(set) var issues: [StoreIssue] = []
    /// Changes of state are lost: tags were raised and records checked, and the log must be rewritten.
    private(set) var logIsDamaged = false
    private let logContent: StateLog.Content?
    /// Quarantined entries and when they got there, until all is known and they can be put in order.
    private var quarantined: [UInt32: UInt64] = [:]
    /// Places whose record the log says is gone, whatever sidecars and scans find there.
    private var dropped: [BlockPlace: BlockID] = [:]
    /// Behind the last of them, for each segment: a place is never used twice, or the log would speak of another
    /// record.
    private var droppedEnd: [UInt32: UInt64] = [:]
    /// The tags with which entries were loaded, where the log has changed them.
    private var loadedTags: [UInt32: UInt64] = [:]

    private struct BlockPlace: Hashable {
        var segment: UInt32
        var page: UInt32
    }

    private var segmentFolder: FilePath { folder.appending("segments") }
    static func logPath(_ folder: FilePath) -> FilePath { folder.appending("index.log") }

    init(
        folder: FilePath, volume: VolumeID, quarantine: UInt64, segmentSize: UInt64, hash: @escaping BlockHash,
        clock: StoreClock
    ) throws(StoreError) {
        self.folder = folder
        self.volume = volume
        self.hash = hash
        self.segmentSize = segmentSize
        state = StoreState(quarantine: quarantine)
        try Disk.createDirectories(folder.appending("segments"))

        let log = try StateLog.read(StoreRecovery.logPath(folder), volume: volume, hash: hash)
        logContent = log
        time = StoreTime(
            clock: clock, last: log?.records.last?.time ?? log?.header.time ?? 0,
            lastWall: log?.records.last?.wall ?? log?.header.wall ?? 0, maximumGap: quarantine / 2)
        let numbers = try segmentNumbers()
        if log == nil, !numbers.isEmpty {
            damaged(
                StoreIssue(path: StoreRecovery.logPath(folder), offset: 0, length: 0, reason: "missing or unreadable"))
        }
        for issue in log?.issues ?? [] { damaged(issue) }
        let changes = decodeChanges()
        state.nextSegment = max(1, log?.header.nextSegment ?? 1, (numbers.last ?? 0) + 1)
        state.newestSweep = min(log?.header.newestSweep ?? 0, BlockStore.epochLimit)
        for case .dropped(let id, let segment, let page) in changes { noteDropped(id, segment, page) }
        for number in numbers { try load(number, isNewest: number == numbers.last) }
        for change in changes { apply(change) }
        orderQuarantine()
        if logIsDamaged { raiseTags() }
        findUnpunched()
    }

    /// The log to go on with. One whose first page is bad stays until the sidecars are up to date and a new one
    /// replaces it (`BlockStore.rewriteLog`); changes go beside it until then.
    func reopenLog() throws(StoreError) -> StateLog {
        let path = StoreRecovery.logPath(folder)
        if let logContent { return try StateLog(resuming: path, logContent, volume: volume, hash: hash) }
        let isNew = !Disk.exists(path) && !logIsDamaged
        return try StateLog(
            creating: isNew ? path : folder.appending("index.log.recovering"), header: LogHeader(), volume: volume,
            hash: hash)
    }

    private mutating func damaged(_ issue: StoreIssue) {
        issues.append(issue)
        logIsDamaged = true
    }

    private mutating func noteDropped(_ id: BlockID, _ segment: UInt32, _ page: UInt32) {
        dropped[BlockPlace(segment: segment, page: page)] = id
        droppedEnd[segment] = max(droppedEnd[segment] ?? 0, (UInt64(page) + 1) * Layout.page)
        state.nextSegment = max(state.nextSegment, segment == .max ? segment : segment + 1)
    }

    // MARK: Segments

    private func segmentNumbers() throws(StoreError) -> [UInt32] {
        let names = try Disk.list(segmentFolder)
        let numbers = names.compactMap(Segment.number).sorted()
        let known = Set(numbers)
        var sidecarBytes: UInt64 = 0
        for name in names {
            // Left behind by a crash between two steps that belong together.
            if name.hasSuffix(".new") {
                try Disk.remove(segmentFolder.appending(name))
            } else if name.hasSuffix(".idx"), let number = Segment.number(name.dropLast(4) + ".seg") {
                let path = segmentFolder.appending(name)
                if known.contains(number) {
                    sidecarBytes += (try? OpenFile(path, O_RDONLY).information().size) ?? 0
                } else {
                    try Disk.remove(path)
                }
            }
        }
        state.index.reserve(Int(min(sidecarBytes / UInt64(Sidecar.entrySize), 1 << 26)))
        return numbers
    }

    private mutating func load(_ number: UInt32, isNewest: Bool) throws(StoreError) {
        let segment = Segment(number: number, folder: segmentFolder, end: Layout.page)
        let file = try OpenFile(segment.path, isNewest ? SegmentFile.appending : SegmentFile.reading)
        let size = try file.information().size
        state.segments[number] = segment

        if let sidecar = readSidecar(segment, size: size) {
            segment.end = sidecar.covered
            for entry in sidecar.entries { add(entry, to: segment, verifyIn: logIsDamaged ? file : nil) }
            segment.isSealed = true
        }
        var mayResume = isNewest && segment.end + Layout.page < segmentSize
        if size > segment.end || !segment.isSealed {
            let scan = try SegmentScan(file, segment: number, from: segment.end, volume: volume, hash: hash)
            for record in scan.records { add(Sidecar.Entry(record), to: segment, verifyIn: nil) }
            issues += scan.rotten
            if scan.unreadable { mayResume = false }
            if !scan.records.isEmpty {
                // After a kill they may be in memory only, and somebody will be told that they are here.
                try file.syncData()
                segment.isSealed = false
            }
            segment.end = max(scan.end, droppedEnd[number] ?? 0)
            if !segment.isSealed, scan.records.isEmpty {
                try setAside(segment, scan, isNewest: isNewest)
                return
            }
        }
        let page = (try? file.read(at: 0, count: Int(min(size, Layout.page)))) ?? []
        if !SegmentHeader.isValid(page, volume: volume, segment: number, hash: hash) {
            issues.append(
                StoreIssue(path: segment.path, offset: 0, length: Layout.page, reason: "its header is damaged"))
            mayResume = false
        }
        if mayResume, segment.end + Layout.page < segmentSize {
            try resume(segment, file)
        } else {
            segment.isClosed = true
            if segment.isSealed { segment.records = [] }
        }
    }

    private func readSidecar(_ segment: Segment, size: UInt64) -> Sidecar? {
        let sidecar = try? Sidecar.read(segment.sidecarPath, volume: volume, segment: segment.number, hash: hash)
        // One that tells of more than there is belongs to another copy of the file.
        guard let sidecar, sidecar.covered >= Layout.page, sidecar.covered <= Layout.roundUp(size) else { return nil }
        return sidecar
    }

    /// A segment without one good record: an empty one goes; if it holds something, that is kept for people to look at.
    private mutating func setAside(_ segment: Segment, _ scan: SegmentScan, isNewest: Bool) throws(StoreError) {
        state.segments[segment.number] = nil
        try Disk.remove(segment.sidecarPath)
        guard !scan.bad.isEmpty, !isNewest || scan.unreadable else {
            return try Disk.remove(segment.path)
        }
        try Disk.rename(segment.path, to: FilePath(segment.path.string + ".bad"))
        issues.append(
            StoreIssue(path: segment.path, offset: 0, length: 0, reason: "no record in it is good; renamed to .bad"))
    }

    /// Goes on behind the last good record. What follows it is a torn tail and room allocated ahead, and is cut off, so
    /// that no later scan takes its remains for something.
    private mutating func resume(_ segment: Segment, _ file: OpenFile) throws(StoreError) {
        try file.truncate(to: segment.end)
        try file.syncData()
        segment.isSealed = false
        segment.appendFile = file
        state.keepOpen(file, segment.number, limit: .max)
        tail.current = Tail.Current(segment: segment.number, file: file, next: segment.end, allocated: segment.end)
    }

    private mutating func add(_ entry: Sidecar.Entry, to segment: Segment, verifyIn file: OpenFile?) {
        // Dropped ones too: a sidecar may list them until it is written anew, and until then the log must speak of
        // them.
        segment.records.append(Segment.Record(id: entry.id, page: entry.page))
        if dropped[BlockPlace(segment: segment.number, page: entry.page)] == entry.id {
            segment.isStale = true
            return
        }
        if let file {
            // The log that would tell of punched records is damaged: look whether it is still there.
            let offset = UInt64(entry.page) * Layout.page
            let bytes = (try? file.read(at: offset, count: RecordHeader.size)) ?? []
            let header = RecordHeader(
                bytes, segment: segment.number, page: UInt64(entry.page), volume: volume, hash: hash)
            guard header?.id == entry.id, header?.length == entry.length else { return }
        }
        var new = BlockIndex.Entry(
            id: entry.id, gcEpoch: entry.gcEpoch, length: entry.length, segment: segment.number, page: entry.page)
        new.state = entry.state
        let number: UInt32
        if let existing = state.index.find(entry.id) {
            // The newest copy is the one that was in use; the tag may be known from the older one only.
            let old = state.index.entry(existing)
            state.unhold(old)
            state.usedBytes -= old.span
            new.gcEpoch = max(new.gcEpoch, old.gcEpoch)
            state.index.update(existing) { $0 = new }
            number = existing
        } else {
            number = state.index.insert(new)
        }
        quarantined[number] = entry.state == .live ? nil : entry.time
        segment.heldBytes += new.span
        segment.heldCount += 1
        state.usedBytes += new.span
    }

    // MARK: Changes of state

    private mutating func decodeChanges() -> [StateChange] {
        var changes: [StateChange] = []
        for record in logContent?.records ?? [] {
            var reader = ByteReader(record.changes)
            do throws(DecodingError) {
                while reader.remaining > 0 { changes.append(try StateChange(from: &reader)) }
            } catch {
                damaged(
                    StoreIssue(
                        path: StoreRecovery.logPath(folder), offset: 0, length: 0,
                        reason: "record \(record.sequence) makes no sense: \(error)"))
            }
        }
        return changes
    }

    private mutating func apply(_ change: StateChange) {
        switch change {
        case .tagged(let id, let gcEpoch):
            guard let number = state.index.find(id), state.index.entry(number).gcEpoch < gcEpoch else { return }
            loadedTags[number] = loadedTags[number] ?? state.index.entry(number).gcEpoch
            edit(id) { entry, _ in entry.gcEpoch = gcEpoch }
        case .freed(let id, let time):
            edit(id) { entry, since in (entry.state, since) = (.freed, time) }
        case .swept(let id, let time):
            edit(id) { entry, since in (entry.state, since) = (.swept, time) }
        case .revived(let id):
            edit(id) { entry, since in (entry.state, since) = (.live, nil) }
        case .dropped(let id, _, _):
            // What came before was about that copy; the one that is here starts as it was loaded.
            guard let number = state.index.find(id) else { return }
            let tag = loadedTags.removeValue(forKey: number)
            edit(id) { entry, since in
                (entry.state, since) = (.live, nil)
                entry.gcEpoch = tag ?? entry.gcEpoch
            }
        case .sweepSeen(let gcEpoch):
            state.newestSweep = max(state.newestSweep, min(gcEpoch, BlockStore.epochLimit))
        }
    }

    private mutating func edit(_ id: BlockID, _ body: (inout BlockIndex.Entry, inout UInt64?) -> Void) {
        guard let number = state.index.find(id) else { return }
        var entry = state.index.entry(number)
        var since = quarantined[number]
        body(&entry, &since)
        state.index.update(number) { $0 = entry }
        quarantined[number] = since
        state.segments[entry.segment]?.isStale = true
    }

    /// Records that the log says are dead and that are still there: a crash came between the log and the hole.
    private mutating func findUnpunched() {
        for (number, places) in Dictionary(grouping: dropped.keys, by: \.segment) {
            guard let path = state.segments[number]?.path, let file = try? OpenFile(path, SegmentFile.reading) else {
                continue
            }
            for place in places {
                let start = UInt64(place.page) * Layout.page
                let bytes = (try? file.read(at: start, count: RecordHeader.size)) ?? []
                let header = RecordHeader(
                    bytes, segment: number, page: UInt64(place.page), volume: volume, hash: hash)
                guard let header, header.id == dropped[place] else { continue }
                state.dead.append(DeadRange(segment: number, start: start, end: start + header.span))
            }
        }
    }

    private mutating func orderQuarantine() {
        let now = time.now
        // A time from the future can only be damage, and would keep the block for ever.
        let ordered = quarantined.map { (number: $0.key, time: min($0.value, now)) }
            .sorted { ($0.time, $0.number) < ($1.time, $1.number) }
        for (number, time) in ordered {
            let entry = state.index.entry(number)
            let wasStale = state.segments[entry.segment]?.isStale ?? false
            state.enterQuarantine(number, entry.state, at: time)
            state.segments[entry.segment]?.isStale = wasStale
        }
    }

    /// Tags that were lost may have been as high as the highest known: a sweep must not delete what it would have
    /// spared.
    private mutating func raiseTags() {
        var highest = state.newestSweep
        state.index.forEach { _, entry in highest = max(highest, entry.gcEpoch) }
        state.newestSweep = highest
        state.index.forEach { number, _ in state.index.update(number) { $0.gcEpoch = highest } }
        for segment in state.segments.values { segment.isStale = true }
    }
}

extension Sidecar.Entry {
    fileprivate init(_ record: RecordHeader) {
        self.init(
            id: record.id, gcEpoch: record.gcEpoch, length: record.length, page: record.page, state: .live, time: 0)
    }
}
