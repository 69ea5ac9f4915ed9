import Glibc
import LanfsFileSystem
import SystemPackage

/// A file of this machine, open; closed when the last reference goes.
final class LocalFile: Sendable {
    let descriptor: Int32
    let place: TransferPlace

    init(descriptor: Int32, place: TransferPlace) {
        self.descriptor = descriptor
        self.place = place
    }

    deinit { if descriptor > 2 { close(descriptor) } }

    static func open(
        _ path: LocalPath, _ flags: Int32, _ mode: mode_t = 0, action: String
    ) throws(TransferError) -> LocalFile {
        let descriptor = path.withCString { Glibc.open($0, flags | O_CLOEXEC, mode) }
        guard descriptor >= 0 else {
            guard errno == ENOENT else { throw failure(action, path) }
            throw .notFound(.local(flags & O_CREAT == 0 ? path : path.folder))
        }
        return LocalFile(descriptor: descriptor, place: .local(path))
    }

    /// `nil` when there is nothing. `follows`: what a symbolic link leads to.
    static func status(of path: LocalPath, follows: Bool = false) throws(TransferError) -> stat? {
        var status = stat()
        let outcome = path.withCString { follows ? stat($0, &status) : lstat($0, &status) }
        if outcome == 0 { return status }
        if errno == ENOENT { return nil }
        if errno == ENOTDIR { throw .notFound(.local(path)) }
        throw failure("examine", path)
    }

    static func isFolder(_ path: LocalPath) -> Bool {
        guard let status = try? status(of: path, follows: true) else { return false }
        return status.st_mode & S_IFMT == S_IFDIR
    }

    /// The folder and those above it, where missing.
    static func makeFolders(_ path: LocalPath) throws(TransferError) {
        if path.withCString({ mkdir($0, 0o777) }) == 0 || errno == EEXIST && isFolder(path) { return }
        var parts = path.bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: true)
        guard errno == ENOENT, parts.popLast() != nil, !parts.isEmpty else { throw failure("make", path) }
        let root = path.bytes.first == UInt8(ascii: "/") ? [UInt8(ascii: "/")] : []
        try makeFolders(LocalPath(root + parts.joined(separator: [UInt8(ascii: "/")])))
        guard path.withCString({ mkdir($0, 0o777) }) == 0 else { throw failure("make", path) }
    }

    /// The path with all symbolic links followed.
    static func resolved(_ path: LocalPath) -> LocalPath? {
        guard let resolved = path.withCString({ realpath($0, nil) }) else { return nil }
        defer { free(resolved) }
        return LocalPath(Array(UnsafeBufferPointer(start: resolved, count: strlen(resolved))).map(UInt8.init(bitPattern:)))
    }

    /// To be made at once after the call that failed: it reads `errno`.
    static func failure(_ action: String, _ path: LocalPath) -> TransferError {
        .failed(action: action, .local(path), Errno(rawValue: errno))
    }

    private func failure(_ action: String) -> TransferError {
        .failed(action: action, place, Errno(rawValue: errno))
    }

    func status() throws(TransferError) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("examine") }
        return status
    }

    func seek(to offset: UInt64) throws(TransferError) {
        guard lseek(descriptor, off_t(clamping: offset), SEEK_SET) >= 0 else { throw failure("position") }
    }

    /// Where data begins at or after `offset`, with the file there; `nil` when only a hole follows. What cannot be
    /// positioned, or does not know its holes, is all data.
    func seekData(from offset: UInt64) -> UInt64? {
        let position = lseek(descriptor, off_t(clamping: offset), KernelConstant.seekData)
        if position >= 0 { return UInt64(position) }
        return errno == ENXIO ? nil : offset
    }

    func setSize(_ size: UInt64) throws(TransferError) {
        guard ftruncate(descriptor, off_t(clamping: size)) == 0 else { throw failure("extend") }
    }

    /// Fills `buffer` as far as the file goes; returns how far that is.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(TransferError) -> Int {
        var filled = 0
        while filled < buffer.count, let start = buffer.baseAddress {
            let count = Glibc.read(descriptor, start + filled, buffer.count - filled)
            if count == 0 { break }
            if count > 0 { filled += count; continue }
            if errno != EINTR { throw failure("read") }
        }
        return filled
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(TransferError) {
        var written = 0
        while written < bytes.count, let start = bytes.baseAddress {
            let count = Glibc.write(descriptor, start + written, bytes.count - written)
            if count >= 0 { written += count; continue }
            if errno != EINTR { throw failure("write") }
        }
    }

    /// The names in a folder, byte by byte in order.
    static func entries(of path: LocalPath) throws(TransferError) -> [[UInt8]] {
        guard let directory = path.withCString({ opendir($0) }) else { throw failure("read", path) }
        defer { closedir(directory) }
        var names: [[UInt8]] = []
        while let entry = readdir(directory) {
            // d_name's declared size is not its true one: the entry's own length counts.
            let start = MemoryLayout<dirent>.offset(of: \.d_name) ?? 19
            let bytes = UnsafeRawBufferPointer(start: entry, count: Int(entry.pointee.d_reclen))
            let name = Array(bytes[start...].prefix { $0 != 0 })
            if name != Array(".".utf8), name != Array("..".utf8) { names.append(name) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }
}

extension timespec {
    init(_ time: Timestamp) {
        self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
    }
}

extension Timestamp {
    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }
}
