import LanfsProtocol
import SystemPackage

extension Volume {
    /// Makes sure that this client may commit.
    func holdLease() async throws(VolumeError) {
        if register.isHeld { return }
        try await acquireLease()
    }

    /// Gets the write lease and with it the newest root. Work of ours that is not committed continues on the root it
    /// was based on, or not at all.
    func acquireLease() async throws(VolumeError) {
        let outcome = await patiently(upTo: options.timeout) { () async -> Result<Void, VolumeError> in
            do throws(VolumeError) {
                return .success(try await self.acquireLeaseInTurn())
            } catch {
                return .failure(error)
            }
        }
        guard let outcome else { throw Task.isCancelled ? .failed(.interrupted) : .timedOut }
        try outcome.get()
    }

    private func acquireLeaseInTurn() async throws(VolumeError) {
        try await leaseLock.withLock { () async throws(VolumeError) in
            guard current({ $0.leaseEnd.map { ContinuousClock.now >= $0 } ?? true }) else { return }
            guard let record = await register.acquire() else { throw .closed }
            let base = current { $0.chain.record }
            if !(record.sequence == base.sequence && record.sameValue(as: base)) {
                try await takeOver(record)
            }
            let end = register.leaseEnd
            update { $0.leaseEnd = end }
        }
    }

    /// The root moved while this client did not hold the lease.
    private func takeOver(_ record: RootRecord) async throws(VolumeError) {
        let contents = try open(record)
        if let prepared = current({ $0.prepared }), prepared.contents.transaction == contents.transaction {
            // Ours after all: the commit whose outcome was unknown. The committer finds the same and goes on.
            return
        }
        guard !current({ $0.hasUncommittedWork }) else {
            update { $0.failure = .ioError }
            throw .overtaken
        }
        try await load(record)
    }

    /// What the register says of the lease.
    func note(_ event: RootRegister.Event) {
        switch event {
        case .leaseMoved:
            let end = register.leaseEnd
            update { state in if state.leaseEnd != nil { state.leaseEnd = end } }
        case .wanted:
            Task.detached { await self.handOver() }
        }
    }

    /// L2: another client waits. Commits what is acknowledged, then releases.
    private func handOver() async {
        await leaseLock.withLock {
            guard register.isHeld else { return }
            let operations = update { state in
                state.leaseEnd = nil
                return state.operations
            }
            if case .failure(let errno) = await committer.wait(for: operations, of: self) {
                log.warning("another client waits to write, but this one cannot save its work yet: \(errno)")
                return
            }
            register.release()
        }
    }
}

extension Volume {
    /// Without the lease this client reads its last chosen root, and asks every two seconds whether there is a newer one
    /// (L5, P4).
    func followRoot(_ queries: RegisterQueries) {
        Task { [weak self] in
            while (try? await Task.sleep(for: .seconds(2))) != nil {
                guard let self, !self.isClosed.load(ordering: .relaxed) else { return }
                do throws(VolumeError) {
                    try await self.refreshRoot(queries)
                } catch {
                    self.log.debug("the newest root could not be read: \(error)")
                }
            }
        }
    }

    private func refreshRoot(_ queries: RegisterQueries) async throws(VolumeError) {
        let base = current { $0.chain.record }
        guard !register.isHeld, link.current != nil, let newest = try await queries.chosenRecord(near: base),
            newest.isNewer(than: base)
        else { return }
        try await leaseLock.withLock { () async throws(VolumeError) in
            // What was acknowledged here is based on the older root: the lease decides about it, not this look.
            guard !register.isHeld, !current({ $0.hasUncommittedWork }) else { return }
            try await load(newest)
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
