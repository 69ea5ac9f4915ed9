import LanfsCrypto
import LanfsProtocol
import LanfsTree

extension Volume {
    /// Unsealed data that a commit seals by itself under the lock; more is sealed in the background first.
    private static let sealedAtCut = 512 << 10
    /// Commits between two rounds of housekeeping that somebody waits for, one after the other.
    private static let commitsInAHurry = 16
    /// Bytes that a commit's last request may have to wait for.
    private static let flushedWithVote = 1 << 20

    /// Makes one commit of everything acknowledged so far: seal, send, flush, move the root.
    ///
    /// - Parameter mayAcquire: get the lease when it is not held; otherwise that is an error.
    /// - Returns: the operations that are now in a chosen root are those up to this one.
    func commit(mayAcquire: Bool = true) async throws(VolumeError) -> UInt64 {
        if let failure = current({ $0.failure }) { throw .failed(failure) }
        if let prepared = current({ $0.prepared }) {
            // An earlier commit whose outcome is not known comes first, under its own number (P5).
            try await finish(prepared)
        }
        // Housekeeping alone is no reason to take the lease from whoever has it.
        let isHeld = register.isHeld
        // In one breath: what is acknowledged after the look is not covered.
        let covered = current { state in
            (isHeld ? state.hasUncommittedWork : state.hasUnsavedWork) ? nil : state.operations
        }
        if let covered { return try await settled(covered) }
        guard isHeld || mayAcquire else { throw .busy }
        // A lease that ended and was renewed counts again once its root is loaded.
        if mayAcquire, !isHeld || current({ $0.leaseEnd == nil }) {
            try await acquireLease()
            if let covered = current({ $0.hasUncommittedWork ? nil : $0.operations }) { return try await settled(covered) }
        }
        await sealBeforehand()
        // One step under the lock: whoever sets the unsaved work aside finds it either uncut or prepared.
        let cut = try await runToEnd { (state) throws(Pause) -> PreparedCommit? in
            guard !state.isSetAside else { throw .failed(.ioError) }
            // The lease was lost since, and whoever gets it back may be about to go on from another root.
            guard !mayAcquire || state.leaseEnd != nil else { return nil }
            let prepared = self.prepare(try state.cut(into: blocks), on: state.chain)
            state.prepared = prepared
            return prepared
        }
        guard let prepared = cut else { return try await commit() }
        try await finish(prepared)
        // What took its place (L6, or because it did not fit) is to be committed as well.
        guard current({ $0.committedOperations }) >= prepared.operations else {
            return try await commit(mayAcquire: mayAcquire)
        }
        return try await settled(prepared.operations)
    }

    /// B2: what another task found to be chosen when it got the lease back (L6) may not be on enough disks yet.
    func settled(_ covered: UInt64) async throws(VolumeError) -> UInt64 {
        let owesFlush = update { state in
            defer { state.owesFlush = false }
            return state.owesFlush
        }
        guard owesFlush else { return covered }
        do throws(VolumeError) {
            try await blocks.flush()
        } catch {
            update { $0.owesFlush = true }
            throw error
        }
        return covered
    }

    /// What a commit leaves to be done, after those who waited for it have gone on: fold the changes into the tree, free
    /// what died. Freeing has time, so that a stream of small commits does not pay a round trip for each.
    func afterCommit() async throws(VolumeError) {
        guard register.isHeld else { return }
        do throws(VolumeError) {
            try await checkpointIfDue()
        } catch {
            // Where there is no room for it, what died may make some: then the next one succeeds.
            try await freeDeadBlocks()
            throw error
        }
        let commits: Int? = update { state in
            state.commitsSinceHouseKept += 1
            guard ContinuousClock.now - state.houseKeptAt > .milliseconds(500) else { return nil }
            state.houseKeptAt = .now
            defer { state.commitsSinceHouseKept = 0 }
            return state.commitsSinceHouseKept
        }
        // Not now, but once nothing more comes.
        guard let commits else { return committer.noteChange(self) }
        try await freeDeadBlocks()
        let isReaped = try await reapTrimmed()
        // What tidying up changed is committed too, even if nothing else comes: only then are the blocks free.
        if !isReaped || current({ !$0.pending.isEmpty }) { committer.noteChange(self) }
        try await refreshRoom()
        rewriteIfWorthIt(isBusy: commits > Self.commitsInAHurry)
    }

