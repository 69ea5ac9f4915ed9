import LanfsProtocol
import SystemPackage

extension BlockStore {
    /// Re-tags blocks before a commit refers to them (G2) and takes them out of quarantine. Durable on return.
    ///
    /// - Returns: those that are not here and must be sent again.
    public func touch(_ ids: [BlockID], gcEpoch: UInt64) throws(StoreError) -> [BlockID] {
        guard gcEpoch <= BlockStore.epochLimit else { throw .epochTooHigh(gcEpoch) }
        let missing = try state.withLock { (state) throws(StoreError) in
            try state.checkWritable(folder)
            return ids.filter { !state.refresh($0, gcEpoch: gcEpoch) }
        }
        try flushTogether()
        // A flush may have lost blocks that were here a moment ago.
        return state.withLock { state in
            let gone = Set(missing)
            return ids.filter { gone.contains($0) || state.index.find($0) == nil }
        }
    }

    /// Those of `ids` that are not here, or in quarantine.
    public func missing(of ids: [BlockID]) -> [BlockID] {
        state.withLock { state in
            ids.filter { id in
                guard let number = state.index.find(id) else { return true }
                return state.index.entry(number).state != .live
            }
        }
    }

    /// The frees of a commit's dead list (G8): from now on the blocks are in quarantine, and gone when its time is over
    /// (G7) or when room is short. A block that carries a newer tag was uploaded or touched by a later root's client
    /// and stays. Written to the log but not synced: a power cut leaves garbage, which the audit finds.
    ///
    /// - Returns: how many blocks went into quarantine.
    @discardableResult
    public func free(_ ids: [BlockID], gcEpoch: UInt64) throws(StoreError) -> Int {
        let now = time.now
        let count = try state.withLock { (state) throws(StoreError) in
            try state.checkWritable(folder)
            return state.quarantine(ids, .freed, tagAtMost: gcEpoch, at: now)
        }
        if count > 0 { try writeLog(sync: false) }
        return count
    }

    /// Quarantines what an audit found unreachable, if its tag is at most `cutoff` (G5). Durable on return.
    ///
    /// - Returns: how many blocks went into quarantine.
    /// - Throws: `StoreError.staleSweep` if a newer sweep was seen (G6).
    @discardableResult
    public func sweep(_ ids: [BlockID], gcEpoch: UInt64, cutoff: UInt64) throws(StoreError) -> Int {
        guard gcEpoch <= BlockStore.epochLimit else { throw .epochTooHigh(gcEpoch) }
        let now = time.now
        let count = try state.withLock { (state) throws(StoreError) in
            try state.checkWritable(folder)
            guard gcEpoch >= state.newestSweep else {
                throw StoreError.staleSweep(gcEpoch: gcEpoch, newest: state.newestSweep)
            }
            if gcEpoch > state.newestSweep {
                state.newestSweep = gcEpoch
                state.record(.sweepSeen(gcEpoch: gcEpoch))
            }
            state.mustSyncLog = true
            return state.quarantine(ids, .swept, tagAtMost: cutoff, at: now)
        }
        try writeLog(sync: true)
        return count
    }

    /// Up to `limit` live blocks that follow `after`, in id order: the audit's other half.
    public func list(after: BlockID?, limit: Int) -> [StoredBlock] {
        state.withLock { state in
            state.index.list(after: after, limit: max(0, limit)) { $0.state == .live }.map {
                StoredBlock(block: $0.id, length: $0.length, gcEpoch: $0.gcEpoch)
            }
        }
    }

    // MARK: Giving space back

    /// Deletes freed blocks before their time because room is short, oldest first. A dead list is certain: the commit
    /// that freed them is chosen. What a sweep found is an inference, and never goes early.
    ///
    /// - Returns: bytes of disk given back; at least `bytes` if there are so many.
    @discardableResult
    public func reclaimEarly(_ bytes: UInt64) -> UInt64 {
        reclaim(atLeast: bytes) { $0.state == .freed }
    }

    /// Deletes what has been in quarantine for its full time.
    func reclaimExpired() -> UInt64 {
        let now = time.now
        return reclaim(atLeast: .max) { $0.youngest <= now && now - $0.youngest >= quarantineSeconds }
    }

    private func reclaim(atLeast wanted: UInt64, where due: (Quarantine.Batch) -> Bool) -> UInt64 {
        var freed: UInt64 = 0
        while freed < wanted, let bytes = state.withLock({ $0.takeReclaimable(limit: 1024, where: due) }) {
            space.release(bytes)
            freed += bytes
            do throws(StoreError) {
                // First the log, then the hole: a restart must not believe in a block that is no longer there.
                try writeLog(sync: true)
            } catch {
                // The ranges wait; `maintain` tries again.
                logger.error("cannot log a reclaim", metadata: ["error": "\(error)"])
                break
            }
            giveBackDead()
        }
        return freed
    }

    /// Unlinks segments in which nothing is left and punches holes into the others. The log must have been synced since
    /// the ranges died.
    func giveBackDead() {
        let dead = state.withLock { state in
            defer { state.dead = [] }
            return state.dead
        }
        let bySegment = Dictionary(grouping: dead, by: \.segment).sorted { $0.key < $1.key }
        for (number, ranges) in bySegment where !unlinkIfEmpty(number) {
            guard options.punchesHoles, let path = state.withLock({ $0.segments[number]?.path }) else { continue }
            do throws(StoreError) {
                let file = try OpenFile(path, SegmentFile.appending)
                for range in BlockStore.merge(ranges) {
                    // Not supported here: `maintain` rewrites segments that are mostly dead.
                    guard try file.punch(at: range.start, length: range.end - range.start) else { break }
                }
            } catch {
                logger.warning("cannot give space back", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Neighbours become one range: one system call instead of many.
    private static func merge(_ ranges: [DeadRange]) -> [DeadRange] {
        ranges.sorted { $0.start < $1.start }.reduce(into: []) { merged, range in
            if let last = merged.indices.last, merged[last].end == range.start {
                merged[last].end = range.end
            } else {
                merged.append(range)
            }
        }
    }

    /// Deletes a segment that holds no block any more; false if it must stay.
    func unlinkIfEmpty(_ number: UInt32) -> Bool {
        let path: FilePath? = state.withLock { state in
            guard let segment = state.segments[number], segment.heldCount == 0, segment.isSettled, !segment.isEmptying
            else { return nil }
            state.segments[number] = nil
            state.dirty.remove(number)
            return segment.path
        }
        guard let path else { return false }
        do throws(StoreError) {
            try Disk.remove(path)
            try Disk.remove(Segment.sidecar(of: path))
        } catch {
            // It comes back empty at the next start and is tried again then.
            logger.warning("cannot delete a segment", metadata: ["error": "\(error)"])
        }
        return true
    }
}

extension StoreState {
    fileprivate mutating func quarantine(
        _ ids: [BlockID], _ cause: BlockIndex.State, tagAtMost limit: UInt64, at time: UInt64
    ) -> Int {
        var count = 0
        for id in ids {
            guard let number = index.find(id) else { continue }
            let entry = index.entry(number)
            guard entry.state == .live, entry.gcEpoch <= limit else { continue }
            enterQuarantine(number, cause, at: time)
            record(cause == .freed ? .freed(id, at: time) : .swept(id, at: time))
            count += 1
        }
        return count
    }
}
