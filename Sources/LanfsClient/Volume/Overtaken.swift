import Glibc
import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import NIOCore
import SystemPackage

/// L6: another client made a root while something was acknowledged here and in no root yet, because this one stalled until its
/// lease was lost. What is acknowledged is done again there.
extension Volume {
    /// Bytes of a file that are copied at once: a block.
    private static let copiedAtOnce = Limits.chunksPerBlock * Limits.chunkSize
    /// Entries that are looked through under one lock.
    private static let entriesAtOnce = 4096

    /// Nobody may count on the lease meanwhile: nothing is changed that is being done again.
    func goOn(from record: RootRecord) async throws(VolumeError) {
        try await goingOn.withLock { () async throws(VolumeError) in
            // Whoever met it first has done so.
            let base = current { $0.chain }
            guard record.isNewer(than: base.record) else { return }
            let contents = try open(record)
            noteIfCommitted(contents)
            if current({ $0.operations > $0.committedOperations }) {
                do throws(VolumeError) {
                    try await redo(on: record, contents, sentWith: current { $0.chain.record.gcEpoch })
                } catch .overtaken {
                    update { $0.failure = .ioError }
                    throw .overtaken
                }
            } else {
                // Our own housekeeping, which nobody misses.
                update { state in
                    state.prepared = nil
                    state.hasDropped = true
                }
                try await load(record, after: base)
            }
        }
    }

    /// The servers have no room for a commit. What was deleted since, to make some, must not wait for it: the same operations are
    /// done again on the same root, and the blocks that nothing names any more are forgotten.
    ///
    /// A keeper may have accepted it all the same. With another ballot it is found out whether it is chosen, and if not it
    /// never will be (P1, P4).
    ///
    /// - Returns: whether it is worth trying that; who goes on writing meanwhile has its turn later.
    func makeAnew(_ prepared: PreparedCommit) async throws(VolumeError) -> Bool {
        let isWorthIt = update { state in
            guard state.operations > prepared.operations, state.madeAnew < 2 else { return false }
            state.madeAnew += 1
            return true
        }
        guard isWorthIt else {
            update { $0.madeAnew = 0 }
            return false
        }
        let wasHeld = update { state in
            defer { state.leaseEnd = nil }
            return state.leaseEnd != nil
        }
        register.abandon()
        guard let record = await register.acquire() else { throw .closed }
        let base = current { $0.chain.record }
        let isDropped = record.sequence == base.sequence && record.sameValue(as: base)
        if isDropped {
            try await goingOn.withLock { () async throws(VolumeError) in
                // Another task may have gone on from a newer one meanwhile.
                guard current({ $0.chain.record }) == base else { return }
                // As it was chosen: the chain here may name a checkpoint that no root has yet.
                try await redo(on: base, try open(base), sentWith: base.gcEpoch)
            }
        } else if record.isMoved(from: base) {
            // It is the base of the same commit, which comes again.
            adopt(record)
            if wasHeld { countOnLease() }
            return false
        } else {
            try await goOn(from: record)
        }
        // Only what the tree named once: a block that a seal is under way for is not named yet.
        let waiting = blocks.unflushed.map(\.id)
        let unnamed = try await runToEnd { (state) throws(Pause) in
            try state.unnamed(among: waiting.filter(state.adopted.contains))
        }
        blocks.forget(unnamed + (isDropped ? prepared.blocks.map(\.id) : []))
        if wasHeld, register.holds(record) { countOnLease() }
        return true
    }

    /// T5: a commit whose outcome was not known may have been chosen before others came on top of it.
    private func noteIfCommitted(_ contents: RootContents) {
        update { state in
            guard let prepared = state.prepared, let last = contents.lastCommit(of: incarnation),
                last >= prepared.contents.transaction.number
            else { return }
            state.noteCommitted(through: prepared.operations)
            state.owesFlush = true
        }
    }

