import LanfsFileSystem
import SystemPackage

/// flock(2) and fcntl(2) locks: among the processes of this machine and between machines (protocol.md section 4). Where the
/// volume cannot be written, among the processes of this machine.
extension Volume {
    public func testLock(_ handle: Handle, owner: UInt64, range: LockRange) -> Outcome<LockRange?> {
        perform { [self, session = orphanage] (state) throws(Pause) in
            let place = try state.lockPlace(handle, .range)
            guard let kind = FileLockKind(range.kind) else { return nil }
            try state.requireNewestLocks()
            let wanted = FileLock(
                owner: FileLockOwner(session: session, number: owner), kind: kind, start: range.start, end: range.end,
                pid: range.pid)
            let other = state.locks.table.conflict(with: wanted, at: place)
            if let other, other.owner.session != session { watchOtherSessions() }
            return other.map {
                LockRange(
                    kind: $0.kind == .shared ? .shared : .exclusive, start: $0.start, end: $0.end,
                    // Another machine's process has no number here.
                    pid: $0.owner.session == session ? $0.pid : 0)
            }
        }
    }

    public func setLock(_ handle: Handle, owner: UInt64, range: LockRange, wait: Bool) -> Outcome<Void> {
        setLock(handle, space: .range, owner: owner, range: range, wait: wait)
    }

    public func setWholeFileLock(
        _ handle: Handle, owner: UInt64, kind: LockRange.Kind, wait: Bool
    ) -> Outcome<Void> {
        let whole = LockRange(kind: kind, start: 0, end: .max, pid: 0)
        return setLock(handle, space: .whole, owner: owner, range: whole, wait: wait)
    }

    private func setLock(
        _ handle: Handle, space: FileLockSpace, owner number: UInt64, range: LockRange, wait: Bool
    ) -> Outcome<Void> {
        let owner = FileLockOwner(session: orphanage, number: number)
        guard let kind = FileLockKind(range.kind) else {
            return unlock(handle, space, range.start...range.end, of: owner)
        }
        let lock = FileLock(owner: owner, kind: kind, start: range.start, end: range.end, pid: range.pid)
        let outcome = perform { (state) throws(Pause) in try state.take(lock, through: handle, space, waits: wait) }
        switch outcome {
        case .done(.granted):
            // Others may share what was made weaker.
            tellOfGrants()
            return .done(())
        case .done, .later:
            // Whoever had the lease last may be gone, and has a lock there: both are found out at the same time.
            if case .later = outcome, hasOthersLock(handle, space) { watchOtherSessions() }
            return outcome.followed(on: executor) { await self.settle($0, lock, through: handle, space) }
        case .failed(let errno): return .failed(errno)
        }
    }

    private func hasOthersLock(_ handle: Handle, _ space: FileLockSpace) -> Bool {
        current { [session = orphanage] state in
            guard let place = try? state.lockPlace(handle, space) else { return false }
            return state.locks.table.locks(at: place).contains { $0.owner.session != session }
        }
    }

    /// The rest of taking a lock, when it was not granted on the spot.
    private func settle(
        _ answer: LockTable.Answer, _ lock: FileLock, through handle: Handle, _ space: FileLockSpace
    ) async -> Result<Void, Errno> {
        var answer = answer
        while true {
            switch answer {
            case .granted:
                tellOfGrants()
                // What was written under the lock elsewhere is read from now on.
                await allTold()
                return .success(())
            case .refused(let other):
                tellOfGrants()
                if other.owner.session != orphanage { watchOtherSessions() }
                return .failure(.resourceTemporarilyUnavailable)
            case .deadlock: return .failure(.deadlock)
            case .waiting(let ticket):
                tellOfGrants()
                watchOtherSessions()
                switch await waitForLock(ticket) {
                case .granted: answer = .granted
                case .interrupted: return .failure(.interrupted)
                case .forgotten:
                    do throws(Errno) {
                        answer = try await run { (state) throws(Pause) in
                            try state.take(lock, through: handle, space, waits: true)
                        }
                    } catch {
                        return .failure(error)
                    }
                }
            }
        }
    }

