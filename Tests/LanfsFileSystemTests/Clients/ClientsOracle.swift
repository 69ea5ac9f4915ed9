import LanfsTree

@testable import LanfsFileSystem

/// Knows what was acknowledged to whom, and so what must be there in the end.
struct ClientsOracle {
    /// Which operation made it.
    private var makers: [Treasure: (session: Incarnation, operation: UInt64)] = [:]
    /// Somebody who saw it overwrote it, or removed its last name.
    private var given: Set<Treasure> = []
    /// Who saw it and removed a name of it: where two remove one each, it is gone.
    private var removers: [Treasure: Set<Incarnation>] = [:]
    /// Operations of each session that are in a chosen root.
    private var chosen: [Incarnation: UInt64] = [:]
    private var dead: Set<Incarnation> = []
    private var present: Set<InodeNumber> = []
    private var gone: Set<InodeNumber> = []

    /// - Parameters:
    ///   - before: what the session saw, and how many names led to it.
    ///   - after: what it sees now.
    mutating func acknowledged(
        _ operation: UInt64, of session: Incarnation, before: [Treasure: Int], after: [Treasure: Int]
    ) {
        for treasure in after.keys where before[treasure] == nil && makers[treasure] == nil {
            makers[treasure] = (session, operation)
        }
        for (treasure, names) in before where after[treasure] ?? 0 < names {
            removers[treasure, default: []].insert(session)
            if after[treasure] == nil { given.insert(treasure) }
        }
    }

    mutating func died(_ session: Incarnation) { dead.insert(session) }

    /// Invariant 7, and that no inode comes back (T4).
    mutating func chosen(_ root: Transaction, through operation: UInt64, of session: Incarnation) throws {
        chosen[session] = max(chosen[session] ?? 0, operation)
        let damage = try root.check()
        guard damage.isEmpty else { throw ClientsWorld.Violation("a chosen root is damaged: \(damage)") }
        let inodes = Set(
            try root.collect(in: .all(.inode), limit: .max) { key, _ -> InodeNumber? in
                if case .inode(let inode)? = RecordKey(key) { inode } else { nil }
            })
        if let back = inodes.first(where: gone.contains) {
            throw ClientsWorld.Violation("inode \(back) was removed and is there again")
        }
        gone.formUnion(present.subtracting(inodes))
        present = inodes
    }

    /// Invariants 3 and 15: what was acknowledged is there, unless whoever did away with it knew it, or its maker died before
    /// it was in a root.
    func requireAll(in treasures: [Treasure: Int]) throws {
        for (treasure, maker) in makers where treasures[treasure] == nil && !given.contains(treasure) {
            if removers[treasure]?.count ?? 0 > 1 { continue }
            if dead.contains(maker.session), maker.operation > chosen[maker.session] ?? 0 { continue }
            throw ClientsWorld.Violation("\(treasure) of session \(maker.session.low) is lost")
        }
    }
}
