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
        heal(rotten[...])
    }

    /// One block after the other: a disk that dies must not fill the memory.
    private func heal(_ rotten: ArraySlice<BlockID>) {
        guard let view = state.withLock({ $0.core?.view }) else { return }
        var rest = rotten
        while let block = rest.popFirst() {
            if view.isSurplus(block) { continue }
            let home = view.home(of: block)
            let holders = home + view.config.servers.map(\.server).filter { !home.contains($0) }
            let alive = holders.filter { $0 != context.server && view.health(of: $0) == .alive }
            if alive.isEmpty { continue }
            return fetch(block, from: alive[...]) { [weak self, rest] in self?.heal(rest) }
        }
    }

    /// Asks one member after the other. If none has it now, their next pass finds it missing here.
    private func fetch(_ block: BlockID, from members: ArraySlice<ServerID>, then: @escaping @Sendable () -> Void) {
        guard let member = members.first else { return then() }
        ask(.wanted(block), of: member) { [weak self] reply in
            guard let self else { return }
            guard case .told(.copy(let order))? = reply?.response, order.block == block, let payload = reply?.payload
            else { return fetch(block, from: members.dropFirst(), then: then) }
            self.takeIn(order, payload) { outcome in
                if outcome == .failed { return self.fetch(block, from: members.dropFirst(), then: then) }
                if outcome == .stored {
                    self.context.logger.info(
                        "a block that went bad was replaced",
                        metadata: ["volume": "\(self.volume)", "block": "\(block)"])
                }
                then()
            }
        }
    }

    /// Stores a copy that another member sent; on disk when it is answered (B2), which is on a thread that may block. Those
    /// that come while the disk flushes others have the next flush together.
    func takeIn(_ order: CopyOrder, _ payload: ByteBuffer, _ answer: @escaping @Sendable (CopyOutcome) -> Void) {
        let outcome = put(order, payload)
        guard outcome == .stored || outcome == .present else { return answer(outcome) }
        let starts = state.withLock { state in
            state.arrived.append(Arrival(order: order, outcome: outcome, answer: answer))
            defer { state.isSettling = true }
            return !state.isSettling
        }
        if starts { context.threads.flush { [self] in settle() } }
    }

    private func settle() {
        while let arrived = nextToSettle() {
            for (arrival, outcome) in zip(arrived, settle(arrived)) { arrival.answer(outcome) }
        }
    }

    private func nextToSettle() -> [Arrival]? {
        state.withLock { state in
            state.isSettling = !state.arrived.isEmpty
            guard state.isSettling else { return nil }
            defer { state.arrived = [] }
            return state.arrived
        }
    }

    private func settle(_ arrived: [Arrival]) -> [CopyOutcome] {
        do throws(StoreError) {
            // Named by a sweep that came in between, which found nothing to take.
            let isSwept = arrived.map { $0.outcome == .stored && verdict(on: $0.order, .absent) == .swept }
            for (arrival, isSwept) in zip(arrived, isSwept) where isSwept {
                try blocks.free([arrival.order.block], gcEpoch: arrival.order.gcEpoch)
            }
            // With at least this tag (G1).
            let isHeld = try blocks.raise(arrived.map { ($0.order.block, $0.order.gcEpoch) })
            return arrived.indices.map { isSwept[$0] ? .swept : isHeld[$0] ? arrived[$0].outcome : .failed }
        } catch {
            context.failures.report(error, "storing copies from another server")
            return arrived.map { _ in .failed }
        }
    }

    /// Not on disk yet. Does not wait for it.
    private func put(_ order: CopyOrder, _ payload: ByteBuffer) -> CopyOutcome {
        guard !context.isWitness, payload.readableBytes == Int(order.length),
            payload.withUnsafeReadableBytes({ blockHash($0) }) == order.block
        else { return .failed }
        let outcome = verdict(on: order, blocks.localCopy(order.block))
        guard outcome == .stored else { return outcome }
        do {
            _ = try payload.withUnsafeReadableBytes { try blocks.put(order.block, $0, gcEpoch: order.gcEpoch, from: .member) }
            return .stored
        } catch let error as StoreError {
            context.failures.report(error, "storing a copy from another server")
        } catch {
            context.logger.error("storing a copy from another server: \(error)")
        }
        return .failed
    }

    private func verdict(on order: CopyOrder, _ local: LocalCopy) -> CopyOutcome {
        state.withLock { $0.swept.verdict(on: order.block, gcEpoch: order.gcEpoch, local: local) }
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
