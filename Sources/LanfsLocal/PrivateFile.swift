import Glibc
import Synchronization
import SystemPackage

/// What went wrong with a file of this user's own, said with its path.
public enum LocalFileError: Error, Equatable, CustomStringConvertible {
    case failed(action: String, path: FilePath, errno: Errno)
    case exists(FilePath)
    case readableByOthers(FilePath, mode: UInt16)
    case tooLarge(FilePath, limit: Int)

    public var description: String {
        switch self {
        case .failed(let action, let path, let errno): "cannot \(action) \(path): \(errno)"
        case .exists(let path): "\(path) exists already and is never overwritten; move it away or choose another name"
        case .readableByOthers(let path, let mode):
            "\(path) can be read by others (mode \(String(mode, radix: 8))); make it private with: chmod 600 '\(path)'"
        case .tooLarge(let path, let limit): "\(path) is larger than the \(limit) bytes such a file can have"
        }
    }
}

/// Small files that only their owner may read, written whole or not at all.
public enum PrivateFile {
    /// Two threads may write the same file at the same time.
    private static let writes = Atomic<UInt64>(0)

    /// `nil` when there is no such file. A secret that others could have read is refused, not used.
    public static func read(
        _ path: FilePath, limit: Int = 1 << 20, secret: Bool = true
    ) throws(LocalFileError) -> [UInt8]? {
        let descriptor = open(path.string, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw .failed(action: "open", path: path, errno: Errno(rawValue: errno))
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .failed(action: "examine", path: path, errno: Errno(rawValue: errno))
        }
        if secret, status.st_mode & 0o077 != 0 {
            throw .readableByOthers(path, mode: UInt16(status.st_mode & 0o7777))
        }
        guard status.st_size <= limit else { throw .tooLarge(path, limit: limit) }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress! + filled, $0.count - filled) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .failed(action: "read", path: path, errno: Errno(rawValue: errno)) }
            if count == 0 { break }
            filled += count
        }
        bytes.removeSubrange(filled...)
        return bytes
    }

    public static func isThere(_ path: FilePath) throws(LocalFileError) -> Bool {
        var status = stat()
        if stat(path.string, &status) == 0 { return true }
        guard errno == ENOENT || errno == ENOTDIR else {
            throw .failed(action: "examine", path: path, errno: Errno(rawValue: errno))
        }
        return false
    }

    /// Replaces the file in one step that survives a power cut: temporary name, fsync, rename, fsync of the folder.
    /// With `replacing` false an existing file is an error. The folder is made when missing.
    public static func write(
        _ bytes: [UInt8], to path: FilePath, replacing: Bool = true
    ) throws(LocalFileError) {
        let folder = path.removingLastComponent()
        try makeDirectory(folder)
        let number = writes.add(1, ordering: .relaxed).newValue
        let temporary = folder.appending(".\(path.lastComponent?.string ?? "file").\(getpid()).\(number).tmp")
        let descriptor = open(temporary.string, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .failed(action: "create", path: temporary, errno: Errno(rawValue: errno)) }
        defer { unlink(temporary.string) }
        do {
            defer { close(descriptor) }
            var written = 0
            while written < bytes.count {
                let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw .failed(action: "write", path: temporary, errno: Errno(rawValue: errno)) }
                written += count
            }
            guard fchmod(descriptor, 0o600) == 0, fsync(descriptor) == 0 else {
                throw .failed(action: "save", path: temporary, errno: Errno(rawValue: errno))
            }
        }
        if replacing {
            guard rename(temporary.string, path.string) == 0 else {
                throw .failed(action: "replace", path: path, errno: Errno(rawValue: errno))
            }
        } else {
            // link, not rename: it fails when the name is taken, whoever took it in the meantime.
            guard link(temporary.string, path.string) == 0 else {
                if errno == EEXIST { throw .exists(path) }
                throw .failed(action: "create", path: path, errno: Errno(rawValue: errno))
            }
        }
        try syncDirectory(folder)
    }

    /// The folder and those above it, 0700.
    public static func makeDirectory(_ path: FilePath) throws(LocalFileError) {
        if mkdir(path.string, 0o700) == 0 || errno == EEXIST { return }
        if errno == ENOENT, !path.isEmpty, path.removingLastComponent() != path {
            try makeDirectory(path.removingLastComponent())
            if mkdir(path.string, 0o700) == 0 || errno == EEXIST { return }
        }
        throw .failed(action: "make the folder", path: path, errno: Errno(rawValue: errno))
    }

    public static func remove(_ path: FilePath) throws(LocalFileError) {
        guard unlink(path.string) == 0 || errno == ENOENT else {
            throw .failed(action: "remove", path: path, errno: Errno(rawValue: errno))
        }
    }

    /// Gives a file another name in the same folder, replacing what has it.
    public static func move(_ path: FilePath, to target: FilePath) throws(LocalFileError) {
        guard rename(path.string, target.string) == 0 else {
            throw .failed(action: "rename", path: path, errno: Errno(rawValue: errno))
        }
        try syncDirectory(target.removingLastComponent())
    }

    static func syncDirectory(_ path: FilePath) throws(LocalFileError) {
        let descriptor = open(path.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .failed(action: "open", path: path, errno: Errno(rawValue: errno)) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .failed(action: "save", path: path, errno: Errno(rawValue: errno)) }
    }
}
