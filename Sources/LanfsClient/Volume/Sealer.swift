import LanfsProtocol
import Synchronization

/// Seals file data in the background, so that a long write streams and a commit finds little left to do.
final class Sealer: Sendable {
    private struct State {
        var active = 0
        var oneWaiters: [CheckedContinuation<Bool, Never>] = []
    }

    private let state = Mutex(State())

    func start(_ request: SealRequest, for volume: Volume) {
        state.withLock { $0.active += 1 }
        Task.detached {
            await volume.seal(request)
            self.finishOne()
        }
    }

    /// Returns when one more seal has finished, at once when none is under way.
    func waitForOne() async -> Bool {
        await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            let waits = state.withLock { state in
                guard state.active > 0 else { return false }
                state.oneWaiters.append(continuation)
                return true
            }
            if !waits { continuation.resume(returning: false) }
        }
    }

    /// Returns when no seal is under way.
    func waitForAll() async {
        while await waitForOne() {}
    }

    private func finishOne() {
        let waiters = state.withLock { state in
            state.active -= 1
            defer { state.oneWaiters = [] }
            return state.oneWaiters
        }
        for waiter in waiters { waiter.resume(returning: true) }
    }
}

extension Volume {
    /// Seals, sends, and names the result in the tree. The data stays in memory as dirty until the tree names its
    /// block, so a reader always finds it in one of the two.
    fileprivate func seal(_ request: SealRequest) async {
        // Before sealing: a block that waits would take its memory a second time.
        await blocks.waitForRoom()
        let block = SealedBlock(frames: request.pieces.map(\.bytes), in: blocks.spareBuffer())
        await blocks.upload(block, gcEpoch: current { $0.chain.record.gcEpoch })
        do {
            try await run { (state) throws(Pause) in try state.adopt(block, for: request) }
        } catch {
            // The tree could not be read: the data stays dirty, and the next commit tries again and reports it.
            _ = attempt { (state) throws(Pause) in state.unmarkSealing(request) }
            log.error("file data could not be named in the tree: \(error)")
        }
    }

    /// Waits until there is memory for more unsaved data.
    func makeRoom() async throws(VolumeError) {
        if await sealer.waitForOne() { return }
        // Nothing is on its way out: random writes, whose chunks fill no group.
        let requests = attempt { (state) throws(Pause) in state.takeLooseChunks(of: state.dirty.keys.sorted()) }
        guard case .success(let requests) = requests else { return }
        for request in requests { sealer.start(request, for: self) }
        _ = await sealer.waitForOne()
    }
}

extension VolumeState {
    mutating func unmarkSealing(_ request: SealRequest) {
        for piece in request.pieces { dirty[piece.inode]?.unmarkSealing(piece.chunk) }
    }
}
