import LanfsFileSystem
import LanfsProtocol
import LanfsTree

/// Where the next commit continues: the newest chosen root as this client knows it.
struct CommitChain {
    var record: RootRecord
    var contents: RootContents
    /// Change blocks since the checkpoint; the next checkpoint frees them.
    var changeBlocks: [ChangeBlock] = []
    /// The tree as of that root, while changes wait for a checkpoint.
    var tree: Tree?
    /// The number of this client's next commit (T5).
    var nextNumber: UInt64 = 1

    /// - Parameter contents: those of `record`: a forced recovery may have been put into what was prepared.
    mutating func advance(_ prepared: PreparedCommit, to record: RootRecord, _ contents: RootContents) {
        self.record = record
        self.contents = contents
        changeBlocks += prepared.changeBlocks
        nextNumber = prepared.contents.transaction.number + 1
    }

    /// Worth a checkpoint: mounting has to read every change block, one after the other.
    var wantsCheckpoint: Bool { changeBlocks.count >= 128 || changeBlocks.reduce(0) { $0 + Int($1.length) } >= 4 << 20 }
}

/// A block with the changes of a commit.
struct ChangeBlock: Sendable {
    let block: BlockID
    let length: UInt32
    /// Of the root that its commit was made on.
    let base: UInt64
}

/// Everything one commit consists of, kept until its outcome is known (P5).
struct PreparedCommit: Sendable {
    /// The root that it was made on, and the only one that it may follow: it says nothing of what came after that (T2).
    let base: RootRecord
    /// The operations it covers are those up to this one.
    let operations: UInt64
    let contents: RootContents
    /// The change blocks; everything else it refers to is in the pool already.
    let blocks: [SealedBlock]
    let changeBlocks: [ChangeBlock]
    /// The tree as of this commit, for a checkpoint.
    let tree: Tree
    /// Of the root it makes: that of its base, or one more for an audit (G4).
    let gcEpoch: UInt64
    /// The servers or keepers change with it.
    let membership: MembershipChange?
}

extension VolumeState {
    /// Whether this is still to be committed: whoever got the lease back meanwhile has done its operations again (L6), or seen it
    /// in the chain of roots.
    func isPrepared(_ commit: PreparedCommit) -> Bool { prepared?.contents.transaction == commit.contents.transaction }

    struct Cut {
        let operations: UInt64
        let changes: [Key: [UInt8]?]
        let tree: Tree
        let raisesGCEpoch: Bool
        let membership: MembershipChange?
    }

    /// Closes the books of the next commit: everything acknowledged so far is in it, nothing later (T1).
    ///
    /// File data that is still unsealed is sealed here, under the lock, so that no operation can fall between; the
    /// committer has made sure that it is little. Each block goes to the pool in the same breath as the tree names it: a
    /// reader finds it there at once, and when a later step has to pause it is not forgotten.
    mutating func cut(into pool: BlockPool) throws(Pause) -> Cut {
        for request in takeAllChunks() {
            let block = SealedBlock(frames: request.pieces.map(\.bytes))
            try adopt(block, for: request)
            pool.hold(block, gcEpoch: chain.record.gcEpoch)
        }
        try stampDeadBlocks()
        try settleLocks()
        let changes = pending
        pending = [:]
        for (key, value) in changes {
            if let (block, usage) = BlockUsage.noted(by: key, value) { sparse.note(block, usage) }
        }
        log.cut()
        adopted = adopted.filter { pool.unflushed($0) != nil }
        defer {
            raisesGCEpoch = false
            membership = nil
        }
        return Cut(
            operations: operations, changes: changes, tree: tree, raisesGCEpoch: raisesGCEpoch, membership: membership)
    }

    /// The next one to have the lease finds the locks in the tree.
    private mutating func settleLocks() throws(Pause) {
        guard let records = locks.nextRecords else { return }
        let old = locks.records
        try changeUncounted { (transaction) throws(Interruption) in transaction.setLocks(records, after: old) }
        locks.wrote(records)
    }

    /// Blocks that died since the last commit go on the dead list under this commit's number: that is what tells when
    /// nobody can still need them (G8).
    private mutating func stampDeadBlocks() throws(Pause) {
        var died: [Change] = []
        for (key, value) in pending {
            if case .dead? = RecordKey(key) { died.append(Change(key: key, value: value)) }
        }
        guard !died.isEmpty else { return }
        died.sort { $0.key < $1.key }
        let stamped = stampDead(died, with: chain.record.sequence + 1)
        do throws(MissingNode) {
            try tree.apply(stamped, nodes: nodes)
        } catch {
            throw .node(error)
        }
        for change in stamped { pending[change.key] = .some(change.value) }
    }

    /// Every unsealed chunk, also those a background seal is under way for: that seal then finds them gone and its
    /// frames dead, which costs a little space and no correctness.
    private mutating func takeAllChunks() -> [SealRequest] {
        for inode in dirty.keys.sorted() {
            guard let file = dirty[inode] else { continue }
            for chunk in file.order { dirty[inode]?.unmarkSealing(chunk) }
        }
        closedDirty = []
        closedDirtyBytes = 0
        return takeLooseChunks(of: dirty.keys.sorted())
    }
}
