import LanfsFileSystem
import LanfsTree

/// Which names other clients gave away or removed lately. The kernel looks a name up and then opens what it led to: in between it
/// may have become another file's, as where an editor keeps the old version under another name, and whoever writes would write
/// to that. So an open that may be mistaken is answered with ESTALE, and the kernel looks all names up again.
///
/// It does that once for each call, so no open is sent back twice in a row: a program would get the second ESTALE. That also
/// lets through who has no name to look up, as for a file in /proc/self/fd. Only who would get at what is another's without having
/// been asked, because it came there between two looks in a row, is sent back again.
struct ForeignNames {
    struct Visit: Hashable {
        let inode: InodeNumber
        let thread: Int32
    }

    /// Longer than anybody takes from the name to the file.
    private static let doubt = Duration.seconds(5)

    /// When an inode lost a name.
    private var renamed: [InodeNumber: ContinuousClock.Instant] = [:]
    /// When a folder or a symbolic link did, by way of which anything may have been come to.
    private var wayRenamed: ContinuousClock.Instant?
    /// When an inode got a name that something else had.
    private var named: [InodeNumber: ContinuousClock.Instant] = [:]
    /// When any may have lost or got one.
    private var allRenamed: ContinuousClock.Instant?
    /// When a name led a thread there, or it was sent back.
    private(set) var seen: [Visit: ContinuousClock.Instant] = [:]
    private var waySeen: [Int32: ContinuousClock.Instant] = [:]
    /// Threads that were sent back and have not come again.
    private var returning: [Int32: ContinuousClock.Instant] = [:]
    /// When what is older than that was last forgotten.
    private var tidiedAt = ContinuousClock.now

    mutating func note(
        lost: some Sequence<InodeNumber>, got: some Sequence<InodeNumber>, mayBeFolders: Bool,
        at now: ContinuousClock.Instant = .now
    ) {
        tidy(now)
        for inode in lost { renamed[inode] = now }
        for inode in got { named[inode] = now }
        if mayBeFolders { wayRenamed = now }
    }

    mutating func noteAll(at now: ContinuousClock.Instant = .now) {
        tidy(now)
        allRenamed = now
        wayRenamed = now
    }

    /// A name has just led the thread there.
    mutating func noteLookup(of inode: InodeNumber, by thread: Int32, at now: ContinuousClock.Instant = .now) {
        tidy(now)
        if lost(inode, now) != nil || fresh(named[inode], now) != nil { seen[Visit(inode: inode, thread: thread)] = now }
    }

    /// The thread is sent back for a reason of its own.
    mutating func noteSentBack(_ thread: Int32?, at now: ContinuousClock.Instant = .now) {
        guard let thread else { return }
        waySeen[thread] = now
        returning[thread] = now
    }

    /// Whether the thread was sent back, and has to be shown the newest names: what they lead to is then opened as it is.
    func isReturning(_ thread: Int32?, at now: ContinuousClock.Instant = .now) -> Bool {
        guard let thread, let sentAt = returning[thread] else { return false }
        return now - sentAt < Self.doubt
    }

    /// Whether the thread has to be sent back to look the names up again.
    mutating func mayBeMistaken(_ inode: InodeNumber, _ thread: Int32?, at now: ContinuousClock.Instant = .now) -> Bool {
        // Others find what they open themselves.
        guard let thread else { return false }
        let isBack = returning.removeValue(forKey: thread).map { now - $0 < Self.doubt } ?? false
        let visit = Visit(inode: inode, thread: thread)
        let isDoubtful = isSince(lost(inode, now), seen[visit])
        let isWayDoubtful = isSince(fresh(wayRenamed, now), waySeen[thread])
        guard isDoubtful || isWayDoubtful else { return false }
        seen[visit] = now
        waySeen[thread] = now
        guard !isBack else { return false }
        returning[thread] = now
        return true
    }

    /// Whether a name leads there now that led the thread to something else when it looked. So the kernel has not asked whether it may
    /// take that name away.
    func mayBeUnseen(_ inode: InodeNumber, by thread: Int32?, at now: ContinuousClock.Instant = .now) -> Bool {
        guard let thread else { return false }
        let change = [fresh(named[inode], now), fresh(allRenamed, now)].compactMap { $0 }.max()
        return isSince(change, seen[Visit(inode: inode, thread: thread)])
    }

    private func lost(_ inode: InodeNumber, _ now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        [fresh(renamed[inode], now), fresh(allRenamed, now)].compactMap { $0 }.max()
    }

    private func fresh(_ time: ContinuousClock.Instant?, _ now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        time.flatMap { now - $0 < Self.doubt ? $0 : nil }
    }

    private mutating func tidy(_ now: ContinuousClock.Instant) {
        guard now - tidiedAt > .seconds(1) else { return }
        tidiedAt = now
        renamed = renamed.filter { now - $0.value < Self.doubt }
        named = named.filter { now - $0.value < Self.doubt }
        seen = seen.filter { now - $0.value < Self.doubt }
        waySeen = waySeen.filter { now - $0.value < Self.doubt }
        returning = returning.filter { now - $0.value < Self.doubt }
    }

    private func isSince(_ change: ContinuousClock.Instant?, _ look: ContinuousClock.Instant?) -> Bool {
        guard let change else { return false }
        return look.map { $0 <= change } ?? true
    }
}

extension VolumeState {
    /// To be called before the changes are made, with those that another client made.
    mutating func noteNames(changedBy changes: [Change]) throws(MissingNode) {
        var (lost, got, areFolders): ([InodeNumber], [InodeNumber], Bool) = ([], [], false)
        for change in changes {
            guard case .entry? = RecordKey(change.key) else { continue }
            let old = try tree.value(change.key, nodes: nodes)
            guard old != change.value else { continue }
            if let new = change.value, let entry = try? EntryRecord(decoding: new) { got.append(entry.inode) }
            guard let old, let entry = try? EntryRecord(decoding: old), isKnown(entry.inode) else { continue }
            lost.append(entry.inode)
            if entry.type == .directory || entry.type == .symlink { areFolders = true }
        }
        renamedElsewhere.note(lost: lost, got: got, mayBeFolders: areFolders)
    }
}
