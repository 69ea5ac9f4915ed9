import LanfsFileSystem
import LanfsProtocol

/// Finds out that another machine is gone whose locks are in the way, and releases them (L4's sessions, and protocol.md
/// section 4). That is a guess: a machine that was only slow finds its locks gone when it next has the lease, before it changes
/// anything, and whoever counted on them there is told (`SharedLocks.regain`).
extension Volume {
    /// By the word of the keepers, a session that asked nothing for so long. A living one reads every two seconds and, with
    /// the lease, renews that every three.
    private static let silence: UInt32 = 8_000
    /// One that no keeper knows may have lost its connections a moment ago.
    private static let absence = Duration.seconds(3)
    /// After the last time that a lock was in the way.
    private static let attention = Duration.seconds(15)

    /// To be called whenever another machine's lock is in the way.
    func watchOtherSessions() {
        let isFirst = lockWatch.withLock { watch in
            defer { watch.until = .now + Self.attention }
            return watch.begin()
        }
        guard isFirst else { return }
        Task(executorPreference: executor) {
            var absentSince: [Incarnation: ContinuousClock.Instant] = [:]
            while !self.isClosed.load(ordering: .acquiring) {
                await self.release(await self.silentSessions(&absentSince))
                let isOver = self.lockWatch.withLock { watch in
                    watch.end(unless: self.current { $0.locks.isWaiting })
                }
                if isOver { return }
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    /// - Parameter absentSince: which were not known at any keeper, and since when.
    private func silentSessions(_ absentSince: inout [Incarnation: ContinuousClock.Instant]) async -> Set<Incarnation> {
        let others = current { $0.locks.otherSessions }.sorted().prefix(RegisterRequest.sessionLimit)
        let times = await register.queries.silence(of: others.map(\.session), at: register.place)
        guard !others.isEmpty, let times else {
            absentSince = [:]
            return []
        }
        var gone: Set<Incarnation> = []
        for (session, time) in zip(others, times) {
            if let time {
                absentSince[session] = nil
                if time >= Self.silence { gone.insert(session) }
            } else {
                let since = absentSince[session] ?? .now
                absentSince[session] = since
                if ContinuousClock.now - since >= Self.absence { gone.insert(session) }
            }
        }
        return gone
    }

    private func release(_ sessions: Set<Incarnation>) async {
        guard !sessions.isEmpty else { return }
        do throws(VolumeError) {
            try await acquireLease()
        } catch {
            return log.debug("locks of machines that are gone stay until the lease can be had: \(error)")
        }
        let isReleased = update { state in
            guard state.leaseEnd != nil, !state.locks.otherSessions.isDisjoint(with: sessions) else { return false }
            state.locks.release(sessions)
            return true
        }
        guard isReleased else { return }
        log.notice("released the locks of \(sessions.count == 1 ? "a machine" : "\(sessions.count) machines") that left without a word")
        tellOfGrants()
    }
}

/// Whether somebody looks after the other sessions, and how long still.
struct LockWatch {
    private var isRunning = false
    var until = ContinuousClock.now

    /// Whether nobody does so far.
    mutating func begin() -> Bool {
        defer { isRunning = true }
        return !isRunning
    }

    mutating func end(unless isWaiting: Bool) -> Bool {
        if !isWaiting, ContinuousClock.now > until { isRunning = false }
        return !isRunning
    }
}

extension Incarnation {
    /// As the keepers know it.
    fileprivate var session: ProposerID { ProposerID(high) << 64 | ProposerID(low) }
}

extension RegisterQueries {
    private static let patience = Duration.seconds(1)

    /// How long each of these was silent at the keeper that heard of it last, in milliseconds, `nil` where none knows it; or
    /// nothing, when too few keepers answer.
    fileprivate func silence(of sessions: [ProposerID], at place: RegisterPlace?) async -> [UInt32?]? {
        guard let place, !sessions.isEmpty else { return nil }
        let request = RegisterRequest(epoch: place.epoch, sender: sender, body: .sessions(sessions))
        let exchange = Exchange(until: .now + Self.patience)
        defer { exchange.end() }
        for keeper in place.keepers.members { exchange.send(request, to: keeper, by: transport) }
        var answers: [ServerID: [UInt32?]] = [:]
        var pending = place.keepers.members.count
        for await event in exchange.events {
            switch event {
            case .answered(let keeper, _, let response):
                if case .silence(let times) = response.verdict, times.count == sessions.count { answers[keeper] = times }
                pending -= 1
            case .lost: pending -= 1
            case .deadline: pending = 0
            case .tick: break
            }
            if pending <= 0 { break }
        }
        guard answers.count >= place.keepers.quorum else { return nil }
        return sessions.indices.map { index in answers.values.compactMap { $0[index] }.min() }
    }
}
