import LanfsFileSystem

/// The volume's locks as this client knows them (protocol.md section 4).
///
/// Who has the write lease has the newest table: it decides there, in memory, and the table goes into the tree with the next
/// commit, which comes before anybody else has the lease. So a lock costs no commit of its own, and one that was granted is
/// never in another's way unseen. Without the lease a lock can only be given up: that is in the table once the lease is there.
struct SharedLocks {
    /// What becomes of a request that waits.
    enum News {
        case granted
        /// Nobody knows of it any more: it has to be made again.
        case forgotten
        case interrupted
    }

    private struct Request {
        let place: LockTable.Place
        let lock: FileLock
        var waiter: CheckedContinuation<News, Never>?
        var news: News?
    }

    private let session: Incarnation
    private(set) var table = LockTable()
    /// What this client's processes hold, whatever the tree says.
    private var own = LockTable()
    private var requests: [LockTable.Ticket: Request] = [:]
    /// As in the tree.
    private(set) var records: LockTable.Records = [:]
    /// The table is not what the tree says.
    private(set) var isChanged = false
    /// Another client's request was granted here: it hears of that with the next commit.
    private(set) var grantsElsewhere = false

    init(session: Incarnation) { self.session = session }

    var isEmpty: Bool { table.isEmpty && own.isEmpty }
    var isWaiting: Bool { !requests.isEmpty }
    /// By this client's processes.
    var held: [(place: LockTable.Place, lock: FileLock)] { own.held(by: session) }
    /// Others that hold or wait for a lock.
    var otherSessions: Set<Incarnation> { table.sessions.subtracting([session]) }
    /// The tree still says that this client has a lock, or waits for one.
    var isListed: Bool { table.sessions.contains(session) }
    /// Others have to be told what this client gave up, or are in its way for nothing.
    var owes: Bool {
        isChanged || table.held(by: session).contains { !own.covers($0.lock, at: $0.place) }
            || table.waiting.contains { $0.lock.owner.session == session && requests[$0.ticket] == nil }
    }

    func holds(_ owner: FileLockOwner, at place: LockTable.Place) -> Bool {
        own.locks(at: place).contains { $0.owner == owner }
    }

    // MARK: With the lease

    /// - Parameter waits: a lock that is in the way is waited for: `.waiting`, then ``wait(for:_:)``.
    mutating func lock(_ lock: FileLock, at place: LockTable.Place, waits: Bool) -> LockTable.Answer {
        let answer = waits ? table.lockOrWait(lock, at: place) : table.lock(lock, at: place)
        switch answer {
        case .granted:
            own.put(lock, at: place)
            isChanged = true
            grantWaiting()
        case .waiting(let ticket):
            requests[ticket] = Request(place: place, lock: lock)
            isChanged = true
            dropRefused(lock, at: place)
        case .refused: dropRefused(lock, at: place)
        case .deadlock: break
        }
        return answer
    }

    /// What the owner of a lock of flock(2) had until it wanted a stronger one.
    private mutating func dropRefused(_ lock: FileLock, at place: LockTable.Place) {
        guard place.space == .whole, holds(lock.owner, at: place) else { return }
        own.unlock(lock.start...lock.end, of: lock.owner, at: place)
        isChanged = true
        grantWaiting()
    }

    /// The lease was got, and with it the newest table.
    ///
    /// - Returns: where locks are gone that processes here still count on: this client was taken for dead, or another was
    ///   faster while nothing was committed.
    mutating func regain() -> Set<InodeNumber> {
        guard !isEmpty || isWaiting else { return [] }
        let lost = forgetLost()
        var next = table
        next.setHeld(by: session, as: own)
        next.cancelRequests(of: session) { requests[$0]?.news != nil || requests[$0] == nil }
        if next != table {
            table = next
            isChanged = true
        }
        grantWaiting()
        return lost
    }

    private mutating func forgetLost() -> Set<InodeNumber> {
        let lost = lost(in: table)
        for inode in lost { forget(inode) }
        return lost
    }

    /// Where processes here count on locks that are not in another's table.
    private func lost(in other: LockTable) -> Set<InodeNumber> {
        Set(held.filter { !other.covers($0.lock, at: $0.place) }.map(\.place.inode))
    }

