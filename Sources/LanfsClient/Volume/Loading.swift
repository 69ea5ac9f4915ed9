import LanfsCrypto
import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import NIOCore

extension Volume {
    // MARK: What operations wait for

    func loadNode(_ missing: MissingNode) async throws(VolumeError) {
        let node = try await fetchNode(missing)
        update { $0.nodes.insert(missing.ref, node) }
    }

    func fetchNode(_ missing: MissingNode, within patience: Duration? = nil) async throws(VolumeError) -> Node {
        let payload = try await blocks.frames(missing.ref, within: patience)[0]
        do throws(DecodingError) {
            return try Node(decoding: payload, for: missing)
        } catch {
            throw .damaged("tree node \(missing.ref.index) of block \(missing.ref.block.hex.prefix(16)) (\(error))")
        }
    }

    /// Fetches frames of file data into memory, neighbours of one block in one request, each frame once however many
    /// ask for it at the same time.
    func loadFrames(_ frames: [FrameRef]) async throws(VolumeError) {
        for fetch in fetcher.fetches(of: frames, for: self) {
            guard let outcome = await fetch.outcome else { throw .failed(.interrupted) }
            try outcome.get()
        }
    }

    /// Starts fetching what a sequential reader will want next.
    func readAhead(_ range: Range<UInt64>, of inode: InodeNumber) {
        guard !range.isEmpty else { return }
        Task.detached {
            guard let missing = try? await self.run({ (state) throws(Pause) in
                try state.missingFrames(of: inode, in: range)
            }) else { return }
            _ = self.fetcher.fetches(of: missing, for: self)
        }
    }

    // MARK: The chosen root

    /// Makes the state of `record` the one this client works on, unless another task has gone on from one as new meanwhile.
    ///
    /// - Parameter known: what it was found to be newer than; `nil`: what is here.
    func load(_ record: RootRecord, after known: CommitChain? = nil) async throws(VolumeError) {
        let contents = try open(record)
        let base = known ?? current { $0.chain }
        try check(record, contents, against: base)
        // A snapshot stays what it is; only who has the volume's blocks goes on.
        guard !current({ $0.showsSnapshot }) else {
            update { $0.chain = CommitChain(record: record, contents: contents) }
            return remember(record)
        }
        let news = try await changes(from: contents.newestChange, after: base.contents)
        // After another client's turn that is a commit or two, on top of what is here.
        guard try await !append(news, of: record, contents, to: base) else { return remember(record) }
        let isWhole = !news.isAfterBase || base.contents.newestChange == nil
        let all = isWhole ? news : try await changes(from: contents.newestChange)
        let foreign = try await runToEnd { (state) throws(Pause) -> Set<InodeNumber>? in
            guard state.chain.record == base.record || record.isNewer(than: state.chain.record) else { return nil }
            var tree = Tree(root: contents.tree)
            do throws(MissingNode) {
                try tree.apply(all.changes, nodes: state.nodes)
            } catch {
                throw .node(error)
            }
            let locks = try state.lockRecords(of: tree)
            for inode in try state.openInodes(missingFrom: tree) { state.ghosts[inode] = state.tree }
            try state.replace(tree, locks, self.chain(of: record, contents, changeBlocks: all.blocks, after: state.chain))
            return state.noteAllForeign()
        }
        guard let foreign else { return }
        remember(record)
        tell(foreign)
    }

    /// F1: stops with an alarm where a root does not descend from the one before.
    func check(_ record: RootRecord, _ contents: RootContents, against base: CommitChain) throws(VolumeError) {
        do throws(VolumeError) {
            let memory = RollbackMemory(base.record, base.contents.recoveries, VolumeSigner(key: key.signingKey))
            try contents.recoveries.check(record, against: memory)
        } catch {
            update { $0.failure = .ioError }
            throw error
        }
    }

    /// Changes of consecutive commits, oldest first.
    private struct News: Sendable {
        var changes: [Change] = []
        var blocks: [ChangeBlock] = []
        /// Since the root that was asked for; otherwise since the checkpoint.
        var isAfterBase = false
    }

    /// - Parameter base: what need not be read again, if it is on the way.
    private func changes(
        from newest: FrameRef?, after base: RootContents? = nil, within patience: Duration? = nil
    ) async throws(VolumeError) -> News {
        var sets: [ChangeSet] = []
        var news = News()
        var next = newest
        while true {
            if let base, next == base.newestChange {
                news.isAfterBase = true
                break
            }
            guard let ref = next else { break }
            do {
                let set = try ChangeSet(joining: try await blocks.frames(ref, within: patience))
                news.blocks.append(ChangeBlock(block: ref.block, length: ref.length, base: max(1, set.sequence) - 1))
                next = set.previous
                sets.append(set)
            } catch let error as VolumeError {
                throw error
            } catch {
                throw .damaged("change block \(ref.block.hex.prefix(16)) (\(error))")
            }
            guard sets.count <= 1 << 16 else { throw .damaged("the chain of change blocks, which does not end,") }
        }
        news.blocks.reverse()
        news.changes = sets.reversed().flatMap(\.changes)
        return news
    }

