import LanfsFileSystem
import LanfsTree

/// Which names other clients gave away or removed lately. The kernel looks a name up and then opens what it led to: in between it
/// may have become another file's, as where an editor keeps the old version under another name, and whoever writes would write
/// to that. So an open that may be mistaken is answered with ESTALE, and the kernel looks all names up again.
///
/// It does that once for each call, so no thread is sent back twice in a row: a program would get the second ESTALE. That also
/// lets through who has no name to look up, as for a file in /proc/self/fd.
struct ForeignNames {
    private struct Visit: Hashable {
        let inode: InodeNumber
        let thread: Int32
    }

    /// Longer than anybody takes from the name to the file.
    private static let doubt = Duration.seconds(5)

    /// When an inode lost a name.
    private var renamed: [InodeNumber: ContinuousClock.Instant] = [:]
    /// When a folder or a symbolic link did, by way of which anything may have been come to.
    private var wayRenamed: ContinuousClock.Instant?
    /// When a name led a thread there, or it was sent back.
    private var seen: [Visit: ContinuousClock.Instant] = [:]
    private var waySeen: [Int32: ContinuousClock.Instant] = [:]
    /// Threads that were sent back and have not come again.
    private var returning: [Int32: ContinuousClock.Instant] = [:]

    mutating func note(_ inodes: some Sequence<InodeNumber>, mayBeFolders: Bool) {
        let now = ContinuousClock.now
        renamed = renamed.filter { now - $0.value < Self.doubt }
        seen = seen.filter { now - $0.value < Self.doubt }
        waySeen = waySeen.filter { now - $0.value < Self.doubt }
        returning = returning.filter { now - $0.value < Self.doubt }
        for inode in inodes { renamed[inode] = now }
        if mayBeFolders { wayRenamed = now }
    }

    /// A name has just led the thread there.
    mutating func noteLookup(of inode: InodeNumber, by thread: Int32) {
        if renamed[inode] != nil { seen[Visit(inode: inode, thread: thread)] = .now }
    }

    /// Whether the thread was sent back, and has to be shown the newest names: what they lead to is then opened as it is.
    func isReturning(_ thread: Int32?) -> Bool { thread.map { returning[$0] != nil } ?? false }

    /// Whether the thread has to be sent back to look the names up again.
    mutating func mayBeMistaken(_ inode: InodeNumber, _ thread: Int32?) -> Bool {
        // Others find what they open themselves.
        guard let thread else { return false }
        let now = ContinuousClock.now
        let isBack = returning.removeValue(forKey: thread).map { now - $0 < Self.doubt } ?? false
        let visit = Visit(inode: inode, thread: thread)
        let isDoubtful = isSince(renamed[inode], seen[visit], now)
        let isWayDoubtful = isSince(wayRenamed, waySeen[thread], now)
        guard isDoubtful || isWayDoubtful else { return false }
        seen[visit] = now
        waySeen[thread] = now
        guard !isBack else { return false }
        returning[thread] = now
        return true
    }

    private func isSince(
        _ change: ContinuousClock.Instant?, _ look: ContinuousClock.Instant?, _ now: ContinuousClock.Instant
    ) -> Bool {
        guard let change, now - change < Self.doubt else { return false }
        return look.map { $0 <= change } ?? true
    }
}

extension VolumeState {
    /// To be called before the changes are made, with those that another client made.
    mutating func noteNames(lostBy changes: [Change]) throws(MissingNode) {
        var (lost, areFolders): ([InodeNumber], Bool) = ([], false)
        for change in changes {
            guard case .entry? = RecordKey(change.key), let old = try tree.value(change.key, nodes: nodes),
                old != change.value,
                let entry = try? EntryRecord(decoding: old), isKnown(entry.inode)
            else { continue }
            lost.append(entry.inode)
            if entry.type == .directory || entry.type == .symlink { areFolders = true }
        }
        renamedElsewhere.note(lost, mayBeFolders: areFolders)
    }
}
