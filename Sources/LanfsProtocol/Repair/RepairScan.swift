/// One page of a server's own blocks, and what the others say they hold of it.
struct RepairScan: Sendable {
    let number: UInt64
    /// It holds the first blocks that follow this one.
    let after: BlockID
    let blocks: [StoredBlock]
    private(set) var waiting: [ServerID]
    private(set) var answers: [(member: ServerID, answer: HoldingsAnswer)] = []
    private(set) var asked: Duration
    private(set) var tries = 1

    init(number: UInt64, after: BlockID, blocks: [StoredBlock], asking members: [ServerID], now: Duration) {
        self.number = number
        self.after = after
        self.blocks = blocks
        waiting = members
        asked = now
    }

    var query: HoldingsQuery {
        HoldingsQuery(
            page: number, blocks: blocks.map { HoldingsQuery.Entry(block: $0.block, gcEpoch: $0.gcEpoch) })
    }

    var isComplete: Bool { waiting.isEmpty }

    /// Those that answered another page, twice, or at the wrong length are not believed.
    mutating func take(_ answer: HoldingsAnswer, from member: ServerID) {
        guard answer.page == number, answer.covers(blocks.count),
            let index = waiting.firstIndex(of: member)
        else { return }
        waiting.remove(at: index)
        answers.append((member, answer))
    }

    mutating func askAgain(now: Duration) {
        tries += 1
        asked = now
    }

    /// Nothing is known of those that are silent: neither holders nor targets.
    mutating func giveUp() { waiting = [] }
}
