import LanfsFileSystem
import LanfsProtocol
import SystemPackage

extension Volume {
    /// Gets the write lease and with it the newest root. Work of ours that is not committed continues there (L6).
    func acquireLease() async throws(VolumeError) {
        try await asLongAsWanted { () async throws(VolumeError) in try await self.acquireLeaseInTurn() }
    }

    private func acquireLeaseInTurn() async throws(VolumeError) {
        try await leaseLock.withLock { () async throws(VolumeError) in
            guard !current({ $0.hasLease }) else { return }
            try await whileNobodyWrites { () async throws(VolumeError) in try await takeUpSetAside() }
        }
    }

    /// Gets the lease and its root and runs `body` before anybody may count on them. Under `leaseLock`.
    func whileNobodyWrites(_ body: () async throws(VolumeError) -> Void) async throws(VolumeError) {
        // Nothing counts on the lease before its root is loaded.
        update { $0.leaseEnd = nil }
        guard let record = await register.acquire() else { throw .closed }
        // A quorum answered.
        outOfReach.store(.max, ordering: .relaxed)
        let base = update { state in
            state.turn = Turn(since: .now)
            return state.chain.record
        }
        if !(record.sequence == base.sequence && record.sameValue(as: base)) { try await takeOver(record) }
        try await body()
        countOnLease()
    }

    /// The root that came with the lease is loaded.
    func countOnLease() {
        let lost = update { state in
            // Under the lock: a lease that is lost just now is told of after it (`note`).
            state.leaseEnd = register.leaseEnd
            return state.readOnly || !state.hasLease ? [] : state.regainLocks()
        }
        warn(ofLostLocks: lost)
        tellOfGrants()
    }

    private func warn(ofLostLocks lost: Set<InodeNumber>) {
        if !lost.isEmpty {
            log.warning(
                "this machine was away for too long, and \(lost.count == 1 ? "a file" : "\(lost.count) files") that it had locked may be locked elsewhere: whoever has it open here gets ESTALE")
        }
    }

    /// The root moved while this client did not hold the lease.
    private func takeOver(_ record: RootRecord) async throws(VolumeError) {
        let contents = try open(record)
        if let prepared = current({ $0.prepared }), prepared.contents.transaction == contents.transaction {
            // Ours after all: the commit whose outcome was unknown. The committer finds the same and goes on.
            return
        }
        let base = current { $0.chain }
        if record.isMoved(from: base.record) { return adopt(record) }
        guard record.sequence >= base.record.sequence else {
            // F1: stop, with an alarm.
            update { $0.failure = .ioError }
            throw .rolledBack("it shows commit \(record.sequence), and commit \(base.record.sequence) was seen before")
        }
        if current({ $0.hasUnsavedWork }) { try await goOn(from: record) } else { try await load(record, after: base) }
    }

    /// The root that the newest epoch began with (M2): the same state as before, under a new record.
    func adopt(_ record: RootRecord) {
        let isNews = update { state in
            guard record.isMoved(from: state.chain.record) else { return false }
            state.chain.record = record
            return true
        }
        if isNews { remember(record) }
    }

    /// What the register says of the lease.
    func note(_ event: RootRegister.Event) {
        switch event {
        case .leaseMoved:
            let lost = update { state -> Set<InodeNumber> in
                guard state.leaseEnd != nil else { return [] }
                state.leaseEnd = register.leaseEnd
                // What was given up while it had run out.
                return state.hasLease && !state.readOnly ? state.regainLocks() : []
            }
            warn(ofLostLocks: lost)
            if current({ $0.hasLease }) { tellOfGrants() } else { tellOthers() }
        case .wanted:
            let isFirst = update { state in
                defer { state.turn.ends = true }
                return !state.turn.ends
            }
            guard isFirst else { return }
            Task(executorPreference: executor) {
                while let rest = self.current({ $0.turn.rest(.now) }) { try? await Task.sleep(for: rest) }
                self.committer.handOver(self)
            }
        case .joining:
            Task(executorPreference: executor) {
                while !self.isClosed.load(ordering: .acquiring) {
                    if case .success = await self.save() { return self.register.admit() }
                    // They wait until then, or until this client's lease has run out.
                    try? await Task.sleep(for: .seconds(1))
                }
            }
        }
    }

    /// L2: another client waits. Commits what is acknowledged, then releases. Called by the committer.
    ///
    /// - Returns: the operations that are now in a chosen root are those up to this one.
    func handOver() async throws(VolumeError) -> UInt64 {
        try await leaseLock.withLock { () async throws(VolumeError) in
            defer { update { $0.turn.ends = false } }
            guard register.isHeld else { return try await settled(current { $0.committedOperations }) }
            // Somebody asked while this turn was only beginning.
            while let rest = current({ $0.turn.rest(.now) }) { try? await Task.sleep(for: rest) }
            // From here on whoever wants to change something waits for the lock, and then for the lease.
            update { $0.leaseEnd = nil }
            var covered: UInt64 = 0
            do throws(VolumeError) {
                covered = try await commit(mayAcquire: false)
                try await afterCommit()
                // A checkpoint just made is to count: the chain of change blocks must not grow with every hand-over.
                if current({ $0.hasUncommittedWork }) { covered = try await commit(mayAcquire: false) }
            } catch .busy {
                // It was lost before it could be handed over. What is unsaved gets it back in its turn.
                return try await settled(current { $0.committedOperations })
            }
            register.release()
            return covered
        }
    }
}

/// A lock that tasks may hold across suspensions; fair, first come first served.
actor AsyncLock {
    private var isHeld = false
    private var waiters: [CheckedContinuation<Void, Never>] = []

    nonisolated func withLock<Value: Sendable, Failure: Error>(
        _ body: () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        await acquire()
        do {
            let value = try await body()
            await release()
            return value
        } catch {
            await release()
            throw error
        }
    }

    private func acquire() async {
        guard isHeld else {
            isHeld = true
            return
        }
        await withCheckedContinuation { waiters.append($0) }
    }

    private func release() {
        if waiters.isEmpty { isHeld = false } else { waiters.removeFirst().resume() }
    }
}
