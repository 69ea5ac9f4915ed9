import LanfsFileSystem
import LanfsProtocol
import LanfsTree

/// What an audit did.
struct AuditReport: Equatable, Sendable {
    /// Blocks that no root reached, and their bytes: in the servers' quarantine now (G7).
    var sweptBlocks = 0
    var sweptBytes: UInt64 = 0
}

extension Volume {
    /// Candidates of one slice: bounds the audit's memory to about 32 MiB. Each slice, 256 GiB of full blocks, walks the tree
    /// once.
    private static let sliceSize = 1 << 18

    /// Mark and sweep (G4 to G6): finds the blocks that ordinary frees forgot, as when a client died between an upload and
    /// its commit. Every error ends it and nothing more is deleted.
    func audit() async throws(VolumeError) -> AuditReport {
        // What the marked root reaches has to stay readable until the end.
        update { state in
            state.isAuditing = true
            state.walkers += 1
        }
        defer {
            update { state in
                state.isAuditing = false
                state.walkers -= 1
                state.auditedRoot = nil
            }
        }
        try await lookWhoComesBack()
        let snapshot = try await raiseGCEpoch()
        let (hold, pinned) = try await whatElseIsKept(by: snapshot)
        var report = AuditReport()
        var after: BlockID?
        var isFirst = true
        repeat {
            var collection = GarbageCollection(gcEpoch: snapshot.record.gcEpoch)
            guard let cutoff = collection.cutoff else { return report }
            var lengths: [BlockID: UInt32] = [:]
            while collection.candidateCount < Self.sliceSize {
                let page = try await blocks.list(after: after)
                after = page.last?.block
                for block in page where collection.consider(block) { lengths[block.block] = block.length }
                if page.isEmpty { break }
            }
            // Also without candidates, once: the walk finds what is worth rewriting.
            guard isFirst || collection.candidateCount > 0 else { break }
            isFirst = false
            try await mark(snapshot, in: &collection)
            // What of them cannot be read ends it all, as with the root itself: nobody knows what hangs below. A person who
            // misses the space more than the snapshot drops that.
            for root in pinned { try await mark(root, in: &collection, counts: false) }
            // G5, M3: a root that may still come back marks nothing.
            guard hold.allowsSweeping else { continue }
            let unreached = collection.unreached()
            for batch in stride(from: 0, to: unreached.count, by: 1000) {
                let ids = Array(unreached[batch..<min(batch + 1000, unreached.count)])
                try await blocks.sweep(ids, gcEpoch: snapshot.record.gcEpoch, cutoff: cutoff)
                try await runToEnd { (state) throws(Pause) in
                    try state.changeUncounted { (transaction) throws(Interruption) in try transaction.forgetUsage(of: ids) }
                }
                report.sweptBlocks += ids.count
                report.sweptBytes += ids.reduce(0) { $0 + UInt64(lengths[$1] ?? 0) }
            }
        } while after != nil
        return report
    }

    /// G4: the root that is marked is one that raised the gcEpoch. The commit that does it takes along everything
    /// acknowledged so far.
    private func raiseGCEpoch() async throws(VolumeError) -> AuditedRoot {
        // The lease first: what is to be committed before it is had would be work based on an older root (L6).
        try await acquireLease()
        update { $0.raisesGCEpoch = true }
        while true {
            if case .failure(let errno) = await commitHousekeeping() { throw .failed(errno) }
            let (root, isDue) = update { state in
                defer { state.auditedRoot = nil }
                return (state.auditedRoot, state.raisesGCEpoch)
            }
            if let root { return root }
            // A commit that was under way already took along all that was waited for, but not this.
            guard isDue else { throw .busy }
        }
    }

    /// Marks all that the root reaches: the nodes of its stored tree, what the leaves refer to, the change blocks since,
    /// and what those refer to, which is in the nodes that are not stored yet.
    ///
    /// - Parameter counts: what it says of the use of blocks is of now.
    private func mark(
        _ root: AuditedRoot, in collection: inout GarbageCollection, counts: Bool = true
    ) async throws(VolumeError) {
        for block in root.changeBlocks { collection.mark(block) }
        try await walk(Tree(root: root.contents.tree), within: root.patience) { (nodes) throws(VolumeError) in
            try self.mark(nodes, in: &collection, counts)
        }
        try await walk(root.tree, skippingStored: true, within: root.patience) { (nodes) throws(VolumeError) in
            try self.mark(nodes, in: &collection, counts)
        }
    }

    private func mark(
        _ nodes: [(place: TreeWalk.Place, node: Node)], in collection: inout GarbageCollection, _ counts: Bool
    ) throws(VolumeError) {
        var usages: [(block: BlockID, usage: BlockUsage?)] = []
        for (place, node) in nodes {
            if let stored = place.stored { collection.mark(stored.ref.block) }
            var failure: DecodingError?
            node.forEachEntry { key, value in
                do throws(DecodingError) {
                    if let block = try blockReferred(by: key, value) { collection.mark(block) }
                } catch {
                    failure = error
                }
                if counts, let noted = BlockUsage.noted(by: key, value) { usages.append(noted) }
            }
            if let failure { throw .damaged("a tree node (\(failure))") }
        }
        update { state in for (block, usage) in usages { state.sparse.note(block, usage) } }
    }
}

/// A root that is to be walked, with what else is needed to find everything it reaches.
struct AuditedRoot: Sendable {
    let record: RootRecord
    let contents: RootContents
    let changeBlocks: [BlockID]
    /// The same state as in memory: its unstored nodes are what the change blocks say.
    let tree: Tree
    /// A root that is only kept may well be on servers that are away: nothing else should wait for those.
    var patience: Duration?
}
