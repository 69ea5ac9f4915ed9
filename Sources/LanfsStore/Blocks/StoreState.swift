import LanfsProtocol
import SystemPackage

/// Where a record was that is no longer needed.
struct DeadRange: Equatable {
    var segment: UInt32
    var start: UInt64
    var end: UInt64
}

/// Everything that the state lock guards. Nothing here touches a file: the lock is held for microseconds.
struct StoreState {
    let index = BlockIndex()
    var segments: [UInt32: Segment] = [:]
    var quarantine: Quarantine
    var quota: UInt64 = .max
    /// Bytes on disk, or reserved by a put that is still writing.
    var usedBytes: UInt64 = 0
    /// Section 7: what this volume has of the reserve. In memory only: where others fill the rest again after a restart, it may
    /// have its share again.
    var drawn: (bytes: UInt64, isDiskShort: Bool) = (0, false)
    var quarantinedBytes: UInt64 = 0
    var quarantinedCount = 0
    /// Of the quarantined bytes, those that may go early when room is short.
    var reclaimableBytes: UInt64 = 0

    /// Changes not written to the log yet, encoded.
    var changes = ByteWriter(reserving: 0)
    /// Ranges of dead records whose death is not yet on disk: they are given back after the log was synced.
    var dead: [DeadRange] = []
    /// The next flush must make the log durable: something was promised. Frees are not: losing one in a power cut
    /// leaves garbage, which the audit finds (G8).
    var mustSyncLog = false
    /// Puts and touches so far; `flush` promises all that completed before it.
    var completed: UInt64 = 0
    /// How often unflushed blocks were lost to a failed flush.
    var losses: UInt64 = 0
    var lastLoss: StoreError?
    /// Segments whose flush failed since one succeeded.
    var evacuations = 0
    /// Segments with bytes that were not flushed.
    var dirty: Set<UInt32> = []
    /// A segment was created and the folder not flushed since.
    var folderIsDirty = false
    var nextSegment: UInt32 = 1
    var newestSweep: UInt64 = 0
    var isClosed = false
    var stopped: String?
    /// Segments opened for reading, the longest open first.
    private var openOrder: [UInt32] = []

    init(quarantine: UInt64) {
        self.quarantine = Quarantine(duration: quarantine)
    }

    func checkWritable(_ folder: FilePath) throws(StoreError) {
        if isClosed { throw .closed(path: folder) }
        if let stopped { throw .stopped(path: folder, reason: stopped) }
    }

    func isStored(_ location: BlockLocation) -> Bool {
        index.find(location.block).map { index.entry($0).isAt(segment: location.segment, page: location.page) } ?? false
    }

    mutating func record(_ change: StateChange) {
        change.encode(into: &changes)
    }

    /// What the quota leaves.
    ///
    /// - Parameter isDrawing: all of it.
    func quotaLeft(isDrawing: Bool) -> UInt64 {
        let limit = quota - (isDrawing ? 0 : Space.reserve(of: quota))
        return limit - min(limit, usedBytes)
    }

    /// These bytes are not on disk any more; the share of the reserve fills first.
    mutating func giveBack(_ span: UInt64) {
        usedBytes -= span
        drawn.bytes -= min(drawn.bytes, span)
    }

    // MARK: Adding and renewing

    /// A put or touch of a block that may be here: the higher tag stays (G1), and it leaves quarantine (G7).
    mutating func refresh(_ id: BlockID, gcEpoch: UInt64) -> Bool {
        guard let number = index.find(id) else { return false }
        let entry = index.entry(number)
        // Somebody else's put of it may not be flushed yet, and this one's flush promises it as well.
        completed += 1
        if gcEpoch > entry.gcEpoch {
            index.update(number) { $0.gcEpoch = gcEpoch }
            record(.tagged(id, gcEpoch: gcEpoch))
            segments[entry.segment]?.isStale = true
            mustSyncLog = true
        }
        if entry.state != .live {
            leaveQuarantine(entry)
            index.update(number) { $0.state = .live }
            record(.revived(id))
            segments[entry.segment]?.isStale = true
            mustSyncLog = true
        }
        return true
    }

