import LanfsFileSystem
import LanfsProtocol
import LanfsTree

extension Volume {
    /// Folds the changes since the last checkpoint into stored nodes, when there are enough of them. The next commit's
    /// root names the result.
    func checkpointIfDue() async throws(VolumeError) {
        let (taken, loads) = update { state in
            defer { state.chain.tree = nil }
            return (state.chain.wantsCheckpoint ? state.chain.tree : nil, state.loads)
        }
        guard let tree = taken else { return }
        var blocks: [SealedBlock] = []
        let checkpoint = tree.checkpoint { payloads in
            let block = SealedBlock(frames: payloads)
            blocks.append(block)
            return block.frames
        }
        let gcEpoch = current { $0.chain.record.gcEpoch }
        for block in blocks { try await self.blocks.upload(block, gcEpoch: gcEpoch) }
        let stored = blocks
        try await runToEnd { (state) throws(Pause) in
            // The lease was lost meanwhile, and another client went on: this is a checkpoint of the past.
            guard state.loads == loads else { return }
            try state.install(checkpoint, blocks: stored)
        }
    }

    /// Tells the servers which blocks no chosen root reaches any more (G8), once the commit that says so is chosen;
    /// some at a time. Returns whether there were any.
    @discardableResult
    func freeDeadBlocks() async throws(VolumeError) -> Bool {
        guard current({ $0.walkers == 0 }) else { return false }
        let (dead, hold, gcEpoch) = try await runToEnd { (state) throws(Pause) -> ([DeadBlock], RecoveryHold, UInt64) in
            let chain = state.chain
            // What no chosen root says yet lets nothing go.
            guard !state.changesRecovery else { return ([], RecoveryHold(recovery: nil, isOpen: false, pinsRoots: false), 0) }
            // Nor what is prepared: the keepers may have moved since, and the root with them.
            let newest = state.prepared?.base.sequence ?? chain.record.sequence
            return try state.read { (transaction) throws(Interruption) in
                // Whoever proposes the newest root again may still need what came with it (P1).
                let dead = try transaction.deadBlocks(before: newest + 1, limit: 1024)
                    .filter { !chain.contents.carried.contains($0.block) }
                return (dead, try transaction.recoveryHold(after: chain.contents.recoveries), chain.record.gcEpoch)
            }
        }
        guard !dead.isEmpty else { return false }
        // What is held back is left to the audit, which knows what else may reach it.
        let free = dead.filter { hold.allowsFreeing(made: $0.made) }.map(\.block)
        if !free.isEmpty { try await blocks.free(free, gcEpoch: gcEpoch) }
        try await runToEnd { (state) throws(Pause) in
            try state.changeUncounted { (transaction) throws(Interruption) in transaction.forgetDead(dead) }
        }
        return true
    }
}

extension VolumeState {
    /// Whether something that concerns a recovery by force is not in a chosen root yet.
    fileprivate var changesRecovery: Bool {
        chain.contents.recoveries.newest != nil && (prepared != nil || pending.keys.contains(where: concernsRecovery))
    }

    /// Continues from a checkpoint that holds the state of the last commit.
    mutating func install(_ checkpoint: Checkpoint, blocks: [SealedBlock]) throws(Pause) {
        let since = pending.map { Change(key: $0.key, value: $0.value) }
        do throws(MissingNode) {
            try tree.install(checkpoint, changesSince: since, nodes: nodes)
        } catch {
            throw .node(error)
        }
        let (superseded, made) = (chain.changeBlocks, chain.record.sequence)
        try changeUncounted { (transaction) throws(Interruption) in
            for block in blocks {
                let length = UInt32(block.bytes.readableBytes)
                try transaction.registerBlock(block.id, length: length, kind: .tree, made: made)
                for frame in block.frames { try transaction.retain(frame, kind: .tree) }
            }
            for frame in checkpoint.freed { try transaction.release(frame) }
            // What a change block says is in the tree now: it is dead from the commit on that names this checkpoint.
            for change in superseded {
                try transaction.registerBlock(change.block, length: change.length, kind: .changes, made: change.base)
                try transaction.discardUnusedBlock(change.block)
            }
        }
        chain.contents.tree = checkpoint.root
        chain.contents.treeSequence = chain.record.sequence
        chain.contents.newestChange = nil
        chain.contents.changesSinceCheckpoint = 0
        chain.changeBlocks = []
    }
}
