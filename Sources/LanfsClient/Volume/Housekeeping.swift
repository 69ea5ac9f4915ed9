import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage

extension Volume {
    /// Takes a range of inode numbers for this client (T4). None is used before a chosen root has the reservation: an operation
    /// that is done again on another root (L6) keeps its numbers, so nobody else may have got them meanwhile.
    func reserveInodeNumbers() async throws(VolumeError) {
        try await reserving.withLock { () async throws(VolumeError) in
            while current({ $0.inodeNumbers.count <= VolumeState.numbersForCopies }) {
                let (numbers, redone) = try await runToEnd { (state) throws(Pause) in
                    let numbers = try state.changeWhenWritable { (transaction) throws(Interruption) in
                        try transaction.reserveInodes()
                    }
                    return (numbers, state.redone)
                }
                if case .failure(let errno) = await save() { throw .failed(errno) }
                // On another root they may be somebody else's.
                update { state in if state.redone == redone { state.inodeNumbers = numbers } }
            }
        }
    }

    /// The last descriptor of a file or directory was closed: if it has no name any more, it goes.
    func releaseIfOrphan(_ inode: InodeNumber) {
        let orphanage = orphanage
        let outcome = perform { (state) throws(Pause) in
            guard !state.handles.isOpen(inode) else { return }
            let links: UInt32
            do throws(Pause) {
                links = try state.read { (transaction) throws(Interruption) in
                    try transaction.attributes(of: inode).linkCount
                }
            } catch .failed {
                return
            }
            guard links == 0 else { return }
            try state.changeWhenWritable { (transaction) throws(Interruption) in
                try transaction.releaseOrphan(inode, of: orphanage)
            }
            state.discardDirty(of: inode, chunks: 0..<UInt64.max)
        }
        if case .later(let rest, _) = outcome { Task.detached { _ = await rest() } }
    }

    /// Removes what deleted and emptied large files left behind, some at a time, so that deleting takes the same time
    /// whatever the size. Returns whether nothing is left.
    func reapTrimmed() async throws(VolumeError) -> Bool {
        try await runToEnd { (state) throws(Pause) in
            try state.changeUncounted { (transaction) throws(Interruption) in try transaction.reapTrimmed(limit: 4096) }
        }
    }

    /// Commits what nobody waits for; nothing when the lease is lost meanwhile.
    func commitHousekeeping() async -> Result<Void, Errno> {
        await committer.wait(for: current { $0.operations }, of: self)
    }

    /// Frees what died in the last commits: a session as short as that of `rm` would leave it to a later one, which a full
    /// server might let write nothing.
    func tidyUpAtTheEnd() async {
        guard register.isHeld else { return }
        do throws(VolumeError) {
            try await freeAllThatDied()
        } catch {
            log.debug("what was deleted is freed by a later session: \(error)")
        }
    }

    /// As far as is known the next write does not fit. But what died since the servers were asked may have made room:
    /// one megabyte that is written again and again takes another one on them each time, until a commit lets go of it.
    /// What lives on in mostly dead blocks is not moved for it (`rewriteIfWorthIt`).
    func findSpace() async throws(VolumeError) {
        try await asLongAsWanted { () async throws(VolumeError) in try await self.findSpaceInTurn() }
    }

    private func findSpaceInTurn() async throws(VolumeError) {
        let searches = current { $0.room.searches }
        try await findingSpace.withLock { () async throws(VolumeError) in
            // Another write's search has ended meanwhile: what it found counts for all.
            guard current({ $0.room.searches }) == searches else { return }
            try await freeAllThatDied()
            try await refreshRoom()
            update { $0.room.searches += 1 }
        }
    }

    private func freeAllThatDied() async throws(VolumeError) {
        // First what needs no commit: on a full server there may be no room for one before.
        try await freeAllDeadBlocks()
        while register.isHeld, try await !reapTrimmed() {}
        if case .failure(let errno) = await commitHousekeeping() { throw .failed(errno) }
        try await freeAllDeadBlocks()
    }

    private func freeAllDeadBlocks() async throws(VolumeError) {
        while register.isHeld, try await freeDeadBlocks() {}
    }

    /// Asks the servers how much room is left.
    func refreshRoom() async throws(VolumeError) {
        // One after the other: an older answer must not take a newer one's place.
        try await askingRoom.withLock { () async throws(VolumeError) in
            let status = try await blocks.status()
            let sent = blocks.outstandingBytes
            update { state in
                state.room.learn(capacity: status.capacity, free: status.free, outstanding: sent + state.dirtyBytes)
                state.room.usedByVolume = status.usedByVolume
            }
        }
    }
}
