import LanfsProtocol
import SystemPackage

/// What one round of maintenance did.
public struct MaintenanceReport: Equatable, Sendable {
    /// Bytes of expired blocks given back.
    public var reclaimedBytes: UInt64 = 0
    /// Bytes of live blocks copied out of segments that were mostly dead.
    public var movedBytes: UInt64 = 0
    public var deletedSegments = 0
    /// Blocks whose bytes turned out wrong: fetch them from a peer.
    public var rotten: [BlockID] = []
}

extension BlockStore {
    /// The work that nobody waits for; call it every few seconds. Syncs frees, deletes what has left quarantine, seals
    /// full segments, empties mostly dead ones (at most `moveBudget` bytes a call), and shortens the log.
    @discardableResult
    public func maintain(moveBudget: UInt64 = 64 << 20) throws(StoreError) -> MaintenanceReport {
        try state.withLock { (state) throws(StoreError) in try state.checkWritable(folder) }
        var report = MaintenanceReport()
        try writeLog(sync: true)
        giveBackDead()
        report.reclaimedBytes = reclaimExpired()
        try flushTogether()
        try sealClosed()
        try emptySparseSegments(moveBudget, &report)
        for number in state.withLock({ state in state.segments.values.filter { $0.heldCount == 0 }.map(\.number) })
        where unlinkIfEmpty(number) {
            report.deletedSegments += 1
        }
        if log.withLock({ $0.end }) > options.logSize { try rewriteLog() }
        space.restoreReserve()
        return report
    }

    /// Flushes, writes the sidecars so that the next start reads no segment, and takes no more writes.
    public func close() throws(StoreError) {
        let wasClosed = state.withLock { state in
            defer { state.isClosed = true }
            return state.isClosed
        }
        if wasClosed { return }
        // What is lost of it is only read again.
        try? scrubbing.withLock { (scrubbing) throws(StoreError) in try scrubbing.save(in: folder) }
        tail.withLock { tail in
            if let current = tail.current {
                state.withLock { $0.segments[current.segment]?.isClosed = true }
                if current.allocated > current.next { try? current.file.truncate(to: current.next) }
            }
            tail.current = nil
        }
        try flushTogether()
        try sealClosed()
        try writeLog(sync: true)
    }

    // MARK: Sealing

    func sealQuietly() {
        do throws(StoreError) {
            try flushTogether()
            try sealClosed()
        } catch {
            logger.warning("cannot seal a segment yet", metadata: ["error": "\(error)"])
        }
    }

    /// Writes the sidecars of segments that are closed and flushed.
    func sealClosed() throws(StoreError) {
        try sidecars.withLock { (_) throws(StoreError) in
            while let (number, path, sidecar) = nextToSeal() {
                try Disk.replace(path, with: sidecar.encode(hash: hash))
                state.withLock { state in
                    guard let segment = state.segments[number] else { return }
                    segment.isSealed = true
                    segment.records = []
                    segment.appendFile = nil
                }
            }
        }
    }

    private func nextToSeal() -> (UInt32, FilePath, Sidecar)? {
        state.withLock { state in
            guard let segment = state.segments.values.first(where: { !$0.isSealed && $0.isSettled }) else { return nil }
            // A change from here on makes the sidecar stale again, whether it is written yet or not.
            segment.isStale = false
            let entries = state.sidecarEntries(segment, of: segment.records)
            let sidecar = Sidecar(volume: volume, segment: segment.number, covered: segment.end, entries: entries)
            return (segment.number, segment.sidecarPath, sidecar)
        }
    }

    // MARK: The log

    /// Brings the sidecars up to date and starts an empty log.
    func rewriteLog() throws(StoreError) {
        // Most of the work happens before the log is locked; what changes meanwhile is left for the second time.
        try refreshSidecars()
        try log.withLock { (log) throws(StoreError) in try rewrite(&log) }
    }

