/// Some of an epoch's keepers, by their place in the list.
struct KeeperSet: Equatable, Sendable {
    private var bits: UInt16 = 0

    var count: Int { bits.nonzeroBitCount }
    func contains(_ index: Int) -> Bool { bits & (1 << index) != 0 }
    mutating func insert(_ index: Int) { bits |= 1 << index }
    mutating func remove(_ index: Int) { bits &= ~(1 << index) }
}

/// L1: what each keeper last said yes to, by when that question was SENT: the keeper's own L began no earlier.
struct LeaseBook: Equatable, Sendable {
    private var sentAt: [Duration?]

    init(keepers: Int) {
        sentAt = Array(repeating: nil, count: keepers)
    }

    mutating func yes(_ index: Int, sentAt time: Duration) {
        sentAt[index] = max(sentAt[index] ?? time, time)
    }

    mutating func no(_ index: Int) { sentAt[index] = nil }

    mutating func clear() {
        for index in sentAt.indices { sentAt[index] = nil }
    }

    /// The latest time from which a quorum's yes counts.
    func start(quorum: Int) -> Duration? {
        if sentAt.count == 1 { return sentAt[0] }
        let times = sentAt.compactMap { $0 }.sorted(by: >)
        return times.count >= quorum ? times[quorum - 1] : nil
    }
}
