import LanfsProtocol
import Synchronization

/// Seals file data in the background, so that a long write streams and a commit finds little left to do.
final class Sealer: Sendable {
    private struct State {
        /// Seals are numbered as they start; those that have not finished.
        var active: Set<UInt64> = []
        var next: UInt64 = 0
        var oneWaiters: [CheckedContinuation<Result<Bool, VolumeError>, Never>] = []
    }

    private let state = Mutex(State())

    func start(_ request: SealRequest, for volume: Volume) {
        let number = state.withLock { state in
            defer { state.next += 1 }
            state.active.insert(state.next)
            return state.next
        }
        Task.detached {
            self.finish(number, await volume.seal(request))
        }
    }

    /// Returns when one more seal has finished, at once, and `false`, when none is under way.
    ///
    /// - Throws: what kept that seal from storing its data.
    func waitForOne() async throws(VolumeError) -> Bool {
        try await withCheckedContinuation { (continuation: CheckedContinuation<Result<Bool, VolumeError>, Never>) in
            let waits = state.withLock { state in
                guard !state.active.isEmpty else { return false }
                state.oneWaiters.append(continuation)
                return true
            }
            if !waits { continuation.resume(returning: .success(false)) }
        }.get()
    }

    /// Returns when none is under way of the seals that are now: a writer that streams starts others for ever, and no
    /// commit would come. What one of them could not store is still unsealed.
    func waitForAll() async {
        let end = state.withLock { $0.next }
        while state.withLock({ $0.active.contains { $0 < end } }) {
            do throws(VolumeError) {
                if try await !waitForOne() { return }
            } catch {
                continue
            }
        }
    }

    private func finish(_ number: UInt64, _ result: Result<Void, VolumeError>) {
        let waiters = state.withLock { state in
            state.active.remove(number)
            defer { state.oneWaiters = [] }
            return state.oneWaiters
        }
        for waiter in waiters { waiter.resume(returning: result.map { true }) }
    }
}

extension Volume {
    /// Seals, sends, and names the result in the tree. The data stays in memory as dirty until the tree names its
    /// block, so a reader always finds it in one of the two.
    fileprivate func seal(_ request: SealRequest) async -> Result<Void, VolumeError> {
        do throws(VolumeError) {
            // Before sealing: a block that waits would take its memory a second time.
            try await blocks.waitForRoom()
            // A commit may have sealed it meanwhile.
            guard current({ $0.needs(request) }) else { return .success(()) }
            let block = SealedBlock(frames: request.pieces.map(\.bytes), in: blocks.spareBuffer())
            var isAdopted = false
            while !isAdopted {
                let tag = current { $0.chain.record.gcEpoch }
                try await blocks.upload(block, gcEpoch: tag)
                isAdopted = try await runToEnd { (state) throws(Pause) in
                    // G2: collections that overtook the upload could sweep it; it is sent again with a newer tag.
                    let base = state.prepared?.gcEpoch ?? state.chain.record.gcEpoch
                    guard UploadFence.allows(base: base, tag: tag) else { return false }
                    try state.adopt(block, for: request)
                    return true
                }
            }
            return .success(())
        } catch {
            // The data stays unsealed; whoever waits for room is told, and the next commit tries again.
            update { $0.unmarkSealing(request) }
            log.error("file data could not be stored: \(error)")
            return .failure(error)
        }
    }

    /// Waits until there is memory for more unsaved data.
    func makeRoom() async throws(VolumeError) {
        if try await sealer.waitForOne() { return }
        // Nothing is on its way out: random writes, whose chunks fill no group.
        let requests = attempt { (state) throws(Pause) in state.takeLooseChunks(of: state.dirty.keys.sorted()) }
        guard case .success(let requests) = requests else { return }
        for request in requests { sealer.start(request, for: self) }
        _ = try await sealer.waitForOne()
    }
}

extension VolumeState {
    /// Whether any of this is still unsaved.
    fileprivate func needs(_ request: SealRequest) -> Bool {
        request.pieces.contains { dirty[$0.inode]?[$0.chunk]?.version == $0.version }
    }

    mutating func unmarkSealing(_ request: SealRequest) {
        for piece in request.pieces { dirty[piece.inode]?.unmarkSealing(piece.chunk) }
    }
}
