import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem

// The kernel's structures from the volume's types and back.

extension InodeType {
    var modeBits: mode_t {
        switch self {
        case .regular: S_IFREG
        case .directory: S_IFDIR
        case .symlink: S_IFLNK
        case .fifo: S_IFIFO
        case .socket: S_IFSOCK
        case .characterDevice: S_IFCHR
        case .blockDevice: S_IFBLK
        }
    }

    init?(modeBits: mode_t) {
        switch modeBits & S_IFMT {
        case S_IFREG, 0: self = .regular
        case S_IFDIR: self = .directory
        case S_IFLNK: self = .symlink
        case S_IFIFO: self = .fifo
        case S_IFSOCK: self = .socket
        case S_IFCHR: self = .characterDevice
        case S_IFBLK: self = .blockDevice
        default: return nil
        }
    }
}

extension Attributes {
    var mode: mode_t { type.modeBits | mode_t(permissions & 0o7777) }
    /// stat(2) counts in units of 512 bytes.
    var blocks: UInt64 { allocated / 512 + (allocated % 512 == 0 ? 0 : 1) }
}

/// What stdio and others take as the size of their buffers.
private let preferredBlockSize = 4096

extension stat {
    init(_ attributes: Attributes) {
        self.init()
        st_ino = ino_t(attributes.inode)
        st_mode = attributes.mode
        st_nlink = nlink_t(attributes.linkCount)
        st_uid = attributes.user
        st_gid = attributes.group
        st_rdev = dev_t(attributes.device)
        st_size = off_t(clamping: attributes.size)
        st_blksize = blksize_t(preferredBlockSize)
        st_blocks = blkcnt_t(clamping: attributes.blocks)
        st_atim = timespec(attributes.accessed)
        st_mtim = timespec(attributes.modified)
        st_ctim = timespec(attributes.changed)
    }
}

extension timespec {
    init(_ time: Timestamp) { self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds)) }
}

extension Timestamp {
    init(_ time: timespec) { self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(clamping: time.tv_nsec)) }
}

extension lanfs_fuse_sx_time {
    init(_ time: Timestamp) { self.init(tv_sec: time.seconds, tv_nsec: time.nanoseconds, reserved: 0) }
}

extension lanfs_fuse_statx_out {
    init(_ attributes: Attributes, validSeconds: Double) {
        self.init()
        let seconds = min(max(validSeconds, 0), 1e9)
        attr_valid = UInt64(seconds)
        attr_valid_nsec = UInt32((seconds - Double(UInt64(seconds))) * 1e9)
        mask = LANFS_STATX_MASK
        blksize = UInt32(preferredBlockSize)
        nlink = attributes.linkCount
        uid = attributes.user
        gid = attributes.group
        mode = UInt16(attributes.mode)
        ino = attributes.inode
        size = min(attributes.size, UInt64(Int64.max))
        blocks = attributes.blocks
        atime = lanfs_fuse_sx_time(attributes.accessed)
        btime = lanfs_fuse_sx_time(attributes.created)
        ctime = lanfs_fuse_sx_time(attributes.changed)
        mtime = lanfs_fuse_sx_time(attributes.modified)
        // As MAJOR and MINOR take the kernel's 32-bit device number apart.
        rdev_major = (attributes.device & 0xfff00) >> 8
        rdev_minor = (attributes.device & 0xff) | ((attributes.device >> 12) & 0xfff00)
    }
}

extension AttributeChanges {
    /// `set`: FUSE_SET_ATTR_ bits.
    init(_ status: stat, set: Int32, now: Timestamp) {
        self.init()
        if set & FUSE_SET_ATTR_MODE != 0 { permissions = UInt16(status.st_mode & 0o7777) }
        if set & FUSE_SET_ATTR_UID != 0 { user = status.st_uid }
        if set & FUSE_SET_ATTR_GID != 0 { group = status.st_gid }
        if set & FUSE_SET_ATTR_SIZE != 0 { size = UInt64(clamping: status.st_size) }
        if set & FUSE_SET_ATTR_ATIME_NOW != 0 {
            accessed = now
        } else if set & FUSE_SET_ATTR_ATIME != 0 {
            accessed = Timestamp(status.st_atim)
        }
        if set & FUSE_SET_ATTR_MTIME_NOW != 0 {
            modified = now
        } else if set & FUSE_SET_ATTR_MTIME != 0 {
            modified = Timestamp(status.st_mtim)
        }
        if set & FUSE_SET_ATTR_CTIME != 0 { changed = Timestamp(status.st_ctim) }
    }
}

extension OpenFlags {
    init(_ flags: Int32) {
        self = []
        switch flags & O_ACCMODE {
        case O_WRONLY: insert(.write)
        case O_RDWR: formUnion([.read, .write])
        default: insert(.read)
        }
        if flags & O_APPEND != 0 { insert(.append) }
        if flags & O_TRUNC != 0 { insert(.truncate) }
        if flags & O_EXCL != 0 { insert(.exclusive) }
        // O_SYNC contains O_DSYNC's bit.
        if flags & O_DSYNC != 0 { insert(.synchronous) }
        if flags & lanfs_o_direct() != 0 { insert(.direct) }
    }
}

extension fuse_file_info {
    init(_ file: OpenFile) {
        self.init()
        fh = file.handle
        lanfs_fuse_set_keep_cache(&self, file.keepCache ? 1 : 0)
        lanfs_fuse_set_direct_io(&self, file.isDirect ? 1 : 0)
    }
}

extension statvfs {
    init(_ usage: VolumeUsage) {
        self.init()
        let unit: UInt64 = 4096
        // Inodes are not rationed: as many as anybody can want are free.
        let freeFiles = UInt(UInt32.max)
        f_bsize = UInt(unit)
        f_frsize = UInt(unit)
        f_blocks = UInt(usage.capacity / unit)
        f_bfree = UInt(min(usage.free, usage.capacity) / unit)
        f_bavail = f_bfree
        f_files = UInt(clamping: usage.files).addingReportingOverflow(freeFiles).partialValue
        f_ffree = freeFiles
        f_favail = freeFiles
        f_namemax = 255
    }
}

extension LockRange {
    /// Nil: a type of lock there is not.
    init?(_ lock: flock) {
        let kind: Kind
        switch Int32(lock.l_type) {
        case Int32(F_RDLCK): kind = .shared
        case Int32(F_WRLCK): kind = .exclusive
        case Int32(F_UNLCK): kind = .unlock
        default: return nil
        }
        let start = UInt64(clamping: lock.l_start)
        // Length zero is the end of the file wherever it is.
        let end = lock.l_len <= 0 ? UInt64.max : start + UInt64(lock.l_len) - 1
        self.init(kind: kind, start: start, end: end, pid: UInt32(bitPattern: lock.l_pid))
    }
}

extension flock {
    /// Nil: nobody has a lock in the way.
    init(_ range: LockRange?) {
        self.init()
        l_whence = Int16(SEEK_SET)
        guard let range else {
            l_type = Int16(F_UNLCK)
            return
        }
        switch range.kind {
        case .shared: l_type = Int16(F_RDLCK)
        case .exclusive: l_type = Int16(F_WRLCK)
        case .unlock: l_type = Int16(F_UNLCK)
        }
        l_start = off_t(clamping: range.start)
        let last = UInt64(Int64.max)
        l_len = range.end >= last || range.end < range.start ? 0 : off_t(range.end - range.start + 1)
        l_pid = pid_t(bitPattern: range.pid)
    }
}
