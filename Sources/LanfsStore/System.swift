import CLinux
import Glibc
import Synchronization
import SystemPackage

/// The only file of this room that makes system calls, beside `PairedWriter.swift`; `errno` becomes a typed error here.
///
/// An open descriptor, closed when its last user lets go: a segment may be evicted or unlinked while it is being read.
final class OpenFile: Sendable {
    let descriptor: Int32
    let path: FilePath
    /// The kernel or the file system has no transfers that leave nothing in the page cache.
    let lacksPassing = Atomic<Bool>(false)

    init(_ path: FilePath, _ flags: Int32, action: String = "open") throws(StoreError) {
        let descriptor = retrying { path.withPlatformString { open($0, flags | O_CLOEXEC, 0o600) } }
        guard descriptor >= 0 else { throw .last(action, path) }
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    func information() throws(StoreError) -> (size: UInt64, allocated: UInt64) {
        var information = stat()
        guard fstat(descriptor, &information) == 0 else { throw .last("examine", path) }
        return (UInt64(max(0, information.st_size)), UInt64(max(0, information.st_blocks)) * 512)
    }

    /// `body` with the flags of a transfer that leaves nothing in the page cache, if it is one and there are such, else
    /// with none.
    private func passing(_ once: Bool, _ body: (Int32) -> Int) -> Int {
        if once, !lacksPassing.load(ordering: .relaxed) {
            let result = retrying { body(LANFS_RWF_DONTCACHE) }
            if result >= 0 || errno != EOPNOTSUPP { return result }
            lacksPassing.store(true, ordering: .relaxed)
        }
        return retrying { body(0) }
    }

    /// Reads until `buffer` is full or the file ends; how many bytes came.
    ///
    /// - Parameter once: nobody is expected to read it again soon; what is not in the page cache does not stay there.
    func read(
        at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, once: Bool = false
    ) throws(StoreError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = passing(once) { flags in
                var rest = iovec(iov_base: buffer.baseAddress?.advanced(by: done), iov_len: buffer.count - done)
                return preadv2(descriptor, &rest, 1, off_t(offset) + done, flags)
            }
            guard count >= 0 else { throw .last("read", path) }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Fills `buffer` if all of it is in the page cache; else false, soon and with nothing said about why.
    func readCached(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        var vector = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
        return preadv2(descriptor, &vector, 1, off_t(offset), LANFS_RWF_NOWAIT) == buffer.count
    }

    func read(at offset: UInt64, count: Int) throws(StoreError) -> [UInt8] {
        var failure: StoreError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(StoreError) {
                filled = try read(at: offset, into: UnsafeMutableRawBufferPointer(buffer))
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Everything, unless it is longer than `limit`.
    func readAll(limit: Int) throws(StoreError) -> [UInt8] {
        let size = try information().size
        guard size <= UInt64(limit) else { throw .damaged(path: path, reason: "\(size) bytes is too long for it") }
        return try read(at: 0, count: Int(size))
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(StoreError) {
        var done = 0
        while done < bytes.count {
            let count = retrying {
                pwrite(descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done, off_t(offset) + done)
            }
            guard count >= 0 else { throw .last("write", path) }
            done += count
        }
    }

    func write(_ bytes: [UInt8], at offset: UInt64) throws(StoreError) {
        var failure: StoreError?
        bytes.withUnsafeBytes { buffer in
            do throws(StoreError) { try write(buffer, at: offset) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Header and body in one call, so that a record costs one system call and no copy.
    ///
    /// - Parameter once: as for `read`.
    func write(
        _ header: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at offset: UInt64, once: Bool
    ) throws(StoreError) {
        let written = withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { vectors in
            vectors[0] = iovec(
                iov_base: UnsafeMutableRawPointer(mutating: header.baseAddress), iov_len: header.count)
            vectors[1] = iovec(iov_base: UnsafeMutableRawPointer(mutating: body.baseAddress), iov_len: body.count)
            return passing(once) { pwritev2(descriptor, vectors.baseAddress, 2, off_t(offset), $0) }
        }
        guard written >= 0 else { throw .last("write", path) }
        if written < header.count {
            try write(UnsafeRawBufferPointer(rebasing: header[written...]), at: offset + UInt64(written))
        }
        let ofBody = max(0, written - header.count)
        try write(UnsafeRawBufferPointer(rebasing: body[ofBody...]), at: offset + UInt64(header.count + ofBody))
    }

    func syncData() throws(StoreError) {
        guard retrying({ fdatasync(descriptor) }) == 0 else { throw .last("flush", path) }
    }

    /// Whether `syncData` of either also brings to disk what was written to the other past the page cache, over what was
    /// there before.
    ///
    /// So it is where both lie on one device and the file system writes over blocks in place: such a write is on the device
    /// when it returns, lacks only the flush of the device's cache, and changes nothing else. (ext4: `ext4_sync_file`,
    /// XFS: `xfs_file_fsync`, both end with `blkdev_issue_flush`.) ext4 may have to go through the page cache all the same,
    /// for a file whose data it journals; then the kernel names no alignment.
    func shareFlush(with other: OpenFile) -> Bool {
        var (mine, others) = (stat(), stat())
        var system = statfs()
        guard fstat(descriptor, &mine) == 0, fstat(other.descriptor, &others) == 0, mine.st_dev == others.st_dev,
            fstatfs(descriptor, &system) == 0
        else { return false }
        return [Int(EXT4_SUPER_MAGIC), Int(XFS_SUPER_MAGIC)].contains(Int(system.f_type))
            && [descriptor, other.descriptor].allSatisfy { 1...UInt32(JournalSlot.size) ~= lanfs_direct_alignment($0) }
    }

    func syncAll() throws(StoreError) {
        guard retrying({ fsync(descriptor) }) == 0 else { throw .last("flush", path) }
    }

    /// Starts writing a range back without waiting, so that the flush that follows finds little left to do.
    func startWriteback(at offset: UInt64, length: UInt64) {
        _ = sync_file_range(descriptor, off_t(offset), off_t(length), LANFS_SYNC_FILE_RANGE_WRITE)
    }

    /// Allocates disk space and lengthens the file to `end`; false where the file system cannot do that.
    func allocate(from start: UInt64, to end: UInt64) throws(StoreError) -> Bool {
        guard retrying({ fallocate(descriptor, 0, off_t(start), off_t(end - start)) }) == 0 else {
            if errno == EOPNOTSUPP || errno == ENOSYS { return false }
            throw .last("allocate space for", path)
        }
        return true
    }

    /// Gives the range's disk space back; false where the file system cannot do that.
    func punch(at offset: UInt64, length: UInt64) throws(StoreError) -> Bool {
        guard retrying({ fallocate(descriptor, LANFS_FALLOC_PUNCH_HOLE, off_t(offset), off_t(length)) }) == 0 else {
            if errno == EOPNOTSUPP || errno == ENOSYS { return false }
            throw .last("free space of", path)
        }
        return true
    }

    func truncate(to size: UInt64) throws(StoreError) {
        guard retrying({ ftruncate(descriptor, off_t(size)) }) == 0 else { throw .last("truncate", path) }
    }

    /// The next byte at or after `offset` that is not in a hole; nil when only holes are left.
    func nextData(from offset: UInt64) -> UInt64? {
        let found = lseek(descriptor, off_t(offset), LANFS_SEEK_DATA)
        if found >= 0 { return UInt64(found) }
        return errno == ENXIO ? nil : offset
    }

    /// An exclusive lock that lives as long as the descriptor; false when somebody else holds it.
    func lock() throws(StoreError) -> Bool {
        if retrying({ flock(descriptor, LOCK_EX | LOCK_NB) }) == 0 { return true }
        guard errno == EWOULDBLOCK else { throw .last("lock", path) }
        return false
    }
}

/// Operations on paths.
enum Disk {
    static func createDirectory(_ path: FilePath) throws(StoreError) {
        guard path.withPlatformString({ mkdir($0, 0o700) }) == 0 else {
            if errno == EEXIST { return }
            throw .last("create the directory", path)
        }
        try syncDirectory(path.removingLastComponent())
    }

    static func createDirectories(_ path: FilePath) throws(StoreError) {
        guard !path.isEmpty, path != "/", !exists(path) else { return }
        try createDirectories(path.removingLastComponent())
        try createDirectory(path)
    }

    /// A new or renamed entry survives a power cut only after this (section 7).
    static func syncDirectory(_ path: FilePath) throws(StoreError) {
        try OpenFile(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY).syncAll()
    }

    static func exists(_ path: FilePath) -> Bool {
        path.withPlatformString { access($0, F_OK) } == 0
    }

    /// Names in a directory, sorted, without `.` and `..`.
    static func list(_ path: FilePath) throws(StoreError) -> [String] {
        guard let stream = path.withPlatformString({ opendir($0) }) else { throw .last("list", path) }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { throw .last("list", path) }
                return names.sorted()
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    static func rename(_ old: FilePath, to new: FilePath) throws(StoreError) {
        let result = old.withPlatformString { old in new.withPlatformString { Glibc.rename(old, $0) } }
        guard result == 0 else { throw .last("rename to \(new)", old) }
    }

    static func remove(_ path: FilePath) throws(StoreError) {
        guard path.withPlatformString({ unlink($0) }) == 0 || errno == ENOENT else { throw .last("delete", path) }
    }

    /// Replaces a file's content so that a crash leaves either the old or the new one.
    static func replace(_ path: FilePath, with bytes: [UInt8]) throws(StoreError) {
        let temporary = FilePath(path.string + ".new")
        let file = try OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, action: "create")
        try file.write(bytes, at: 0)
        try file.syncAll()
        try rename(temporary, to: path)
        try syncDirectory(path.removingLastComponent())
    }

    /// Bytes that an ordinary user may still write on the file system, and its size.
    static func space(_ path: FilePath) throws(StoreError) -> (free: UInt64, size: UInt64) {
        var information = statvfs()
        guard path.withPlatformString({ statvfs($0, &information) }) == 0 else { throw .last("measure", path) }
        let unit = UInt64(information.f_frsize)
        return (UInt64(information.f_bavail) &* unit, UInt64(information.f_blocks) &* unit)
    }
}

@inline(__always)
private func retrying<Number: FixedWidthInteger>(_ call: () -> Number) -> Number {
    while true {
        let result = call()
        if result >= 0 || errno != EINTR { return result }
    }
}

extension StoreError {
    static func last(_ action: String, _ path: FilePath) -> StoreError {
        .system(action: action, path: path, errno: Errno(rawValue: Glibc.errno))
    }
}
