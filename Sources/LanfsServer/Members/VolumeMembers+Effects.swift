import LanfsNetwork
import LanfsProtocol
import LanfsStore
import NIOCore

/// Carrying out what the core decides.
extension VolumeMembers {
    func perform(_ effects: [MemberCore.Effect]) {
        for effect in effects {
            switch effect {
            case .repair(.list(let after, let limit)):
                context.threads.flush { [weak self] in self?.list(after: after, limit: limit) }
            case .repair(.ask(let member, let query)):
                ask(.holdings(query), of: member) { [weak self] reply in
                    guard case .told(.held(let answer))? = reply?.response else { return }
                    self?.decide { core, now in core.answered(answer, from: member, now: now) }
                }
            case .repair(.copy(let block, let target)):
                let copy = Copy(block: block, target: target)
                state.withLock { _ = $0.copies.insert(copy) }
                context.threads.work { [weak self] in self?.send(copy) }
            case .repair(.cancel(let block, let target)):
                state.withLock { _ = $0.copies.remove(Copy(block: block, target: target)) }
            case .surplus(.digest(let block, let nonce, let provers)):
                context.threads.work { [weak self] in self?.digest(block, nonce: nonce, provers: provers) }
            case .surplus(.challenge(let challenge, let prover)):
                ask(.challenge(challenge), of: prover) { [weak self] reply in
                    guard case .told(.possession(let answer))? = reply?.response else { return }
                    self?.decide { core, now in core.answered(answer, from: prover, now: now) }
                }
            case .surplus(.drop(let block, let gcEpoch)):
                context.threads.flush { [weak self] in self?.drop(block, gcEpoch: gcEpoch) }
            }
        }
    }

    private func list(after: BlockID?, limit: Int) {
        var page: [StoredBlock] = []
        do throws(StoreError) {
            page = try blocks.listOnDisk(after: after, limit: limit)
        } catch {
            // An empty page ends the pass: the next one tries again.
            context.failures.report(error, "listing blocks")
        }
        decide { [page] core, now in core.listed(page, now: now) }
    }

    private func isWanted(_ copy: Copy) -> Bool { state.withLock { $0.copies.contains(copy) } }

    private func send(_ copy: Copy) {
        guard isWanted(copy) else { return }
        guard let (bytes, gcEpoch) = verified(copy.block) else { return finished(copy, .failed, 0) }
        // The core may have thought better of it while the disk was read.
        guard isWanted(copy) else { return }
        let order = CopyOrder(block: copy.block, length: UInt32(bytes.count), gcEpoch: gcEpoch)
        ask(.copy(order), payload: ByteBuffer(bytes: bytes), of: copy.target) { [weak self] reply in
            if case .told(.copied(let answer))? = reply?.response, answer.block == copy.block {
                self?.finished(copy, answer.outcome, bytes.count)
            } else {
                self?.finished(copy, .failed, 0)
            }
        }
    }

    private func finished(_ copy: Copy, _ outcome: CopyOutcome, _ count: Int) {
        let now = now
        let isWanted = state.withLock { state in
            if outcome == .stored {
                state.news.copied(count)
                state.meter.add(count, now: now)
            }
            return state.copies.remove(copy) != nil
        }
        if isWanted { decide { core, now in core.finished(copy.block, target: copy.target, outcome, now: now) } }
    }

    private func digest(_ block: BlockID, nonce: UInt128, provers: [ServerID]) {
        guard let version = state.withLock({ $0.core?.view.config.version }) else { return }
        guard let (bytes, gcEpoch) = verified(block) else { return withdraw([block]) }
        let challenge = PossessionChallenge(
            block: block, nonce: nonce, configVersion: version, gcEpoch: gcEpoch)
        let expected = provers.map { challenge.digest(of: bytes, asker: context.server, prover: $0) }
        decide { core, _ in core.digested(challenge, expected: expected) }
    }

    private func drop(_ block: BlockID, gcEpoch: UInt64) {
        do throws(StoreError) {
            if try blocks.drop(block, gcEpoch: gcEpoch) { withdraw([block]) }
        } catch {
            context.failures.report(error, "deleting a block that others hold")
        }
    }
}
