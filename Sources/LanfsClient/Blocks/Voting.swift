import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import NIOCore

/// Small blocks that come to the keepers with the question for their vote, where each keeper stores blocks: a commit is one
/// round then instead of two. A keeper says yes once they are on its disk, so what is chosen is on a quorum's disks (B2).
///
/// A value that one keeper has accepted may have to be proposed again, by a client that never saw its blocks (P1). Its record
/// says which they are (``RootContents/carried``), and that client gets them first, from whoever accepted it (`takeUp`).
extension BlockPool {
    /// A vote that takes longer is not what the disks of the others are waited for with.
    private static let patience = Duration.milliseconds(250)

    /// Everything that is on no disk yet, where all of it can come with the votes of `keepers`; else nothing, and it has to be
    /// flushed before.
    func carriable(to keepers: Keepers) -> [BlockID] {
        let placement = servers.placement
        let voters = placement.voters
        guard voters.count > 1, Set(voters.map(\.server)) == Set(keepers.members), voters.allSatisfy(\.isWilling) else {
            return []
        }
        forgetStored(placement)
        return state.withLock { state in
            guard state.uploads.count <= RootContents.carriedLimit, state.bytes <= Limits.carriedSize,
                state.uploads.values.allSatisfy({ $0.chain == nil && $0.refusals.isEmpty })
            else { return [] }
            return state.uploads.keys.sorted()
        }
    }

    /// What was stored before it was known who counts, while the volume was being opened.
    private func forgetStored(_ placement: Servers.Placement) {
        let stored = state.withLock { state in
            state.uploads.filter { $0.value.copies(placement) >= placement.required }.map(\.key)
        }
        if !stored.isEmpty { forget(stored) }
    }

    /// From now on these go to each of `keepers` that has not got them with every question for a vote for these contents.
    func bring(_ blocks: [BlockID], to keepers: [ServerID], with contents: [UInt8]) {
        let lanes = keepers.compactMap(servers.lane)
        state.withLock { state in
            // Where none is left to bring they are on enough disks.
            state.votes = state.votes.filter { $0.value.contains { state.uploads[$0] != nil } }
            state.votes[contents] = blocks
            for block in blocks {
                guard var upload = state.uploads[block] else { continue }
                for lane in lanes where !upload.isOn(lane.server) {
                    upload.targets.append(Target(server: lane.server, since: .now))
                    lane.hold(block, upload.bytes, gcEpoch: upload.gcEpoch)
                }
                state.uploads[block] = upload
            }
        }
    }

    /// What comes with a vote for this value.
    func carried(with record: RootRecord) -> [BlockID]? { state.withLock { $0.votes[record.contents] } }

    /// Asks a keeper, with what it has to store before it says yes.
    func vote(
        _ request: RegisterRequest, with carried: [BlockID], on lane: ServerLane,
        _ completion: @escaping @Sendable (RootRegister.Answer) -> Void
    ) {
        let isAsked = lane.commit(request, with: carried) { answer in
            guard case .refused(let refusal) = answer else { return completion(answer) }
            self.heard(of: lane, .refused(carried, refusal))
            self.placeElsewhere(completion)
        }
        guard !isAsked else { return }
        // Another thread is just sending one of them.
        servers.eventLoop.scheduleTask(in: .milliseconds(1)) { self.vote(request, with: carried, on: lane, completion) }
    }

    /// A keeper's server does not take a block. Once enough others have it (B3) the keeper is asked again without; where there are
    /// not enough, the commit cannot be stored.
    private func placeElsewhere(_ completion: @escaping @Sendable (RootRegister.Answer) -> Void) {
        Task.detached {
            do throws(VolumeError) {
                try await self.flush()
                completion(.lost)
            } catch .refused(let refusal) {
                completion(.refused(refusal))
            } catch {
                completion(.lost)
            }
        }
    }

    /// Returns once these are on the disks of as many servers as a commit needs, which may be more than a quorum. Their votes
    /// say so, as a rule at the same time; where one is late the rest is for `flush`.
    func settle(_ blocks: [BlockID]) async throws(VolumeError) {
        let deadline = ContinuousClock.now + Self.patience
        while true {
            let changes = changes.count
            guard state.withLock({ state in blocks.contains { state.uploads[$0] != nil } }) else { return }
            guard ContinuousClock.now < deadline else { return try await flush() }
            await self.changes.next(after: changes, until: deadline)
        }
    }

    /// Gets the blocks that belong to the vote for a value that somebody proposed, so that they come with the next one as well.
    ///
    /// - Returns: false, where they cannot be had now: those who accepted it are away.
    func takeUp(_ record: RootRecord, _ key: VolumeKey) async -> Bool {
        let carried: [BlockID]
        do throws(VolumeError) {
            carried = try Volume.contents(of: record, key: key).carried
        } catch {
            log.error("what another client was saving cannot be completed here: \(error)")
            return false
        }
        let missing = carried.filter { unflushed($0) == nil }
        let found = await withTaskGroup(of: SealedBlock?.self) { group in
            for block in missing { group.addTask { await self.whole(block).map { SealedBlock(id: block, bytes: $0) } } }
            return await group.reduce(into: [SealedBlock]()) { found, block in if let block { found.append(block) } }
        }
        guard found.count == missing.count else { return false }
        for block in found { hold(block, gcEpoch: record.gcEpoch) }
        if !carried.isEmpty { bring(carried, to: record.config.keepers.members, with: record.contents) }
        return true
    }
}

extension BlockPool.Upload {
    fileprivate func isOn(_ server: ServerID) -> Bool {
        stored.contains(server) || targets.contains { $0.server == server }
    }
}
