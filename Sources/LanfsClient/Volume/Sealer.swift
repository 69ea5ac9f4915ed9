import LanfsProtocol
import Synchronization

/// Seals file data in the background, so that a long write streams and a commit finds little left to do.
final class Sealer: Sendable {
    private struct State {
        var active = 0
        var oneWaiters: [CheckedContinuation<Result<Bool, VolumeError>, Never>] = []
    }

    private let state = Mutex(State())

    func start(_ request: SealRequest, for volume: Volume) {
        state.withLock { $0.active += 1 }
        Task.detached {
            self.finishOne(await volume.seal(request))
        }
    }

    /// Returns when one more seal has finished, at once, and `false`, when none is under way.
    ///
    /// - Throws: what kept that seal from storing its data.
    func waitForOne() async throws(VolumeError) -> Bool {
        try await withCheckedContinuation { (continuation: CheckedContinuation<Result<Bool, VolumeError>, Never>) in
            let waits = state.withLock { state in
                guard state.active > 0 else { return false }
                state.oneWaiters.append(continuation)
                return true
            }
            if !waits { continuation.resume(returning: .success(false)) }
        }.get()
    }

    /// Returns when no seal is under way. What one of them could not store is still unsealed.
    func waitForAll() async {
        while true {
            do throws(VolumeError) {
                if try await !waitForOne() { return }
            } catch {
                continue
            }
        }
    }

    private func finishOne(_ result: Result<Void, VolumeError>) {
        let waiters = state.withLock { state in
            state.active -= 1
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
    mutating func unmarkSealing(_ request: SealRequest) {
        for piece in request.pieces { dirty[piece.inode]?.unmarkSealing(piece.chunk) }
    }
}