    /// - Parameter tag: the gcEpoch of the root that it was based on: its blocks have that tag, or the one before (``UploadFence``).
    func redo(on record: RootRecord, _ contents: RootContents, sentWith tag: UInt64) async throws(VolumeError) {
        let base = current { $0.chain }
        try check(record, contents, against: base)
        // G2: else two collections may take the blocks that were sent and never named. After one they are given the new tag as
        // well: that what is unsaved has it is what the next one, and what is set aside, go by.
        let isFresh = record.gcEpoch <= tag
        let (changes, blocks) = try await self.changes(since: contents)
        let caller = Caller(user: getuid(), group: getgid(), umask: 0, now: .now)
        let execution = Reexecution(mark: ConflictMark.make(caller.now), session: orphanage)
        var foreign: Set<InodeNumber>?
        repeat {
            await sealer.waitForAll()
            try await runToEnd { (state) throws(Pause) in
                let chain = CommitChain(
                    record: record, contents: contents, changeBlocks: blocks,
                    nextNumber: 1
                        + max(
                            state.chain.nextNumber - 1, state.prepared?.contents.transaction.number ?? 0,
                            contents.lastCommit(of: self.incarnation) ?? 0))
                try state.beginRedo(on: contents, changes, chain, execution)
            }
            let isOwn = record.sequence == base.record.sequence
            if !isOwn { try await runToEnd { (state) throws(Pause) in try state.noteLostLocks() } }
            while try await runToEnd({ (state) throws(Pause) in try state.redoSome() }) {}
            try await runToEnd { (state) throws(Pause) in try state.copyUnnamed() }
            try await copyConflicting(by: caller)
            let carried = current { $0.redo?.execution.carried ?? [:] }
            for (inode, chunks) in carried {
                try await runToEnd { (state) throws(Pause) in try state.redoContents(of: inode, chunks) }
            }
            if !isFresh {
                let named = try await runToEnd { (state) throws(Pause) in try state.blocksNamedByRedo() }
                guard try await self.blocks.renew(named, gcEpoch: record.gcEpoch) else { throw .overtaken }
            }
            let conflicts = current { $0.redo?.execution.conflicts ?? [] }
            foreign = try await runToEnd { (state) throws(Pause) in
                try state.finishRedo(state.lockRecordsOfRedo(), isOwn: isOwn)
            }
            if foreign != nil { await report(conflicts) }
        } while foreign == nil
        remember(record)
        if let foreign { tell(foreign) }
    }

    // MARK: Copies

    /// Files that were written here, and changed or deleted elsewhere.
    private func copyConflicting(by caller: Caller) async throws(VolumeError) {
        for inode in current({ $0.redo?.execution.copied ?? [] }) {
            guard let place = try await place(of: inode) else { continue }
            let copy = try await runToEnd { (state) throws(Pause) in
                try state.redoAsCopy(of: inode, beside: place, by: caller)
            }
            if let copy { try await copyContents(of: inode, to: copy) }
        }
    }

    /// Where a file is here; `nil` when it was removed here after it had been written, or never had a name.
    private func place(of inode: InodeNumber) async throws(VolumeError) -> Place? {
        var start: Key?
        repeat {
            let from = start
            let (place, next) = try await runToEnd { (state) throws(Pause) in
                try state.read { (transaction) throws(Interruption) in
                    try transaction.place(of: inode, from: from, limit: Self.entriesAtOnce)
                }
            }
            if let place { return place }
            start = next
        } while start != nil
        return nil
    }

    private func copyContents(of inode: InodeNumber, to copy: InodeNumber) async throws(VolumeError) {
        var offset: UInt64 = 0
        while let start = try await nextData(in: inode, from: offset) {
            offset = start / UInt64(Limits.chunkSize) * UInt64(Limits.chunkSize)
            let begin = offset
            let bytes = try await runToEnd { (state) throws(Pause) in
                try state.bytes(of: inode, offset: begin, count: Self.copiedAtOnce).joined
            }
            guard !bytes.isEmpty else { return }
            let chunks = stride(from: 0, to: bytes.count, by: Limits.chunkSize).map {
                Array(bytes[$0..<min(bytes.count, $0 + Limits.chunkSize)])
            }
            try await blocks.waitForRoom()
            let block = SealedBlock(frames: chunks)
            try await blocks.upload(block, gcEpoch: current { $0.redo?.chain.record.gcEpoch ?? 0 })
            try await runToEnd { (state) throws(Pause) in
                try state.redo(block, chunks.map(\.count), to: copy, from: begin / UInt64(Limits.chunkSize))
            }
            offset += UInt64(bytes.count)
        }
    }

    private func nextData(in inode: InodeNumber, from offset: UInt64) async throws(VolumeError) -> UInt64? {
        do throws(VolumeError) {
            return try await runToEnd { (state) throws(Pause) in try state.nextData(in: inode, from: offset) }
        } catch .failed(.noSuchAddressOrDevice) {
            return nil
        }
    }

    // MARK: Telling

    private func report(_ conflicts: [Reexecution.Conflict]) async {
        for conflict in conflicts {
            switch conflict {
            case .renamed(let place):
                let path = await path(to: place)
                log.warning(
                    "another client changed the volume while this one was away: both versions are kept, the one from here as \(path)")
            case .kept(let place):
                let path = await path(to: place)
                log.warning(
                    "another client changed the volume while this one was away: \(path) stays as it is there, and was not renamed or deleted")
            }
        }
    }

    /// As people write it.
    func path(to place: Place) async -> String {
        let names = try? await runToEnd { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in try transaction.path(to: place) }
        }
        return "/" + (names ?? [place.name]).map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
    }

    /// Paths of what lost a conflict and was neither renamed nor deleted since.
    func conflicts() async throws(VolumeError) -> [String] {
        let places = try await runToEnd { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in try transaction.conflicts() }
        }
        var paths: [String] = []
        for place in places { paths.append(await path(to: place)) }
        return paths.sorted()
    }
}
