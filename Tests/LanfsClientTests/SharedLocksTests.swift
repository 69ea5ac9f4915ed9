import LanfsFileSystem
import TestSupport
import Testing

@testable import LanfsClient

/// Clients that hand the lease over, or lose it with what they have not committed, and the tree between them. Which root is chosen
/// is the register's affair, simulated elsewhere.
private struct LockWorld {
    enum Mutant: CaseIterable, Sendable {
        /// The table is not written down before the lease goes.
        case handsOverUncommitted
        /// Who comes back goes on with the locks it remembers.
        case ignoresNewerTable
        /// What was given up without the lease stays in the table.
        case neverGivesUp
    }

    struct Violation: Error, CustomStringConvertible { let description: String }

    struct Client {
        let session: Incarnation
        var locks: SharedLocks
        /// It lost its lease in earnest, or was taken for dead, and has not had the lease since.
        var isBehind = false
        var tickets: [LockTable.Ticket] = []
    }

    let mutant: Mutant?
    var random: SplitMix64
    var clients: [Client]
    var tree: LockTable.Records = [:]
    var holder: Int?
    var grants = 0
    var losses = 0

    init(seed: UInt64, mutant: Mutant? = nil) {
        self.mutant = mutant
        random = SplitMix64(seed: seed)
        clients = (1...3).map { number in
            let session = Incarnation(high: 0, low: UInt64(number))
            return Client(session: session, locks: SharedLocks(session: session))
        }
    }

    mutating func run(steps: Int) throws {
        for _ in 0..<steps {
            let client = random.below(clients.count)
            switch random.below(20) {
            case 0..<4: try acquire(client)
            case 4: stall()
            case 5: declareDead(random.below(clients.count))
            case 6: look(client)
            case 7..<13: if holder == client { lock(client) } else { try acquire(client) }
            case 13: if let ticket = clients[client].tickets.popLast() { clients[client].locks.cancel(ticket) }
            default: unlock(client)
            }
            try check()
        }
        try rest()
    }

    // MARK: The lease

    private mutating func commit() {
        guard let holder, mutant != .handsOverUncommitted, let records = clients[holder].locks.nextRecords else { return }
        tree = records
        clients[holder].locks.wrote(records)
    }

    private mutating func acquire(_ client: Int) throws {
        if holder == client { return }
        commit()
        holder = client
        see(client)
        if mutant == .neverGivesUp { return }
        let lost = clients[client].locks.regain()
        if !lost.isEmpty {
            losses += 1
            guard clients[client].isBehind else { throw Violation(description: "client \(client) lost locks that were its own") }
        }
        clients[client].isBehind = false
    }

    /// The newest root, if it is another.
    private mutating func see(_ client: Int) {
        guard tree != clients[client].locks.records, mutant != .ignoresNewerTable else { return }
        if (try? clients[client].locks.replace(with: tree))?.isEmpty == false { losses += 1 }
    }

    /// Without the lease a newer root is seen as well.
    private mutating func look(_ client: Int) { if holder != client { see(client) } }

    /// What the holder has not committed will be in no root once another has the lease.
    private mutating func stall() {
        guard let stalled = holder else { return }
        clients[stalled].isBehind = true
        holder = nil
        let other = (stalled + 1 + random.below(clients.count - 1)) % clients.count
        holder = other
        see(other)
        _ = clients[other].locks.regain()
        clients[other].isBehind = false
        // Its commit makes what the stalled one had an old root's.
        _ = clients[other].locks.lock(
            FileLock(owner: FileLockOwner(session: clients[other].session, number: 99), kind: .shared, pid: UInt32(random.below(1 << 20))),
            at: LockTable.Place(space: .whole, inode: 1000), waits: false)
        commit()
    }

    private mutating func declareDead(_ client: Int) {
        guard let holder, holder != client else { return }
        clients[holder].locks.release([clients[client].session])
        clients[client].isBehind = true
    }

    // MARK: Locks

    private mutating func anyLock(_ client: Int) -> (LockTable.Place, FileLock) {
        let start = UInt64(random.below(6))
        let lock = FileLock(
            owner: FileLockOwner(session: clients[client].session, number: UInt64(random.below(2))),
            kind: random.chance(50) ? .shared : .exclusive, start: start, end: start + UInt64(random.below(4)), pid: 1)
        return (LockTable.Place(space: .range, inode: UInt64(1 + random.below(2))), lock)
    }

    private mutating func lock(_ client: Int) {
        let (place, lock) = anyLock(client)
        switch clients[client].locks.lock(lock, at: place, waits: random.chance(50)) {
        case .granted: grants += 1
        case .waiting(let ticket): clients[client].tickets.append(ticket)
        case .refused, .deadlock: break
        }
    }

    private mutating func unlock(_ client: Int) {
        guard let (place, lock) = clients[client].locks.held.randomElement(using: &random) else { return }
        _ = clients[client].locks.unlock(lock.start...lock.end, of: lock.owner, at: place, isLeased: holder == client)
    }

    // MARK: What must hold

    /// Of two clients that are up to date not both believe that they have what only one can have.
    private func check() throws {
        for one in clients.indices {
            for other in clients.indices where one < other && !clients[one].isBehind && !clients[other].isBehind {
                for (place, lock) in clients[one].locks.held {
                    let rival = clients[other].locks.held.first { $0.place == place && $0.lock.conflicts(with: lock) }
                    if rival != nil { throw Violation(description: "clients \(one) and \(other) both hold \(lock)") }
                }
            }
        }
    }

    /// Everybody lets go, in turn: nobody waits for ever, and nothing is left.
    private mutating func rest() throws {
        for _ in 0..<40 {
            for client in clients.indices {
                try acquire(client)
                for (place, lock) in clients[client].locks.held {
                    _ = clients[client].locks.unlock(0...UInt64.max, of: lock.owner, at: place, isLeased: true)
                }
                try check()
            }
            commit()
        }
        guard tree.isEmpty else { throw Violation(description: "\(tree.count) locks and requests are left") }
    }
}

@Suite("Locks of several clients")
struct SharedLocksTests {
    @Test("are exclusive, are granted when they are free, and leave nothing behind")
    func keepsEveryRule() throws {
        var (grants, losses) = (0, 0)
        for seed: UInt64 in 0..<300 {
            var world = LockWorld(seed: seed)
            do { try world.run(steps: 150) } catch { Issue.record("seed \(seed): \(error)") }
            grants += world.grants
            losses += world.losses
        }
        #expect(grants > 1000 && losses > 10)
    }

    @Test("that are handled wrong on purpose are noticed", arguments: LockWorld.Mutant.allCases)
    fileprivate func findsMutant(_ mutant: LockWorld.Mutant) {
        for seed: UInt64 in 0..<300 {
            var world = LockWorld(seed: seed, mutant: mutant)
            do { try world.run(steps: 150) } catch {
                print("mutant \(mutant): seed \(seed): \(error)")
                return
            }
        }
        Issue.record("no seed notices \(mutant)")
    }
}
