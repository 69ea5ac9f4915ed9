import TestSupport

/// What simulations went through: work and faults by kind, and how long it would have taken.
struct Tally: SimulationTally {
    /// In the order in which they are printed.
    enum Kind: Int, CaseIterable {
        case events, commits, closes, reads, joins, leaves, moves, recoveries, uploads, collections, deletions, sweeps, copies, needless, cancels
        case held, pins, refusals, proofs, drops, reconfigurations, losses, removals
        case lost, duplicated, stalled, cut, partitions, crashes, pauses, flaps, torn, rot, rolledBack, wiped, dead, lies
    }

    var nanoseconds: Int64 = 0
    private var counts = [Int](repeating: 0, count: Kind.allCases.count)

    subscript(kind: Kind) -> Int {
        get { counts[kind.rawValue] }
        set { counts[kind.rawValue] = newValue }
    }

    /// How often each rule decided something.
    private(set) var rules = [Int](repeating: 0, count: Rule.allCases.count)

    mutating func note(_ rule: Rule, times: Int = 1) { rules[rule.rawValue] += times }

    func count(of rule: Rule) -> Int { rules[rule.rawValue] }

    static func += (left: inout Tally, right: Tally) {
        left.nanoseconds += right.nanoseconds
        for place in left.counts.indices { left.counts[place] += right.counts[place] }
        for place in left.rules.indices { left.rules[place] += right.rules[place] }
    }

    var description: String {
        let hours = Double(nanoseconds) / 3.6e12
        let time = nanoseconds > 0 ? ["simulated hours \((hours * 10).rounded() / 10)"] : []
        return (time + Kind.allCases.filter { self[$0] > 0 }.map { "\($0) \(self[$0])" }).joined(separator: ", ")
    }
}