    /// Nothing was changed when it was interrupted.
    private func waitForLock(_ ticket: LockTable.Ticket) async -> SharedLocks.News {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (waiter: CheckedContinuation<SharedLocks.News, Never>) in
                let known = update { $0.locks.wait(for: ticket, waiter) }
                if let known { waiter.resume(returning: known) }
            }
        } onCancel: {
            update { $0.locks.cancel(ticket) }
            tellOthers()
        }
    }

    private func unlock(
        _ handle: Handle, _ space: FileLockSpace, _ range: ClosedRange<UInt64>, of owner: FileLockOwner
    ) -> Outcome<Void> {
        let result = attempt { (state) throws(Pause) in
            let place = try state.lockPlace(handle, space)
            return (isTold: !state.unlock(range, of: owner, at: place), isSaved: !state.hasUnsavedWork)
        }
        switch result {
        case .success(let (isTold, isSaved)):
            tellOfGrants()
            let saves = !isSaved && isShared
            if isTold, !saves { return .done(()) }
            return .later({
                // Who gets the lock next reads what was written under it; and whoever is told that it is free finds it so.
                let outcome = saves ? await self.savedForReaders(handle) : .success(())
                return isTold ? outcome : await self.othersTold()
            }, on: executor)
        case .failure(.failed(let errno)): return .failed(errno)
        case .failure: return .failed(.ioError)
        }
    }

    // MARK: The other machines

    private static let unlockPatience = Duration.seconds(2)

    /// Another machine's request was granted here: a commit tells it.
    func tellOfGrants() {
        if update({ $0.locks.takeGrantsElsewhere() }) { committer.hurry(self) }
    }

    /// Locks were given up without the lease: they go from the table with it, and with the commit that follows.
    func tellOthers() {
        guard current({ $0.locks.owes && !$0.readOnly }) else { return }
        Task(executorPreference: executor) {
            await self.giveUpElsewhere()
            self.committer.hurry(self)
        }
    }

    func othersTold() async -> Result<Void, Errno> {
        _ = await patiently(upTo: Self.unlockPatience, on: executor) { await self.giveUpElsewhere() }
        return .success(())
    }

    private func giveUpElsewhere() async {
        do throws(VolumeError) {
            try await acquireLease()
        } catch {
            log.debug("locks that were given up stay in the volume until the lease can be had: \(error)")
        }
    }

    /// At the end of the session: nobody should have to find out that it is gone.
    func releaseOwnLocks() async {
        let isListed = update { state in
            state.locks.forgetAll()
            return state.locks.isListed && !state.readOnly
        }
        guard isListed else { return }
        let outcome = await patiently(upTo: Self.unlockPatience, on: executor) {
            await self.giveUpElsewhere()
            self.update { state in if state.hasLease { _ = state.regainLocks() } }
            return await self.commitHousekeeping()
        }
        if case .success? = outcome { return }
        log.debug("this machine's locks stay in the volume until another finds it gone")
    }
}

extension VolumeState {
    fileprivate func lockPlace(_ handle: Handle, _ space: FileLockSpace) throws(Pause) -> LockTable.Place {
        guard let file = handles.files[handle] else { throw .failed(.badFileDescriptor) }
        return LockTable.Place(space: space, inode: file.inode)
    }

    /// Who has the lease has the newest table.
    fileprivate func requireNewestLocks() throws(Pause) {
        if !readOnly { try requireWritable() }
    }

    fileprivate mutating func take(
        _ lock: FileLock, through handle: Handle, _ space: FileLockSpace, waits: Bool
    ) throws(Pause) -> LockTable.Answer {
        try requireNewestLocks()
        let place = try lockPlace(handle, space)
        guard !handles.isExpired(handle) else { throw .failed(.staleNFSFileHandle) }
        handles.update(handle) { file in
            if space == .whole { file.wholeLockOwner = lock.owner.number } else { file.rangeOwners.insert(lock.owner.number) }
        }
        turn.changed(.now)
        return locks.lock(lock, at: place, waits: waits)
    }

    /// - Returns: whether others see it only once the lease is here.
    mutating func unlock(_ range: ClosedRange<UInt64>, of owner: FileLockOwner, at place: LockTable.Place) -> Bool {
        locks.unlock(range, of: owner, at: place, isLeased: readOnly || hasLease)
    }

    /// The lease is here, and its root. Returns the files whose locks are lost: whoever has them open is told.
    mutating func regainLocks() -> Set<InodeNumber> {
        let lost = locks.regain()
        if locks.isChanged { turn.changed(.now) }
        for inode in lost { expireHandles(of: inode) }
        return lost
    }

    /// Whoever has it open is told.
    mutating func expireHandles(of inode: InodeNumber) {
        handles.expire(inode)
        ghosts[inode] = nil
    }

    /// What another client's root says.
    mutating func replaceLocks(with records: LockTable.Records) throws(Pause) {
        guard !readOnly else { return }
        do throws(LockDamage) {
            for inode in try locks.replace(with: records) { expireHandles(of: inode) }
        } catch {
            throw .failed(.ioError)
        }
    }
}

extension FileLockKind {
    fileprivate init?(_ kind: LockRange.Kind) {
        switch kind {
        case .shared: self = .shared
        case .exclusive: self = .exclusive
        case .unlock: return nil
        }
    }
}