    func rewrite(_ log: inout StateLog) throws(StoreError) {
        try refreshSidecars()
        // Changes from here on stay pending until the new log is there: nobody else writes it now.
        let (header, snapshot) = state.withLock { state in
            var header = LogHeader()
            header.generation = log.header.generation &+ 1
            header.nextSegment = state.nextSegment
            header.newestSweep = state.newestSweep
            header.time = time.now
            header.wall = time.wall
            return (header, state.snapshotOfUnsealed())
        }
        let path = StoreRecovery.logPath(folder)
        if log.path != path { try? Disk.remove(log.path) }
        do throws(StoreError) {
            log = try StateLog(creating: path, header: header, volume: volume, hash: hash)
        } catch {
            guard error.errno == .noSpace else { throw error }
            space.releaseReserve()
            log = try StateLog(creating: path, header: header, volume: volume, hash: hash)
        }
        try log.append(snapshot, time: time.now, wall: time.wall, sync: true) { space.releaseReserve() }
    }

    private func refreshSidecars() throws(StoreError) {
        try sidecars.withLock { (_) throws(StoreError) in try writeStaleSidecars() }
    }

    private func writeStaleSidecars() throws(StoreError) {
        let stale = state.withLock { state in
            state.segments.values.filter { $0.isSealed && $0.isStale }.map { ($0.number, $0.path, $0.end) }
        }
        for (number, path, end) in stale {
            let records = try recordsOfSealed(number, path)
            let sidecar = state.withLock { state -> Sidecar? in
                guard let segment = state.segments[number] else { return nil }
                segment.isStale = false
                let entries = state.sidecarEntries(segment, of: records)
                return Sidecar(volume: volume, segment: number, covered: end, entries: entries)
            }
            guard let sidecar else { continue }
            do throws(StoreError) {
                try Disk.replace(Segment.sidecar(of: path), with: sidecar.encode(hash: hash))
            } catch {
                state.withLock { $0.segments[number]?.isStale = true }
                throw error
            }
            // It may have been unlinked meanwhile; a sidecar alone means nothing, and the next start removes it.
        }
    }

    /// What a sealed segment contains, from its sidecar or, if that is damaged, from the segment.
    func recordsOfSealed(_ number: UInt32, _ path: FilePath) throws(StoreError) -> [Segment.Record] {
        let sidecar = try Sidecar.read(
            Segment.sidecar(of: path), volume: volume, segment: number, hash: hash)
        if let sidecar { return sidecar.entries.map { Segment.Record(id: $0.id, page: $0.page) } }
        guard state.withLock({ $0.segments[number] != nil }) else { return [] }
        let file = try OpenFile(path, SegmentFile.reading)
        let scan = try SegmentScan(file, segment: number, from: Layout.page, volume: volume, hash: hash)
        return scan.records.map { Segment.Record(id: $0.id, page: $0.page) }
    }

    // MARK: Mostly dead segments

    /// With holes a dead record costs nothing, so only segments that are nearly empty are worth rewriting (each costs a
    /// file and a sidecar); without, half of a segment may be waste.
    private func emptySparseSegments(_ budget: UInt64, _ report: inout MaintenanceReport) throws(StoreError) {
        let (size, punches) = (options.segmentSize, options.punchesHoles)
        let sparse = state.withLock { state in
            state.segments.values.filter { segment in
                let limit = punches ? size / 16 : segment.end / 2
                return segment.isSealed && segment.heldCount > 0 && segment.heldBytes <= limit
            }.sorted { $0.number < $1.number }.map { ($0.number, $0.path) }
        }
        for (number, path) in sparse {
            guard report.movedBytes < budget else { break }
            // One small segment alone is as good as the one its blocks would move to.
            if punches, sparse.count == 1 { break }
            let file = try OpenFile(path, SegmentFile.reading)
            state.withLock { $0.segments[number]?.isEmptying = true }
            for record in try recordsOfSealed(number, path) {
                do throws(StoreError) {
                    let isGood = try moveAway(record.id, from: number, file: file) { report.movedBytes += $0 }
                    if !isGood, dropRotten(record.id, segment: number, page: record.page) {
                        report.rotten.append(record.id)
                    }
                } catch {
                    // No room for copies now: nothing is lost by waiting.
                    guard case .full = error else { throw error }
                    return
                }
            }
            try flushTogether()
            state.withLock { $0.segments[number]?.isEmptying = false }
            if unlinkIfEmpty(number) { report.deletedSegments += 1 }
        }
    }