    /// Seals what is dirty in the background until little is left. A few rounds: writers may be faster for ever.
    private func sealBeforehand() async {
        for _ in 0..<3 {
            guard current({ $0.dirtyBytes }) > Self.sealedAtCut else { return }
            let requests = update { $0.takeLooseChunks(of: $0.dirty.keys.sorted()) }
            for request in requests { sealer.start(request, for: self) }
            await sealer.waitForAll()
        }
    }

    func prepare(_ cut: VolumeState.Cut, on chain: CommitChain) -> PreparedCommit {
        let changes = cut.changes.map { Change(key: $0.key, value: $0.value) }.sorted { $0.key < $1.key }
        var contents = chain.contents.followed(
            by: TransactionID(incarnation: incarnation, number: chain.nextNumber))
        var blocks: [SealedBlock] = []
        var changeBlocks: [ChangeBlock] = []
        for var set in ChangeSet(sequence: chain.record.sequence + 1, previous: nil, changes: changes).split() {
            set.previous = contents.newestChange
            let payloads = set.payloads()
            let block = SealedBlock(frames: payloads)
            contents.newestChange = block.run(first: 0, count: payloads.count)
            contents.changesSinceCheckpoint += 1
            blocks.append(block)
            changeBlocks.append(
                ChangeBlock(block: block.id, length: UInt32(block.bytes.readableBytes), base: chain.record.sequence))
        }
        return PreparedCommit(
            base: chain.record, operations: cut.operations, contents: contents, blocks: blocks, changeBlocks: changeBlocks,
            tree: cut.tree, gcEpoch: chain.record.gcEpoch + (cut.raisesGCEpoch ? 1 : 0), membership: cut.membership)
    }

    /// Brings a prepared commit to its end. After an error it stays prepared and is tried again by the next commit.
    private func finish(_ prepared: PreparedCommit) async throws(VolumeError) {
        do throws(VolumeError) {
            try await store(prepared)
        } catch .refused(let refusal) where refusal.reason == .full {
            guard try await makeAnew(prepared) else { throw .refused(refusal) }
        }
    }

    private func store(_ prepared: PreparedCommit) async throws(VolumeError) {
        let gcEpoch = current { $0.chain.record.gcEpoch }
        for block in prepared.blocks {
            if block.bytes.readableBytes <= Limits.carriedSize {
                // It goes with the vote, in one request.
                blocks.hold(block, gcEpoch: gcEpoch)
            } else {
                try await blocks.upload(block, gcEpoch: gcEpoch)
            }
        }
        // B2, legal only once every block is on enough disks: what is small comes with the vote, and a server that is alone sees
        // to the rest before it asks its keeper. Behind much data the vote would take longer than the lease lasts; flushing first,
        // the lease is renewed meanwhile. A change of keepers asks those of before.
        let carried = prepared.membership == nil ? blocks.carriable(to: current { $0.chain.record.newestConfig.keepers }) : []
        if carried.isEmpty, servers.alone == nil || blocks.outstandingBytes > Self.flushedWithVote { try await blocks.flush() }
        let record: RootRecord
        let contents: RootContents
        switch try await choose(prepared, carrying: carried) {
        case .chosen(let chosen, let itsContents):
            (record, contents) = (chosen, itsContents)
            try await settle(carried)
        case .overtaken(let newer):
            // It may have been chosen before that.
            if let last = try open(newer).lastCommit(of: incarnation), last >= prepared.contents.transaction.number {
                try await settle(carried)
            }
            let wasHeld = update { state in
                defer { state.leaseEnd = nil }
                return state.leaseEnd != nil
            }
            try await goOn(from: newer)
            // Where yet another root has come with it, that one is to be loaded first.
            if wasHeld, register.holds(newer) { countOnLease() }
            return
        }
        update { state in
            // Others went on from it, and this client from theirs, while its blocks were still on their way.
            guard state.isPrepared(prepared) else { return }
            let isAudited = state.isAuditing && record.gcEpoch > state.chain.record.gcEpoch
            if isAudited || state.wantsNextRoot {
                let root = AuditedRoot(
                    record: record, contents: contents,
                    changeBlocks: (state.chain.changeBlocks + prepared.changeBlocks).map(\.block), tree: prepared.tree)
                if isAudited { state.auditedRoot = root }
                if state.wantsNextRoot { state.nextRoot = root }
                state.wantsNextRoot = false
            }
            state.chain.advance(prepared, to: record, contents)
            state.chain.tree = state.chain.wantsCheckpoint ? prepared.tree : nil
            state.noteCommitted(through: prepared.operations)
        }
        remember(record)
    }

