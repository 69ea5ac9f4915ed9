import LanfsFileSystem
import LanfsProtocol

/// Finds out that another machine is gone whose locks are in the way, and releases them (L4's sessions, and protocol.md
/// section 4). That is a guess: a machine that was only slow finds its locks gone when it next has the lease, before it changes
/// anything, and whoever counted on them there is told (`SharedLocks.regain`).
extension Volume {
    /// In milliseconds: a session of which no keeper heard for so long is silent. A living one asks something every two seconds.
    private static let silence: UInt32 = 6_000
    /// How long it has to look so, or unknown, from here. Its lease may just have gone to another, or its connections be lost.
    private static let doubt = Duration.seconds(3)
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
            var silentSince: [Incarnation: ContinuousClock.Instant] = [:]
            while !self.isClosed.load(ordering: .acquiring) {
                let silent = await self.silentSessions(of: self.current { $0.locks.otherSessions })
                silentSince = silentSince.filter { silent.contains($0.key) }
                for session in silent where silentSince[session] == nil { silentSince[session] = .now }
                await self.release(Set(silentSince.filter { ContinuousClock.now - $0.value >= Self.doubt }.keys))
                // Before, not within: whoever has the state may take the watch, never the other way round.
                let isWaiting = self.current { $0.locks.isWaiting }
                if self.lockWatch.withLock({ $0.end(unless: isWaiting) }) { return }
                // The pace of the questions.
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    /// Those that no keeper knows or has heard of lately; none when too few keepers answer.
    private func silentSessions(of sessions: Set<Incarnation>) async -> Set<Incarnation> {
        let asked = sessions.sorted().prefix(RegisterRequest.sessionLimit)
        guard let times = await register.queries.silence(of: asked.map(\.session), at: register.place) else { return [] }
        return Set(zip(asked, times).filter { $1.map { $0 >= Self.silence } ?? true }.map(\.0))
    }

    private func release(_ sessions: Set<Incarnation>) async {
        guard !sessions.isEmpty else { return }
        do throws(VolumeError) {
            try await acquireLease()
        } catch {
            return log.debug("locks of machines that are gone stay until the lease can be had: \(error)")
        }
        // That may have taken as long as it takes to come back.
        let gone = await silentSessions(of: sessions)
        let released = update { state in
            let listed = state.hasLease ? gone.intersection(state.locks.otherSessions) : []
            if !listed.isEmpty { state.locks.release(listed) }
            return listed
        }
        guard !released.isEmpty else { return }
        log.notice("released the locks of \(released.count == 1 ? "a machine" : "\(released.count) machines") that left without a word")
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