    /// Copies a block out of a segment and lets the index point at the copy. The hash decides whether the bytes are
    /// good.
    ///
    /// - Returns: false when the block's bytes there are wrong or unreadable.
    func moveAway(
        _ id: BlockID, from segment: UInt32, file: OpenFile, moved: (UInt64) -> Void = { _ in }
    ) throws(StoreError) -> Bool {
        let found = state.withLock { state in state.index.find(id).map { state.index.entry($0) } }
        guard let entry = found, entry.segment == segment else { return true }
        guard let bytes = try? verifiedBytes(of: entry, in: file) else { return false }
        let place = try reserve(entry.span)
        let header = RecordHeader(
            id: id, gcEpoch: entry.gcEpoch, length: entry.length, segment: place.segment,
            page: UInt32(place.offset / Layout.page))
        var failure: StoreError?
        bytes.withUnsafeBytes { bytes in
            do throws(StoreError) { try write(header, bytes, at: place, once: false) } catch { failure = error }
        }
        if let failure { throw failure }
        if state.withLock({ $0.moved(header, from: entry) }) { moved(header.span) }
        return true
    }

    /// `nil` if the bytes do not hash to the block's name.
    func verifiedBytes(of entry: BlockIndex.Entry, in file: OpenFile) throws(StoreError) -> [UInt8]? {
        let offset = UInt64(entry.page) * Layout.page + UInt64(RecordHeader.size)
        let bytes = try file.read(at: offset, count: Int(entry.length))
        guard bytes.count == Int(entry.length), bytes.withUnsafeBytes(hash) == entry.id else { return nil }
        return bytes
    }
}

extension StoreState {
    /// The index now points at the copy, unless the block went away meanwhile.
    fileprivate mutating func moved(_ header: RecordHeader, from old: BlockIndex.Entry) -> Bool {
        guard let target = segments[header.segment] else { return false }
        target.writers -= 1
        guard !target.hasFailed, let number = index.find(header.id) else { return false }
        let entry = index.entry(number)
        guard entry.isAt(segment: old.segment, page: old.page) else { return false }
        unhold(entry)
        if segments[old.segment]?.hasFailed == true {
            // What stands there was never on disk for certain; a restart must not believe it.
            record(.dropped(entry.id, segment: old.segment, page: old.page))
        }
        index.update(number) { $0.move(segment: header.segment, page: header.page) }
        hold(header.id, header.page, header.span, target)
        completed += 1
        // The copy's header knows the tag of a moment ago and nothing of quarantine.
        if entry.gcEpoch > header.gcEpoch { record(.tagged(entry.id, gcEpoch: entry.gcEpoch)) }
        let time = quarantine.time(ofGeneration: entry.generation) ?? 0
        if entry.state == .freed { record(.freed(entry.id, at: time)) }
        if entry.state == .swept { record(.swept(entry.id, at: time)) }
        mustSyncLog = true
        return true
    }

    /// What a restart could not know of segments without a sidecar, as changes.
    fileprivate func snapshotOfUnsealed() -> [UInt8] {
        var writer = ByteWriter()
        for segment in segments.values.sorted(by: { $0.number < $1.number }) where !segment.isSealed {
            for held in segment.records {
                let number = index.find(held.id)
                guard let number, index.entry(number).isAt(segment: segment.number, page: held.page) else {
                    StateChange.dropped(held.id, segment: segment.number, page: held.page).encode(into: &writer)
                    continue
                }
                let entry = index.entry(number)
                StateChange.tagged(entry.id, gcEpoch: entry.gcEpoch).encode(into: &writer)
                let time = quarantine.time(ofGeneration: entry.generation) ?? 0
                switch entry.state {
                case .freed: StateChange.freed(entry.id, at: time).encode(into: &writer)
                case .swept: StateChange.swept(entry.id, at: time).encode(into: &writer)
                case .live, .unused: StateChange.revived(entry.id).encode(into: &writer)
                }
            }
        }
        return writer.bytes
    }
}
