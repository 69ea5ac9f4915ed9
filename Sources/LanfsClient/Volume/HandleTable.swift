import LanfsFileSystem

/// The open files and directories of this client.
struct HandleTable {
    struct File {
        let inode: InodeNumber
        let flags: OpenFlags
        /// What the answer to the open told the kernel of, and it has not shown yet that it heard (``ForeignChanges``).
        var foreignChange: UInt64?
        var readAhead = ReadAhead()
        /// Who holds the whole-file lock that came through this handle (flock(2)): it goes with the handle.
        var wholeLockOwner: UInt64?
        /// Who took range locks through this handle, and did not close a descriptor of the file since: the handle itself
        /// (F_OFD_SETLK), or a process.
        var rangeOwners: Set<UInt64> = []
    }

    /// A directory being read: its entries in the order first seen, so that a position means the same entry however
    /// the directory changes meanwhile.
    struct Directory {
        let inode: InodeNumber
        let parent: InodeNumber
        var entries: [DirectoryEntry] = []
        var isComplete = false
    }

    private var next: Handle = 1
    private(set) var files: [Handle: File] = [:]
    private(set) var directories: [Handle: Directory] = [:]
    private var openCounts: [InodeNumber: Int] = [:]

    func isOpen(_ inode: InodeNumber) -> Bool { openCounts[inode] != nil }
    var openInodes: some Collection<InodeNumber> { openCounts.keys }

    mutating func open(_ inode: InodeNumber, flags: OpenFlags, after foreignChange: UInt64?) -> Handle {
        files[next] = File(inode: inode, flags: flags, foreignChange: foreignChange)
        return count(inode)
    }

    /// Returns the inode when this was its last open handle.
    mutating func close(_ handle: Handle) -> InodeNumber? {
        files.removeValue(forKey: handle).flatMap { discount($0.inode) }
    }

    /// Whoever has this inode open gets ESTALE from now on.
    mutating func expire(_ inode: InodeNumber) {
        for (handle, file) in files where file.inode == inode {
            files[handle] = File(inode: Self.nowhere, flags: file.flags, wholeLockOwner: file.wholeLockOwner)
            openCounts[Self.nowhere, default: 0] += 1
        }
        openCounts[inode] = nil
    }

    mutating func forgetRangeOwner(_ owner: UInt64, of inode: InodeNumber) {
        for (handle, file) in files where file.inode == inode && file.rangeOwners.contains(owner) {
            files[handle]?.rangeOwners.remove(owner)
        }
    }

    func isExpired(_ handle: Handle) -> Bool { files[handle]?.inode == Self.nowhere }

    /// No inode has this number.
    private static let nowhere: InodeNumber = 0

    mutating func update(_ handle: Handle, _ body: (inout File) -> Void) {
        guard files[handle] != nil else { return }
        body(&files[handle]!)
    }

    mutating func openDirectory(_ inode: InodeNumber, parent: InodeNumber) -> Handle {
        directories[next] = Directory(inode: inode, parent: parent)
        return count(inode)
    }

    /// As `close`.
    mutating func closeDirectory(_ handle: Handle) -> InodeNumber? {
        directories.removeValue(forKey: handle).flatMap { discount($0.inode) }
    }

    /// The handle that was just filled in is taken.
    private mutating func count(_ inode: InodeNumber) -> Handle {
        openCounts[inode, default: 0] += 1
        defer { next += 1 }
        return next
    }

    private mutating func discount(_ inode: InodeNumber) -> InodeNumber? {
        guard let count = openCounts[inode] else { return nil }
        openCounts[inode] = count == 1 ? nil : count - 1
        return count == 1 ? inode : nil
    }

    mutating func setDirectory(_ handle: Handle, _ directory: Directory) {
        guard directories[handle] != nil else { return }
        directories[handle] = directory
    }
}

/// How far reading ahead has gone for one open file.
struct ReadAhead {
    static let window: UInt64 = 8 << 20

    /// Where a read must start to count as sequential.
    var expected: UInt64 = 0
    /// Bytes before this were asked for already.
    var requested: UInt64 = 0
    /// Sequential reads in a row.
    var streak = 0

    /// What to fetch ahead after a read of this range; empty unless the file is being read in order.
    mutating func next(after range: Range<UInt64>, size: UInt64) -> Range<UInt64> {
        // The kernel's own read-ahead may deliver neighbouring requests out of order; within one window that is still
        // sequential.
        let sequential = range.lowerBound <= expected + (1 << 20) && expected <= range.upperBound + (1 << 20)
        streak = sequential ? streak + 1 : 0
        expected = sequential ? max(expected, range.upperBound) : range.upperBound
        guard streak >= 2 else {
            requested = range.upperBound
            return 0..<0
        }
        let start = max(requested, range.upperBound)
        let end = min(size, expected + Self.window)
        // In steps of a quarter window, so that each fetch is long.
        guard end > start, end - start >= Self.window / 4 || end == size else { return 0..<0 }
        requested = end
        return start..<end
    }
}
