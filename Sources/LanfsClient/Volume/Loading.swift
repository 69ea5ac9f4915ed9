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

    /// Makes the state of `record` the one this client works on.
    func load(_ record: RootRecord) async throws(VolumeError) {
        let contents = try open(record)
        let base = current { $0.chain }
        do throws(VolumeError) {
            let memory = RollbackMemory(base.record, base.contents.recoveries, VolumeSigner(key: key.signingKey))
            try contents.recoveries.check(record, against: memory)
        } catch {
            update { $0.failure = .ioError }
            throw error
        }
        // A snapshot stays what it is; only who has the volume's blocks goes on.
        guard !current({ $0.showsSnapshot }) else {
            update { $0.chain = CommitChain(record: record, contents: contents) }
            return remember(record)
        }
        let (changes, changeBlocks) = try await changes(since: contents)
        let chain = CommitChain(
            record: record, contents: contents, changeBlocks: changeBlocks,
            nextNumber: contents.transaction.incarnation == incarnation ? contents.transaction.number + 1 : 1)
        try await runToEnd { (state) throws(Pause) in
            var tree = Tree(root: contents.tree)
            do throws(MissingNode) {
                try tree.apply(changes, nodes: state.nodes)
            } catch {
                throw .node(error)
            }
            // Nothing that was acknowledged is dropped: callers see to that, and this makes sure.
            guard !state.hasUnsavedWork else { throw .failed(.resourceBusy) }
            state.tree = tree
            state.chain = chain
            state.pending = [:]
            // It was planned for another root.
            state.membership = nil
            // Without unsaved work, what is unsealed is being rewritten, and as of the older root.
            state.dropDirty()
            state.loads += 1
            state.inodeNumbers = 0..<0
            state.changedElsewhere.formUnion(state.lookups.keys)
        }
        remember(record)
    }

    /// What the change blocks of a root say, the oldest first.
    func changes(
        since contents: RootContents, within patience: Duration? = nil
    ) async throws(VolumeError) -> ([Change], [ChangeBlock]) {
        var sets: [ChangeSet] = []
        var blocks: [ChangeBlock] = []
        var next = contents.newestChange
        while let ref = next {
            do {
                let set = try ChangeSet(joining: try await self.blocks.frames(ref, within: patience))
                blocks.append(ChangeBlock(block: ref.block, length: ref.length, base: max(1, set.sequence) - 1))
                next = set.previous
                sets.append(set)
            } catch let error as VolumeError {
                throw error
            } catch {
                throw .damaged("change block \(ref.block.hex.prefix(16)) (\(error))")
            }
            guard sets.count <= 1 << 16 else { throw .damaged("the chain of change blocks, which does not end,") }
        }
        return (sets.reversed().flatMap(\.changes), blocks.reversed())
    }
}

extension VolumeState {
    mutating func missingFrames(of inode: InodeNumber, in range: Range<UInt64>) throws(Pause) -> [FrameRef] {
        let plan = try read { (transaction) throws(Interruption) in
            try transaction.readPlan(inode, offset: range.lowerBound, count: range.count)
        }
        return plan.compactMap { piece in
            if case .frame(let ref, _, _) = piece, !frames.contains(ref.name) { ref } else { nil }
        }
    }
}
