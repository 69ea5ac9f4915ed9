import LanfsProtocol
import SystemPackage

/// Who flushes at the moment, and what has been flushed.
struct Flusher {
    var isBusy = false
    /// Of `StoreState.completed`.
    var flushed: UInt64 = 0
}

/// What one connection knows of lost blocks: take one with `mark()` when it opens, before its first put.
public struct FlushMark: Sendable {
    fileprivate var losses: UInt64
    /// Blocks that were lost may only be named by the next `settle`.
    fileprivate var mustLookAgain = false

    fileprivate init(losses: UInt64) { self.losses = losses }
}

extension BlockStore {
    public func mark() -> FlushMark {
        FlushMark(losses: state.withLock { $0.losses })
    }

    /// B2: on return everything put or touched before is on disk. Callers at the same time share one flush of the disk;
    /// with nothing new it returns at once.
    ///
    /// - Throws: once for each mark when a failed fsync has taken unflushed blocks since (some of them may be this
    ///   connection's): it must send again what it has not seen flushed.
    public func flush(_ mark: inout FlushMark) throws(StoreError) {
        try flushTogether()
        try check(&mark)
    }

    private func check(_ mark: inout FlushMark) throws(StoreError) {
        let (losses, reason) = state.withLock { ($0.losses, $0.lastLoss) }
        guard losses == mark.losses else {
            mark.losses = losses
            throw reason ?? .unflushedLost(path: folder, errno: .ioError)
        }
    }

    /// On return these blocks are on disk. The log is not: nobody was promised a state of theirs.
    ///
    /// - Parameters:
    ///   - blocks: were put once.
    ///   - mayBeGone: a crash may have taken them before they were flushed, without word of it.
    ///   - mark: of the caller; a failed flush since may have taken them as well.
    func settle(_ blocks: [CarriedBlock], mayBeGone: Bool, since mark: inout FlushMark) throws(StoreError) {
        let mustLook = mayBeGone || mark.mustLookAgain
        mark.mustLookAgain = false
        if !mustLook {
            do throws(StoreError) {
                return try flushSegments(&mark)
            } catch {
                guard case .unflushedLost = error else { throw error }
                mark.mustLookAgain = true
                logger.error("putting blocks again that a flush has lost", metadata: ["error": "\(error)"])
            }
        }
        for block in blocks where !contains(block.id) { try restore(block) }
        try flushSegments(&mark)
    }

