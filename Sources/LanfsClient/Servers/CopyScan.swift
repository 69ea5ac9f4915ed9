import LanfsFileSystem
import LanfsNetwork
import LanfsProtocol
import LanfsTree

/// The scan with the key that a server's leaving waits for (B6): `CopyProof` decides what it proves.
extension Volume {
    /// Walks the newest root and asks the servers that take blocks for everything in it that counts.
    ///
    /// - Returns: false when the servers of the volume are others by now: only a new proof can tell.
    func advance(_ proof: inout CopyProof) async throws(VolumeError) -> Bool {
        update { $0.walkers += 1 }
        defer { update { $0.walkers -= 1 } }
        while true {
            let root = try await settledRoot()
            guard root.record.newestConfig.version == proof.configVersion else { return false }
            do throws(VolumeError) {
                proof.begin()
                try await scan(root, &proof)
                for pinned in try await whatElseIsKept(by: root).pinned { try await scan(pinned, &proof) }
                proof.end()
                return true
            } catch {
                // What another client freed meanwhile is no loss; what the newest root reaches has to be readable.
                if current({ $0.chain.record.sequence }) == root.record.sequence { throw error }
            }
        }
    }

    /// Asks once more for some of what lacked copies: they may be made by now.
    func askAgain(_ proof: inout CopyProof) async {
        let asked = Array(proof.lacking.sorted().prefix(CopyProof.batch * 4))
        proof.note(asked, copies: await blocks.storedCopies(of: asked))
    }

    /// The newest root, or the next where the work here never rests.
    private func settledRoot() async throws(VolumeError) -> AuditedRoot {
        while true {
            try await acquireLease()
            let root = update { state -> AuditedRoot? in
                guard !state.hasUncommittedWork else {
                    state.wantsNextRoot = true
                    state.nextRoot = nil
                    return nil
                }
                let chain = state.chain
                return AuditedRoot(
                    record: chain.record, contents: chain.contents, changeBlocks: chain.changeBlocks.map(\.block),
                    tree: state.tree)
            }
            if let root { return root }
            if case .failure(let errno) = await commitHousekeeping() { throw .failed(errno) }
            let next = update { state in
                defer { state.nextRoot = nil }
                return state.nextRoot
            }
            if let next { return next }
        }
    }

    /// The files' blocks are those of the tree in memory. What the stored tree says of them is of the last checkpoint: files
    /// that were overwritten since still have blocks in it that are freed by now. Of that only the nodes count.
    private func scan(_ root: AuditedRoot, _ proof: inout CopyProof) async throws(VolumeError) {
        for block in root.changeBlocks { proof.reach(block) }
        for (tree, isNewest) in [(Tree(root: root.contents.tree), false), (root.tree, true)] {
            try await walk(tree, within: root.patience) { (nodes) throws(VolumeError) in
                for (place, node) in nodes {
                    if let stored = place.stored { proof.reach(stored.ref.block) }
                    if isNewest { try proof.note(node) }
                }
                if proof.pending.count >= CopyProof.batch { await self.ask(&proof) }
            }
        }
        await ask(&proof)
    }

    private func ask(_ proof: inout CopyProof) async {
        let blocks = proof.takePending()
        proof.note(blocks, copies: await self.blocks.storedCopies(of: blocks))
    }
}

extension CopyProof {
    fileprivate mutating func note(_ node: Node) throws(VolumeError) {
        var failure: DecodingError?
        node.forEachEntry { key, value in
            do throws(DecodingError) {
                if let block = try blockReferred(by: key, value) { reach(block) }
            } catch {
                failure = error
            }
        }
        if let failure { throw .damaged("a tree node (\(failure))") }
    }
}

extension BlockPool {
    /// A server that takes longer has none of them, for now.
    private static let answerTime = Duration.seconds(10)

    /// How many of the servers that take blocks have each of these on disk, by their own word (B2).
    fileprivate func storedCopies(of blocks: [BlockID]) async -> [Int] {
        let connections = servers.placement.stores.compactMap(\.connection)
        var copies = Array(repeating: 0, count: blocks.count)
        for start in stride(from: 0, to: blocks.count, by: Request.blockLimit) {
            let range = start..<min(start + Request.blockLimit, blocks.count)
            let answers = await withTaskGroup(of: Set<BlockID>?.self) { group in
                for connection in connections {
                    group.addTask {
                        let reply = await patiently(upTo: Self.answerTime, on: nil) {
                            try? await connection.call(.flush(expecting: Array(blocks[range])))
                        }
                        guard case .missing(let missing)? = reply??.response else { return nil }
                        return Set(missing)
                    }
                }
                return await group.reduce(into: [Set<BlockID>]()) { if let missing = $1 { $0.append(missing) } }
            }
            for missing in answers { for index in range where !missing.contains(blocks[index]) { copies[index] += 1 } }
        }
        return copies
    }
}
