import LanfsProtocol

/// What the volume's other servers ask about blocks and do to them (B3 to B6).
extension BlockStore {
    /// What is here of a block, whoever asks.
    public func localCopy(_ id: BlockID) -> LocalCopy {
        state.withLock { state in
            guard let number = state.index.find(id) else { return .absent }
            let entry = state.index.entry(number)
            return entry.state == .live ? .live(gcEpoch: entry.gcEpoch) : .quarantined(gcEpoch: entry.gcEpoch)
        }
    }

    /// As `list`, but only what is on disk (B2): flushes for that, and leaves out what the flush has lost.
    public func listOnDisk(after: BlockID?, limit: Int) throws(StoreError) -> [StoredBlock] {
        var after = after
        while true {
            let page = list(after: after, limit: limit)
            guard let last = page.last else { return [] }
            try flushTogether()
            let gone = Set(missing(of: page.map(\.block)))
            let left = page.filter { !gone.contains($0.block) }
            // None left means that there is no more.
            if !left.isEmpty { return left }
            after = last.block
        }
    }

    /// Raises the tags of those that are here and live (G1), and leaves the others alone: unlike `touch` it takes nothing
    /// out of quarantine. On return blocks and tags are on disk.
    ///
    /// - Returns: for each whether it is here, live, and on disk.
    public func raise(_ tags: [(block: BlockID, gcEpoch: UInt64)]) throws(StoreError) -> [Bool] {
        let held = try state.withLock { (state) throws(StoreError) in
            try state.checkWritable(folder)
            return tags.map { state.raise($0.block, gcEpoch: $0.gcEpoch) }
        }
        try flushTogether()
        return state.withLock { state in
            zip(tags, held).map { tag, isHeld in isHeld && state.isLive(tag.block) }
        }
    }

    /// Deletes a live block at once if its tag is still this one (G2). Durable on return.
    ///
    /// - Returns: false if it stays.
    @discardableResult
    public func drop(_ id: BlockID, gcEpoch: UInt64) throws(StoreError) -> Bool {
        let span: UInt64? = try state.withLock { (state) throws(StoreError) in
            try state.checkWritable(folder)
            guard let number = state.index.find(id) else { return nil }
            let entry = state.index.entry(number)
            guard entry.state == .live, entry.gcEpoch == gcEpoch else { return nil }
            state.forget(entry)
            state.giveBack(entry.span)
            let start = UInt64(entry.page) * Layout.page
            state.dead.append(DeadRange(segment: entry.segment, start: start, end: start + entry.span))
            return entry.span
        }
        guard let span else { return false }
        space.release(span)
        // First the log, then the hole: a restart must not believe in a block that is no longer there.
        try writeLog(sync: true)
        giveBackDead()
        return true
    }
}

extension StoreState {
    fileprivate func isLive(_ id: BlockID) -> Bool {
        index.find(id).map { index.entry($0).state == .live } ?? false
    }

    /// False if it is not here or not live.
    fileprivate mutating func raise(_ id: BlockID, gcEpoch: UInt64) -> Bool {
        guard isLive(id), gcEpoch <= BlockStore.epochLimit else { return false }
        return refresh(id, gcEpoch: gcEpoch)
    }
}
