import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import LanfsStore
import NIOCore

/// The own copies: what leaves here is checked, and so is what comes in (B1). All of it blocks.
extension VolumeMembers {
    /// The block with its tag, if it is here whole and live. One that is found rotten is given up, and asked for.
    func verified(_ block: BlockID) -> (bytes: [UInt8], gcEpoch: UInt64)? {
        do throws(StoreError) {
            let bytes = try blocks.read(block)
            if bytes.withUnsafeBytes({ blockHash($0) }) == block {
                // After reading: the tag must be the one that the copy leaves with.
                if case .live(let gcEpoch) = blocks.localCopy(block) { return (bytes, gcEpoch) }
                return nil
            }
        } catch {
            if case .notFound = error { return nil }
            context.failures.report(error, "reading a block for another server")
        }
        // Looks again, and gives it up if it is true.
        if (try? blocks.reportRotten(block)) == true { lost([block]) }
        return nil
    }

    /// Copies that went bad here: nobody counts on them any more, and who has a good one is asked for it.
    func lost(_ rotten: [BlockID]) {
        withdraw(rotten)
        guard let view = state.withLock({ $0.core?.view }) else { return }
        for block in rotten where !view.isSurplus(block) {
            let home = view.home(of: block)
            let others = view.config.servers.map(\.server).filter { !home.contains($0) }
            heal(block, from: (home + others).filter { $0 != context.server && view.health(of: $0) == .alive })
        }
    }

    /// Asks one after the other. If none has it now, their next pass finds it missing here.
    private func heal(_ block: BlockID, from members: [ServerID]) {
        guard let member = members.first else { return }
        let rest = Array(members.dropFirst())
        ask(.wanted(block), of: member) { [weak self] reply in
            guard let self else { return }
            guard case .told(.copy(let order))? = reply?.response, order.block == block, let payload = reply?.payload
            else { return heal(block, from: rest) }
            context.threads.flush {
                switch self.takeIn(order, payload) {
                case .stored:
                    self.context.logger.info(
                        "a block that went bad was replaced",
                        metadata: ["volume": "\(self.volume)", "block": "\(block)"])
                case .failed: self.heal(block, from: rest)
                case .present, .swept: break
                }
            }
        }
    }

    /// Stores a copy that another member sent; on disk when this returns (B2).
    func takeIn(_ order: CopyOrder, _ payload: ByteBuffer) -> CopyOutcome {
        guard !context.isWitness, payload.readableBytes == Int(order.length),
            payload.withUnsafeReadableBytes({ blockHash($0) }) == order.block
        else { return .failed }
        do throws(StoreError) {
            switch verdict(on: order, blocks.localCopy(order.block)) {
            case .swept: return .swept
            case .failed: return .failed
            case .present: return try raise(order) ? .present : .failed
            case .stored:
                var failure: StoreError?
                payload.withUnsafeReadableBytes { bytes in
                    do throws(StoreError) {
                        try blocks.put(order.block, bytes, gcEpoch: order.gcEpoch)
                    } catch {
                        failure = error
                    }
                }
                if let failure { throw failure }
                // Named by a sweep that came in between, which found nothing to take.
                if verdict(on: order, .absent) == .swept {
                    try blocks.free([order.block], gcEpoch: order.gcEpoch)
                    return .swept
                }
                return try raise(order) ? .stored : .failed
            }
        } catch {
            context.failures.report(error, "storing a copy from another server")
            return .failed
        }
    }

    private func verdict(on order: CopyOrder, _ local: LocalCopy) -> CopyOutcome {
        state.withLock { $0.swept.verdict(on: order.block, gcEpoch: order.gcEpoch, local: local) }
    }

    /// On disk, with at least this tag (G1); false if it is not live any more.
    private func raise(_ order: CopyOrder) throws(StoreError) -> Bool {
        try blocks.raise([(order.block, order.gcEpoch)]) == [true]
    }
}

extension PossessionChallenge {
    /// What a prover answers who has these bytes.
    func digest(of bytes: [UInt8], asker: ServerID, prover: ServerID) -> PossessionDigest {
        var hasher = SHA256Hasher()
        hasher.update(prefix(asker: asker, prover: prover))
        hasher.update(bytes)
        return withUnsafeTemporaryAllocation(byteCount: sha256Size, alignment: 8) { digest in
            hasher.finalize(into: digest)
            return PossessionDigest(bigEndianWords: digest)
        }
    }
}