    func lost(in records: LockTable.Records) throws(LockDamage) -> Set<InodeNumber> {
        guard let other = try? LockTable(records) else { throw LockDamage() }
        return lost(in: other)
    }

    /// These are taken for dead.
    mutating func release(_ sessions: Set<Incarnation>) {
        for session in sessions { table.release(session: session) }
        isChanged = true
        grantWaiting()
    }

    /// What the tree is to say; ``wrote(_:)`` once it does.
    var nextRecords: LockTable.Records? { isChanged ? table.records : nil }

    mutating func wrote(_ records: LockTable.Records) {
        self.records = records
        isChanged = false
    }

    private mutating func grantWaiting() {
        for granted in table.grantWaiting() {
            isChanged = true
            if granted.lock.owner.session != session {
                grantsElsewhere = true
            } else if let request = requests[granted.ticket], request.news == nil {
                own.put(granted.lock, at: granted.place)
                settle(granted.ticket, .granted)
            } else {
                // Nobody waits for it any more.
                table.unlock(granted.lock.start...granted.lock.end, of: granted.lock.owner, at: granted.place)
            }
        }
    }

    // MARK: With or without it

    /// - Returns: whether others see it only once the lease is here.
    mutating func unlock(
        _ range: ClosedRange<UInt64>, of owner: FileLockOwner, at place: LockTable.Place, isLeased: Bool
    ) -> Bool {
        guard holds(owner, at: place) else { return false }
        own.unlock(range, of: owner, at: place)
        guard isLeased else { return true }
        table.unlock(range, of: owner, at: place)
        isChanged = true
        grantWaiting()
        return false
    }

    /// Nobody here has a lock on it any more.
    mutating func forget(_ inode: InodeNumber) {
        for space in [FileLockSpace.range, .whole] {
            let place = LockTable.Place(space: space, inode: inode)
            for lock in own.locks(at: place) { own.unlock(0...UInt64.max, of: lock.owner, at: place) }
        }
    }

    mutating func forgetAll() {
        own = LockTable()
        for ticket in requests.keys { settle(ticket, .interrupted) }
        requests = [:]
    }

    /// What another client's root says. What was changed here and in no commit is lost.
    ///
    /// - Returns: where locks are gone that processes here still count on.
    mutating func replace(with records: LockTable.Records) throws(LockDamage) -> Set<InodeNumber> {
        guard let next = try? LockTable(records) else { throw LockDamage() }
        let old = table
        table = next
        table.continueTickets(of: old)
        self.records = records
        isChanged = false
        for (ticket, request) in requests where request.news == nil {
            if table.waiting.contains(where: { $0.ticket == ticket && $0.lock.owner == request.lock.owner }) { continue }
            let isGranted = table.covers(request.lock, at: request.place)
            if isGranted { own.put(request.lock, at: request.place) }
            settle(ticket, isGranted ? .granted : .forgotten)
        }
        return forgetLost()
    }

    /// The tree is another, made of the same root: the table goes there anew.
    mutating func rebase(on records: LockTable.Records) {
        self.records = records
        isChanged = table.records != records
    }

    mutating func takeGrantsElsewhere() -> Bool {
        defer { grantsElsewhere = false }
        return grantsElsewhere
    }

    // MARK: Waiting

    /// - Returns: what became of it, if that is known; else the waiter hears of it.
    mutating func wait(for ticket: LockTable.Ticket, _ waiter: CheckedContinuation<News, Never>) -> News? {
        guard let request = requests[ticket] else { return .forgotten }
        if let news = request.news {
            requests[ticket] = nil
            return news
        }
        requests[ticket]?.waiter = waiter
        return nil
    }

    /// Whoever waits gives up; not one whose lock was granted by now, who hears that.
    mutating func cancel(_ ticket: LockTable.Ticket) {
        guard let request = requests[ticket], request.news == nil else { return }
        table.cancel(ticket)
        isChanged = true
        settle(ticket, .interrupted)
    }

    private mutating func settle(_ ticket: LockTable.Ticket, _ news: News) {
        if let waiter = requests[ticket]?.waiter {
            requests[ticket] = nil
            waiter.resume(returning: news)
        } else {
            requests[ticket]?.news = news
        }
    }
}

/// A lock's record cannot be read.
struct LockDamage: Error {}
