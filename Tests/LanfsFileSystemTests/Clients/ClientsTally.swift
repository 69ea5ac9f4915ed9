import TestSupport

/// What clients in simulated worlds went through.
struct ClientsTally: SimulationTally {
    /// `slow`: commits whose blocks took so long that the lease may be lost meanwhile; `unknown`: commits whose outcome nobody heard; `found`: later found to be in a root; `redone`: times that operations were
    /// done again on another root.
    enum Kind: Int, CaseIterable {
        case operations, commits, handovers, slow, unknown, found, redone, conflicts, copies, crashes
    }

    private var counts = [Int](repeating: 0, count: Kind.allCases.count)

    subscript(kind: Kind) -> Int {
        get { counts[kind.rawValue] }
        set { counts[kind.rawValue] = newValue }
    }

    static func += (left: inout ClientsTally, right: ClientsTally) {
        for place in left.counts.indices { left.counts[place] += right.counts[place] }
    }

    var description: String { Kind.allCases.map { "\($0) \(self[$0])" }.joined(separator: ", ") }
}
