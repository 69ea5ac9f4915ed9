import LanfsProtocol
import NIOCore

/// B2: one copy of a block leaves this machine, and the servers pass it on from one to the next.
extension BlockPool {
    /// Larger blocks go to one server that passes them on to the others (B2). What is small is sooner there when each gets it
    /// from here.
    fileprivate static let sentToEach = 64 << 10
    /// So long after the first server has a block the next should have it from there, while nothing else comes along.
    fileprivate static let passingPatience = Duration.milliseconds(400)
    /// A chain that did not work is not used for so long.
    fileprivate static let chainMemory = Duration.seconds(10)

    struct Chain: Hashable {
        let head: ServerID
        let rest: [ServerID]
    }

    struct ChainState {
        var underWay = 0
        /// When the last block came through, or the first was sent.
        var movedAt = ContinuousClock.now
        var brokenAt: ContinuousClock.Instant?
    }
}

extension BlockPool.State {
    /// Starts one, where the first server can pass the block on.
    mutating func chain(
        _ block: BlockID, along lanes: [ServerLane], now: ContinuousClock.Instant
    ) -> BlockPool.Chain? {
        guard let head = lanes.first, lanes.count > 1, lanes.allSatisfy(\.isWilling),
            let size = uploads[block]?.bytes.readableBytes, size > BlockPool.sentToEach
        else { return nil }
        let chain = BlockPool.Chain(head: head.server, rest: lanes.dropFirst().map(\.server))
        var known = chains[chain] ?? BlockPool.ChainState()
        if let brokenAt = known.brokenAt {
            if now - brokenAt < BlockPool.chainMemory { return nil }
            known = BlockPool.ChainState()
        }
        if known.underWay == 0 { known.movedAt = now }
        known.underWay += 1
        chains[chain] = known
        uploads[block]?.chain = chain
        for lane in lanes { lane.expect(block) }
        return chain
    }

    mutating func noteEnd(of chain: BlockPool.Chain, isWhole: Bool, now: ContinuousClock.Instant) {
        guard var known = chains[chain] else { return }
        known.underWay = max(0, known.underWay - 1)
        known.movedAt = now
        if !isWhole { known.brokenAt = now }
        chains[chain] = known.underWay == 0 && known.brokenAt == nil ? nil : known
    }

    /// The servers that must get the block from here after all: the first one is in trouble, or has it and does not bring it
    /// to the next (B3).
    mutating func breakChain(
        of block: BlockID, _ placement: Servers.Placement, now: ContinuousClock.Instant
    ) -> [ServerLane] {
        guard let upload = uploads[block], let chain = upload.chain, let known = chains[chain] else { return [] }
        let lanes = placement.ranking(of: block)
        let isGoing = lanes.contains { $0.server == chain.head && $0.isWilling } && upload.refusals[chain.head] == nil
        let isStuck = upload.storedAt.map { now - max($0, known.movedAt) >= BlockPool.passingPatience } ?? false
        guard !isGoing || isStuck else { return [] }
        uploads[block]?.chain = nil
        chains[chain]?.brokenAt = now
        return lanes.filter { chain.rest.contains($0.server) }
    }
}
