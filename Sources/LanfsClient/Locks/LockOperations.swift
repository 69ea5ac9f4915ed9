import LanfsFileSystem
import SystemPackage

extension Volume {
    public func testLock(_ handle: Handle, owner: UInt64, range: LockRange) -> Outcome<LockRange?> {
        perform { [session = orphanage] (state) throws(Pause) in
            let place = try state.lockPlace(handle, .range)
            guard let kind = FileLockKind(range.kind) else { return nil }
            let wanted = FileLock(
                owner: FileLockOwner(session: session, number: owner), kind: kind, start: range.start, end: range.end,
                pid: range.pid)
            return state.locks.conflict(with: wanted, at: place).map {
                LockRange(
                    kind: $0.kind == .shared ? .shared : .exclusive, start: $0.start, end: $0.end, pid: $0.pid)
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
        let result = attempt { (state) throws(Pause) -> LockTable.Ticket? in
            let place = try state.lockPlace(handle, space)
            if space == .whole { state.handles.update(handle) { $0.wholeLockOwner = number } }
            guard let kind = FileLockKind(range.kind) else {
                state.locks.unlock(range.start...range.end, of: owner, at: place)
                state.grantLocks()
                return nil
            }
            let lock = FileLock(owner: owner, kind: kind, start: range.start, end: range.end, pid: range.pid)
            let answer = wait ? state.locks.lockOrWait(lock, at: place) : state.locks.lock(lock, at: place)
            switch answer {
            case .granted:
                state.grantLocks()
                return nil
            case .refused: throw .failed(.resourceTemporarilyUnavailable)
            case .waiting(let ticket): return ticket
            case .deadlock: throw .failed(.deadlock)
            }
        }
        switch result {
        case .success(nil): return .done(())
        case .success(let ticket?): return .later { await self.waitForLock(ticket) }
        case .failure(.failed(let errno)): return .failed(errno)
        case .failure: return .failed(.ioError)
        }
    }

    /// Ends when the lock is granted, or with EINTR when the task is cancelled: nothing was changed then.
    private func waitForLock(_ ticket: LockTable.Ticket) async -> Result<Void, Errno> {
        let isGranted = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
                let known = update { state -> Bool? in
                    if state.cancelledLocks.remove(ticket) != nil { return false }
                    guard state.locks.waiting.contains(where: { $0.ticket == ticket }) else { return true }
                    state.lockWaiters[ticket] = continuation
                    return nil
                }
                if let known { continuation.resume(returning: known) }
            }
        } onCancel: {
            let waiter = update { state -> CheckedContinuation<Bool, Never>? in
                // Granted already: the lock is held, and the caller hears that.
                guard state.locks.waiting.contains(where: { $0.ticket == ticket }) else { return nil }
                state.locks.cancel(ticket)
                let waiter = state.lockWaiters.removeValue(forKey: ticket)
                if waiter == nil { state.cancelledLocks.insert(ticket) }
                return waiter
            }
            waiter?.resume(returning: false)
        }
        return isGranted ? .success(()) : .failure(.interrupted)
    }
}

extension VolumeState {
    fileprivate func lockPlace(_ handle: Handle, _ space: FileLockSpace) throws(Pause) -> LockTable.Place {
        guard let file = handles.files[handle] else { throw .failed(.badFileDescriptor) }
        return LockTable.Place(space: space, inode: file.inode)
    }

    /// Wakes whoever has now got what they waited for.
    mutating func grantLocks() {
        for granted in locks.grantWaiting() {
            lockWaiters.removeValue(forKey: granted.ticket)?.resume(returning: true)
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
