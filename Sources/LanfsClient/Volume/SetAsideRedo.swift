import LanfsCrypto
import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import NIOCore
import SystemPackage

extension Volume {
    /// L6: what an earlier session set aside is done again on what others made since. Only while the volume is being opened:
    /// what is seen meanwhile is the tree from before.
    func redoSetAside() async throws(VolumeError) {
        let path = SetAside.path(of: id, directories)
        guard !options.readOnly, try SetAside.isThere(path), let aside = try SetAside.load(path), try isOvertaken(aside) else {
            return
        }
        try await reserveInodeNumbers()
        do throws(VolumeError) {
            try await leaseLock.withLock { () async throws(VolumeError) in
                try await whileNobodyWrites { () async throws(VolumeError) in try await redo(aside) }
            }
        } catch {
            blocks.forget(aside.blocks.map(\.id))
            switch error {
            // Servers may be back by then.
            case .network, .noServer, .busy, .closed, .timedOut, .failed(.resourceBusy):
                return log.error("work of an earlier session is done again when the volume is opened the next time: \(error)")
            default: break
            }
            let kept = FilePath("\(path).\(aside.base.sequence)-\(incarnation)")
            try rename(path, to: kept)
            return log.critical(
                "work of an earlier session could not be done again on what other clients made meanwhile. It is kept in \(kept)",
                metadata: ["reason": "\(error)"])
        }
        let held = aside.blocks.map(\.id)
        blocks.forget(try await runToEnd { (state) throws(Pause) in try state.unnamed(among: held) })
        if case .failure(let errno) = await save() { throw .failed(errno) }
        try remove(path)
        log.notice("the work of an earlier session that had been set aside is done again on what other clients made meanwhile")
    }

    /// Nobody commits meanwhile either: with the tree from before, and nothing that is different from the root, that would be an
    /// empty commit with all the operations in it.
    private func redo(_ aside: SetAside) async throws(VolumeError) {
        let (chain, tree) = current { ($0.chain, $0.tree) }
        try await goBack(to: aside, on: chain.contents)
        do throws(VolumeError) {
            try await goingOn.withLock { () async throws(VolumeError) in
                try await redo(on: chain.record, chain.contents, sentWith: aside.base.gcEpoch)
            }
        } catch {
            update { state in
                state.tree = tree
                state.log = OperationLog()
                state.operations = state.committedOperations
                state.redo = nil
            }
            throw error
        }
    }

    /// The tree and the log as they were when the work was set aside, without what is in a chosen root (T5).
    private func goBack(to aside: SetAside, on newest: RootContents) async throws(VolumeError) {
        guard let last = aside.commits.last else { throw .damaged("the unsaved work, which has no commit,") }
        let contents = try Self.contents(last.contents, key: key)
        let committed = try committedOperations(of: aside, in: newest)
        let operations: OperationLog
        do {
            operations = try OperationLog(decoding: FrameSeal.open(aside.log, key: key.treeKey, index: SetAside.logIndex))
        } catch {
            throw .damaged("the log of the unsaved work (\(error))")
        }
        let gcEpoch = current { $0.chain.record.gcEpoch }
        for block in aside.blocks {
            blocks.hold(SealedBlock(id: block.id, bytes: ByteBuffer(bytes: block.bytes)), gcEpoch: gcEpoch)
        }
        let (changes, _) = try await changes(since: contents)
        try await runToEnd { (state) throws(Pause) in
            guard !state.hasUnsavedWork else { throw .failed(.resourceBusy) }
            var tree = Tree(root: contents.tree)
            do throws(MissingNode) {
                try tree.apply(changes, nodes: state.nodes)
            } catch {
                throw .node(error)
            }
            state.tree = tree
            // What could not even be set aside is not done again without its bytes.
            state.log = operations.continued(after: committed, upTo: last.operations, as: state.operations)
            state.operations += UInt64(state.log.entries.count)
        }
    }

    /// How many of them are in a chosen root (T5).
    private func committedOperations(of aside: SetAside, in newest: RootContents) throws(VolumeError) -> UInt64 {
        var committed: UInt64 = 0
        for commit in aside.commits {
            let transaction = try Self.contents(commit.contents, key: key).transaction
            if let known = newest.lastCommit(of: transaction.incarnation), known >= transaction.number {
                committed = commit.operations
            }
        }
        return committed
    }

    private func isOvertaken(_ aside: SetAside) throws(VolumeError) -> Bool {
        let (record, contents) = current { ($0.chain.record, $0.chain.contents) }
        if isBase(aside.base, of: record, contents) { return false }
        for commit in aside.commits where try Self.contents(commit.contents, key: key).transaction == contents.transaction {
            return false
        }
        return true
    }
}