    /// B2: chosen, but not to be called saved before W servers have its blocks. There is nothing to be made anew.
    private func settle(_ carried: [BlockID]) async throws(VolumeError) {
        do throws(VolumeError) {
            try await blocks.settle(carried)
        } catch .refused(let refusal) where refusal.reason == .full {
            throw .failed(.noSpace)
        }
    }

    private enum Choice {
        case chosen(RootRecord, RootContents)
        /// By another client: what was prepared was chosen before, or never will be.
        case overtaken(RootRecord)
    }

    /// Moves the root, and finds out what became of it when that stayed unknown (P5).
    private func choose(_ prepared: PreparedCommit, carrying carried: [BlockID]) async throws(VolumeError) -> Choice {
        // Not the newest that is known by now: while blocks were on their way, another task may have got the lease back and done
        // the same operations again on another client's root (L6).
        var base = prepared.base
        var contents = prepared.contents
        contents.carried = carried
        var sealed = seal(contents)
        while true {
            if !contents.carried.isEmpty { blocks.bring(carried, to: base.newestConfig.keepers.members, with: sealed) }
            switch await register.commit(prepared.change(sealed, on: base), on: base) {
            case .unknown, .notHeld:
                guard let record = await register.acquire() else { throw .closed }
                // Base first: the same value, in whatever ballot, means that our commit did not happen.
                if record.sequence == base.sequence, record.sameValue(as: base) { continue }
                let newest = try open(record)
                if newest.transaction == prepared.contents.transaction { return .chosen(record, newest) }
                if record.isMoved(from: base) {
                    adopt(record)
                    base = record
                    guard !carried.isEmpty else { continue }
                    // The keepers are others, and may be none that store blocks.
                    try await blocks.flush()
                    contents.carried = []
                    sealed = seal(contents)
                    continue
                }
                return .overtaken(record)
            case .committed(let record): return .chosen(record, contents)
            case .refused(let refusal): throw .refused(refusal)
            case .tooLarge: throw .damaged("the root record, too large to be stored,")
            }
        }
    }

    // MARK: The sealed part of a root record

    func seal(_ contents: RootContents) -> [UInt8] {
        FrameSeal.seal(contents.encoded, key: key.treeKey, index: 0)
    }

    func open(_ record: RootRecord) throws(VolumeError) -> RootContents {
        try Self.contents(of: record, key: key)
    }

    static func contents(of record: RootRecord, key: VolumeKey) throws(VolumeError) -> RootContents {
        try contents(record.contents, key: key)
    }

    static func contents(_ sealed: [UInt8], key: VolumeKey) throws(VolumeError) -> RootContents {
        do {
            return try RootContents(encoded: FrameSeal.open(sealed, key: key.treeKey, index: 0))
        } catch {
            throw .damaged("the root record (\(error))")
        }
    }
}