    enum Addition {
        case stored, duplicate, segmentFailed
    }

    /// A record has been written.
    mutating func add(_ header: RecordHeader) -> Addition {
        guard let segment = segments[header.segment] else { return .segmentFailed }
        segment.writers -= 1
        if segment.hasFailed { return .segmentFailed }
        if refresh(header.id, gcEpoch: header.gcEpoch) { return .duplicate }
        index.insert(
            BlockIndex.Entry(
                id: header.id, gcEpoch: header.gcEpoch, length: header.length, segment: header.segment,
                page: header.page))
        hold(header.id, header.page, header.span, segment)
        completed += 1
        return .stored
    }

    mutating func hold(_ id: BlockID, _ page: UInt32, _ span: UInt64, _ segment: Segment) {
        segment.heldBytes += span
        segment.heldCount += 1
        segment.records.append(Segment.Record(id: id, page: page))
        segment.unflushed.append(id)
        dirty.insert(segment.number)
    }

    func unhold(_ entry: BlockIndex.Entry) {
        guard let segment = segments[entry.segment] else { return }
        segment.heldBytes -= entry.span
        segment.heldCount -= 1
        segment.isStale = true
    }

    // MARK: Quarantine

    mutating func enterQuarantine(_ number: UInt32, _ state: BlockIndex.State, at time: UInt64) {
        let entry = index.entry(number)
        let generation = quarantine.add(number, state, at: time)
        index.update(number) {
            $0.state = state
            $0.generation = generation
        }
        quarantinedBytes += entry.span
        quarantinedCount += 1
        if state == .freed { reclaimableBytes += entry.span }
        segments[entry.segment]?.isStale = true
    }

    mutating func leaveQuarantine(_ entry: BlockIndex.Entry) {
        quarantinedBytes -= entry.span
        quarantinedCount -= 1
        if entry.state == .freed { reclaimableBytes -= entry.span }
    }

    /// Takes blocks of the oldest batch that `due` accepts out of the index for good.
    ///
    /// - Returns: the bytes they took; nil if there is no such batch.
    mutating func takeReclaimable(limit: Int, where due: (Quarantine.Batch) -> Bool) -> UInt64? {
        guard let (members, batch) = quarantine.take(limit: limit, where: due) else { return nil }
        var taken: UInt64 = 0
        for number in members {
            let entry = index.entry(number)
            guard entry.state == batch.state, entry.generation == batch.generation else { continue }
            leaveQuarantine(entry)
            forget(entry)
            giveBack(entry.span)
            taken += entry.span
            let start = UInt64(entry.page) * Layout.page
            dead.append(DeadRange(segment: entry.segment, start: start, end: start + entry.span))
        }
        return taken
    }

    /// Takes an entry out of the index and says so in the log.
    mutating func forget(_ entry: BlockIndex.Entry) {
        index.remove(entry.id)
        unhold(entry)
        record(.dropped(entry.id, segment: entry.segment, page: entry.page))
        mustSyncLog = true
    }

    // MARK: Files

    mutating func keepOpen(_ file: OpenFile, _ number: UInt32, limit: Int) {
        guard let segment = segments[number], segment.file == nil else { return }
        segment.file = file
        openOrder.append(number)
        if openOrder.count > max(1, limit) {
            segments[openOrder.removeFirst()]?.file = nil
        }
    }

    /// What the segment's sidecar says now; with it the sidecar is as new as the index.
    func sidecarEntries(_ segment: Segment, of records: [Segment.Record]) -> [Sidecar.Entry] {
        records.compactMap { record in
            guard let number = index.find(record.id) else { return nil }
            let entry = index.entry(number)
            guard entry.isAt(segment: segment.number, page: record.page) else { return nil }
            return Sidecar.Entry(
                id: entry.id, gcEpoch: entry.gcEpoch, length: entry.length, page: entry.page, state: entry.state,
                time: entry.state == .live ? 0 : quarantine.time(ofGeneration: entry.generation) ?? 0)
        }
    }
}