    /// - Returns: false, with nothing changed, when what is here is not just the state of `base`.
    private func append(
        _ news: News, of record: RootRecord, _ contents: RootContents, to base: CommitChain
    ) async throws(VolumeError) -> Bool {
        guard news.isAfterBase, contents.tree == base.contents.tree else { return false }
        let foreign = try await runToEnd { (state) throws(Pause) -> Set<InodeNumber>? in
            // At first there is a checkpoint without what came after it, and later perhaps what never came to be chosen.
            guard state.loads > 0, !state.hasDropped, state.pending.isEmpty, !state.hasUnsavedWork,
                state.chain.record == base.record
            else {
                return nil
            }
            let removed = state.openInodes(removedBy: news.changes)
            let changesLocks = news.changes.contains { concernsLocks($0.key) }
            // In place, unless the tree from before is needed, or something after it can pause.
            let before = removed.isEmpty && !changesLocks ? nil : state.tree
            do throws(MissingNode) {
                try state.noteNames(changedBy: news.changes)
                try state.tree.apply(news.changes, nodes: state.nodes)
            } catch {
                if let before { state.tree = before }
                throw .node(error)
            }
            let after = state.tree
            if let before { state.tree = before }
            let locks = changesLocks ? try state.lockRecords(of: after) : nil
            if let before { for inode in removed { state.ghosts[inode] = before } }
            try state.replace(
                after, locks,
                self.chain(of: record, contents, changeBlocks: base.changeBlocks + news.blocks, after: state.chain))
            return state.noteForeign(news.changes)
        }
        if let foreign { tell(foreign) }
        return foreign != nil
    }

    func tell(_ changes: Set<InodeNumber>) {
        defer { update { $0.tellings -= 1 } }
        guard !changes.isEmpty, let tell = foreignChangesListener.withLock({ $0.tell }) else { return }
        for change in changes { tell(change) }
    }

    private func chain(
        of record: RootRecord, _ contents: RootContents, changeBlocks: [ChangeBlock], after base: CommitChain
    ) -> CommitChain {
        CommitChain(
            record: record, contents: contents, changeBlocks: changeBlocks,
            nextNumber: max(base.nextNumber, (contents.lastCommit(of: incarnation) ?? 0) + 1))
    }

    /// What the change blocks of a root say, the oldest first.
    func changes(
        since contents: RootContents, within patience: Duration? = nil
    ) async throws(VolumeError) -> ([Change], [ChangeBlock]) {
        let all = try await changes(from: contents.newestChange, within: patience)
        return (all.changes, all.blocks)
    }
}

extension VolumeState {
    fileprivate func lockRecords(of tree: Tree) throws(Pause) -> LockTable.Records {
        do throws(Interruption) {
            return try Transaction(reading: tree, nodes: nodes).lockRecords()
        } catch {
            throw Pause(error)
        }
    }

    /// Goes on from what another client chose.
    ///
    /// - Parameter lockRecords: `nil` where they are as they were.
    fileprivate mutating func replace(
        _ tree: Tree, _ lockRecords: LockTable.Records?, _ chain: CommitChain
    ) throws(Pause) {
        // Nothing that was acknowledged is dropped: callers see to that, and this makes sure.
        guard !hasUnsavedWork else { throw .failed(.resourceBusy) }
        if lockRecords != nil || locks.isChanged { try replaceLocks(with: lockRecords ?? locks.records) }
        self.tree = tree
        self.chain = chain
        pending = [:]
        // It was planned for another root.
        membership = nil
        // Without unsaved work, what is unsealed is being rewritten, and as of the older root.
        dropDirty()
        hasDropped = false
        loads += 1
        tellings += 1
    }

    mutating func missingFrames(of inode: InodeNumber, in range: Range<UInt64>) throws(Pause) -> [FrameRef] {
        let plan = try read { (transaction) throws(Interruption) in
            try transaction.readPlan(inode, offset: range.lowerBound, count: range.count)
        }
        return plan.compactMap { piece in
            if case .frame(let ref, _, _) = piece, !frames.contains(ref.name) { ref } else { nil }
        }
    }
}
