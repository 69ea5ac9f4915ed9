import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage

extension Volume {
    /// Data rewritten between two commits.
    private static let rewriteBatch = 8 << 20

    /// Starts rewriting, beside everything else, when enough has died; one at a time.
    func rewriteIfWorthIt(isBusy: Bool) {
        let doomed = update { state -> Set<BlockID> in
            guard !state.isRewriting, state.room.has(Self.rewriteBatch),
                state.sparse.isWorthRewriting(volumeBytes: state.room.usedByVolume, isBusy: isBusy)
            else { return [] }
            state.isRewriting = true
            return state.sparse.take()
        }
        guard !doomed.isEmpty else { return }
        Task.detached {
            do throws(VolumeError) {
                try await self.rewrite(doomed)
            } catch {
                self.log.warning("space of mostly deleted blocks could not be given back yet: \(error)")
            }
            self.update { $0.isRewriting = false }
        }
    }

    /// Writes what still lives in mostly dead blocks elsewhere (protocol.md section 5), so that the blocks die: chunks of files are
    /// made unsaved again and sealed in other company, tree nodes are stored anew by the next checkpoint. Ends early when
    /// the lease is lost; the rest is found again by the next audit.
    func rewrite(_ doomed: Set<BlockID>) async throws(VolumeError) {
        try await walk(current { $0.tree }) { (nodes) throws(VolumeError) in
            for (place, node) in nodes {
                guard self.register.isHeld else { return }
                if let stored = place.stored, doomed.contains(stored.ref.block) { try await self.renew(node) }
                var places: [ExtentPlace] = []
                node.forEachEntry { key, value in
                    if let run = runOfFile(key, value), doomed.contains(run.extent.frames.block) { places.append(run.place) }
                }
                for place in places { try await self.renew(place, of: doomed) }
            }
        }
        try await saveRewritten()
    }

    private func renew(_ node: Node) async throws(VolumeError) {
        let key = node.lowestKey
        try await runToEnd { (state) throws(Pause) in
            try state.changeUncounted { (transaction) throws(Interruption) in try transaction.renewNodes(above: key) }
        }
    }

    private func renew(_ place: ExtentPlace, of doomed: Set<BlockID>) async throws(VolumeError) {
        let unsaved: Int
        do throws(VolumeError) {
            unsaved = try await runToEnd { (state) throws(Pause) in try state.renew(place, of: doomed) }
        } catch .failed(.noSuchFileOrDirectory), .failed(.staleNFSFileHandle) {
            // Deleted meanwhile.
            return
        }
        if unsaved > Self.rewriteBatch { try await saveRewritten() }
    }

    private func saveRewritten() async throws(VolumeError) {
        let requests = update { $0.takeLooseChunks(of: $0.dirty.keys.sorted()) }
        for request in requests { sealer.start(request, for: self) }
        await sealer.waitForAll()
        committer.noteChange(self)
    }
}

extension VolumeState {
    /// Makes the chunks of one run unsaved again, if it is still where it was.
    ///
    /// - Returns: bytes of file data that are not sealed now.
    fileprivate mutating func renew(_ place: ExtentPlace, of doomed: Set<BlockID>) throws(Pause) -> Int {
        // Without the lease the volume may be another one by now.
        guard let leaseEnd, ContinuousClock.now < leaseEnd else { return dirtyBytes }
        let extent = try read { (transaction) throws(Interruption) in try transaction.run(at: place) }
        guard let extent, doomed.contains(extent.frames.block) else { return dirtyBytes }
        var renewed: [(chunk: UInt64, bytes: [UInt8])] = []
        for chunk in place.firstChunk..<place.firstChunk + UInt64(extent.count) where dirty[place.inode]?[chunk] == nil {
            renewed.append((chunk, try storedChunk(chunk, of: place.inode)))
        }
        dirtyVersion += 1
        for (chunk, bytes) in renewed where !bytes.isEmpty {
            dirtyBytes += bytes.withUnsafeBytes {
                dirty[place.inode, default: DirtyFile()].write($0, at: 0, chunk: chunk, version: dirtyVersion, base: [])
            }
        }
        return dirtyBytes
    }
}
