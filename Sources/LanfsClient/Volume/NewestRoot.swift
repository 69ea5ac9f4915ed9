import LanfsProtocol
import SystemPackage

/// L5: without the lease this client reads its last chosen root, and asks for the newest when a file is opened.
extension Volume {
    /// How long an open waits for that: with too few keepers that answer, what is known here has to do.
    private static let patience = Duration.seconds(2)
    /// While enough of them do, what may keep the newest root from being known is a writer that vanished in the middle of a
    /// commit: that is over with its lease (P4).
    private static let longestPatience = LeaseTiming.standard.length + .seconds(5)

    /// What came of looking for the newest root.
    struct RootLook: Sendable {
        /// Every commit that was chosen before the look is here now.
        var isNewest: Bool
        /// No other session is on the volume, as far as one knows.
        var isAlone: Bool
    }

    /// Asks when a keeper says that there is a newer root, and every two seconds: that word is only a hint (P4). Less often while
    /// nobody wants to know: only so that what is known here does not become too old to be read (G7).
    func followRoot() {
        Task(executorPreference: executor) { [weak self, news = watch.news] in
            var heard = news.count
            var askedAt = ContinuousClock.now
            while true {
                await news.next(after: heard, until: .now + .seconds(2))
                heard = news.count
                guard let self, !self.isClosed.load(ordering: .relaxed) else { return }
                let isIdle = self.attention.isIdle()
                if isIdle, ContinuousClock.now - askedAt > .seconds(10) || !self.attention.isAway { self.leaveKeepers() }
                // Whoever holds the lease knows the newest root. It asks to stay known as a session (L4).
                let isMissed = self.isMissed
                let isAway = isIdle && self.attention.isAway && !isMissed
                guard !self.register.isHeld && !isAway || ContinuousClock.now - askedAt > .seconds(10) else { continue }
                askedAt = .now
                do throws(VolumeError) {
                    let look = try await self.refreshRoot(within: .seconds(15), asSession: !isAway)
                    if look.isNewest { self.outOfReach.store(.max, ordering: .relaxed) }
                    // A commit was left half done, which a new holder completes (P4).
                    if !look.isNewest, !self.options.readOnly, !self.register.isHeld { try await self.acquireLease() }
                } catch {
                    self.log.debug("the newest root could not be read: \(error)")
                }
            }
        }
    }

    /// It has locks, which others would take for those of a machine that is gone, or work to be saved.
    private var isMissed: Bool { current { $0.hasUnsavedWork || !$0.locks.held.isEmpty || $0.locks.isWaiting || $0.locks.isListed } }

    /// Ends the session at the keepers, unless somebody would miss it there. Said again now and then: a look that came to nothing may
    /// have made it known again.
    private func leaveKeepers() {
        guard !register.isHeld, !isMissed, let place = register.place else { return }
        attention.leave()
        register.queries.leave(place)
    }

    /// Looks for the newest root, and goes on from it.
    ///
    /// - Parameter asSession: as one that counts on what others have closed (L4).
    @discardableResult
    func refreshRoot(within patience: Duration, asSession: Bool = true) async throws(VolumeError) -> RootLook {
        let base = current { $0.chain.record }
        guard servers.isReachable else { return RootLook(isNewest: false, isAlone: false) }
        let found = try await register.queries.newest(from: base, asSession: asSession, until: .now + patience)
        if let newest = found.chosen, newest.isNewer(than: base) {
            try await leaseLock.withLock { () async throws(VolumeError) in
                // Whoever got the lease meanwhile has a root at least as new. What was acknowledged here is based on the older
                // root: the lease decides about it, not this look. And another look may have come first.
                guard !register.isHeld, !current({ $0.hasUnsavedWork }), newest.isNewer(than: current({ $0.chain.record }))
                else { return }
                update { $0.leaseEnd = nil }
                try await load(newest)
            }
            if !register.isHeld { tellOthers() }
        }
        // With unsaved work of an older root, as after a long stop, the lease has yet to decide what becomes of that (L6).
        let known = current { $0.chain.record }
        let isNewest = found.chosen.map { !$0.isNewer(than: known) } ?? false
        if asSession, isNewest, attention.isAway {
            attention.comeBack()
            // From now on every commit is of interest.
            watch.news.happened()
        }
        return RootLook(isNewest: isNewest, isAlone: found.isAlone)
    }

    private var canAskKeepers: Bool { servers.canAskKeepers(of: current { $0.chain.record }) }

    /// `nil`: what is known here has to do.
    private func lookForNewest() async -> RootLook? {
        var end = ContinuousClock.now + Self.longestPatience
        // Whose connections are lost may have them again in a moment.
        var outOfReachAfter = ContinuousClock.now + Self.patience
        repeat {
            let begun = ContinuousClock.now
            let look = await patiently(upTo: Self.patience, on: executor) { () async -> RootLook? in
                try? await self.refreshRoot(within: Self.patience)
            }
            if let look = look.flatMap({ $0 }), look.isNewest { return look }
            // What failed at once would else be asked again in a loop.
            try? await Task.sleep(for: .milliseconds(50))
            // While this machine stood still, suspended or stopped, nobody was silent; and others have gone on.
            let taken = ContinuousClock.now - begun
            if taken > Self.patience * 2 {
                end += taken
                outOfReachAfter = .now + Self.patience
            }
        } while (canAskKeepers || ContinuousClock.now < outOfReachAfter) && ContinuousClock.now < end && !Task.isCancelled
        return nil
    }

    /// The kernel has heard of what others changed, as far as it can be read here.
    func allTold() async {
        // A moment, on another thread or on this one. Who is interrupted hears of no answer: a sleep that ends at once would
        // keep the thread from whoever has to tell.
        while current({ $0.tellings > 0 }), (try? await Task.sleep(for: .microseconds(100))) != nil {}
    }

    /// As `perform`, on a root at least as new as this call: without the lease another client may have made one.
    func performOnNewest<Value: Sendable>(
        _ body: @escaping @Sendable (inout VolumeState) throws(Pause) -> Value
    ) -> Outcome<Value> {
        _ = attention.note()
        let isHeld = current { $0.hasLease }
        let changes = servers.changes.count
        guard !isHeld, outOfReach.load(ordering: .relaxed) != changes else { return performOnKnown(body) }
        return .later({
            if let look = await self.lookForNewest() {
                // From then on nothing has to be asked.
                if look.isAlone, !self.options.readOnly { Task { try? await self.acquireLease() } }
            } else if !Task.isCancelled, !self.canAskKeepers {
                // Not again at each open, until it is in reach or a server comes.
                self.outOfReach.store(changes, ordering: .relaxed)
            }
            await self.allTold()
            do throws(Errno) {
                return .success(try await self.run(body))
            } catch {
                return .failure(error)
            }
        }, on: executor)
    }
}