    private func restore(_ block: CarriedBlock) throws(StoreError) {
        var failure: StoreError?
        block.bytes.withUnsafeBytes { bytes in
            // B1, also for what lay on our own disk.
            guard hash(bytes) == block.id, block.gcEpoch <= Self.epochLimit else {
                logger.error("a block in the keeper's journals is damaged", metadata: ["block": "\(block.id)"])
                return
            }
            do throws(StoreError) {
                try put(block.id, bytes, gcEpoch: block.gcEpoch, from: .journal)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// As `flush`, without the log: a full disk cannot stop it.
    private func flushSegments(_ mark: inout FlushMark) throws(StoreError) {
        flusher.await { flusher -> Void? in
            guard !flusher.isBusy else { return nil }
            flusher.isBusy = true
            return ()
        }
        defer { flusher.update { $0.isBusy = false } }
        _ = try syncSegments()
        try check(&mark)
    }

    /// As `flush(_:)` for tools with one writer. A connection keeps a mark instead: a loss between its put and this
    /// call would go unnoticed here.
    public func flush() throws(StoreError) {
        var mark = mark()
        try flush(&mark)
    }

    /// One caller leads and flushes for all that wait; whoever came during its flush waits for the next one.
    func flushTogether() throws(StoreError) {
        let goal = state.withLock { $0.completed }
        let leads = flusher.await { flusher -> Bool? in
            if flusher.flushed >= goal { return false }
            if flusher.isBusy { return nil }
            flusher.isBusy = true
            return true
        }
        guard leads else { return }
        var reached: UInt64 = 0
        defer {
            flusher.update { flusher in
                flusher.isBusy = false
                flusher.flushed = max(flusher.flushed, reached)
            }
        }
        reached = try flushAll()
    }

    /// The leader's work; how much of `completed` is on disk after it.
    private func flushAll() throws(StoreError) -> UInt64 {
        let reached = try syncSegments()
        try writeLog(sync: state.withLock { $0.mustSyncLog })
        return reached
    }

    /// Also the leader's; how much of `completed` was put before.
    private func syncSegments() throws(StoreError) -> UInt64 {
        while true {
            let (reached, work, folderIsDirty) = try state.withLock { (state) throws(StoreError) in
                if let stopped = state.stopped { throw StoreError.stopped(path: folder, reason: stopped) }
                let work = state.dirty.sorted().compactMap { number -> FlushWork? in
                    guard let segment = state.segments[number] else { return nil }
                    guard let file = segment.appendFile else { return nil }
                    defer { segment.unflushed = [] }
                    segment.isFlushing = true
                    return FlushWork(segment: number, file: file, blocks: segment.unflushed)
                }
                state.dirty = []
                defer { state.folderIsDirty = false }
                return (state.completed, work, state.folderIsDirty)
            }
            var failed = false
            for item in work {
                do throws(StoreError) {
                    if let errno = options.syncFault(item.file.path) {
                        throw StoreError.system(action: "flush", path: item.file.path, errno: errno)
                    }
                    try item.file.syncData()
                } catch {
                    failed = true
                    logger.error("flushing a segment failed", metadata: ["error": "\(error)"])
                    evacuate(item, because: error)
                }
                state.withLock { $0.segments[item.segment]?.isFlushing = false }
            }
            if folderIsDirty {
                do throws(StoreError) {
                    try Disk.syncDirectory(folder.appending("segments"))
                } catch {
                    state.withLock { $0.folderIsDirty = true }
                    throw error
                }
            }
            // What was evacuated lies in another segment, and that must be flushed as well.
            if failed { continue }
            state.withLock { $0.evacuations = 0 }
            return reached
        }
    }

    /// A failed fsync means that the pages are lost, and a second one on this descriptor would lie (section 7). What
    /// was not flushed is read once more, and if its hash proves it, written to a new segment; what is not proven is
    /// forgotten, and everybody who flushes is told.
    private func evacuate(_ work: FlushWork, because error: StoreError) {
        tail.withLock { tail in
            if tail.current?.segment == work.segment { tail.current = nil }
        }
        let (blocks, attempts) = state.withLock { state in
            let segment = state.segments[work.segment]
            segment?.isClosed = true
            segment?.hasFailed = true
            defer { segment?.unflushed = [] }
            state.evacuations += 1
            return (work.blocks + (segment?.unflushed ?? []), state.evacuations)
        }
        for id in blocks {
            // A disk on which every new segment fails is not worth a third try.
            if attempts <= 2, (try? moveAway(id, from: work.segment, file: work.file)) == true { continue }
            state.withLock { state in
                guard let number = state.index.find(id) else { return }
                let entry = state.index.entry(number)
                guard entry.segment == work.segment else { return }
                if entry.state != .live { state.leaveQuarantine(entry) }
                state.forget(entry)
                state.giveBack(entry.span)
                space.release(entry.span)
                state.losses += 1
                state.lastLoss = .unflushedLost(path: work.file.path, errno: error.errno ?? .ioError)
            }
        }
    }

    /// Appends the pending changes to the log, and syncs it if asked. A log whose disk failed is written anew from
    /// memory; if that fails too the store stops writing.
    func writeLog(sync: Bool) throws(StoreError) {
        try log.withLock { (log) throws(StoreError) in
            let changes = state.withLock { state in
                defer {
                    state.changes.bytes.removeAll(keepingCapacity: state.changes.bytes.capacity < 1 << 16)
                    if sync { state.mustSyncLog = false }
                }
                return state.changes.bytes
            }
            do throws(StoreError) {
                if sync, let errno = options.syncFault(log.path) {
                    throw StoreError.system(action: "flush", path: log.path, errno: errno)
                }
                try log.append(changes, time: time.now, wall: time.wall, sync: sync) { space.releaseReserve() }
            } catch {
                if error.errno == .noSpace {
                    // Nothing is lost: the changes wait until there is room.
                    state.withLock { state in
                        state.changes.bytes = changes + state.changes.bytes
                        state.mustSyncLog = state.mustSyncLog || sync
                    }
                    throw error.whenDiskIsFull(needed: UInt64(changes.count))
                }
                logger.error("writing the log failed; writing it anew", metadata: ["error": "\(error)"])
                do throws(StoreError) {
                    try rewrite(&log)
                } catch {
                    state.withLock { $0.stopped = "its log cannot be written: \(error)" }
                    throw error
                }
            }
        }
    }
}

private struct FlushWork {
    var segment: UInt32
    var file: OpenFile
    var blocks: [BlockID]
}
