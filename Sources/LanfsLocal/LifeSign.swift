import Glibc
import SystemPackage

/// A file that is locked for as long as this process lives, however it ends: who finds it unlocked knows that its maker is
/// dead.
public final class LifeSign: Sendable {
    private let path: FilePath
    private let descriptor: Int32

    /// Makes the file, in a folder that is made when missing.
    public init(_ path: FilePath) throws(LocalFileError) {
        let folder = path.removingLastComponent()
        try PrivateFile.makeDirectory(folder)
        // Locked before it gets its name: nobody must find it unlocked.
        let temporary = folder.appending(".\(path.lastComponent?.string ?? "")")
        descriptor = try Self.open(temporary, O_CREAT)
        self.path = path
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, rename(temporary.string, path.string) == 0 else {
            let reason = errno
            close(descriptor)
            throw .failed(action: "lock", path: path, errno: Errno(rawValue: reason))
        }
    }

    deinit { close(descriptor) }

    /// Orderly: nobody has to clean up.
    public func end() throws(LocalFileError) { try PrivateFile.remove(path) }

    /// The names of those in `folder` whose makers are dead.
    public static func dead(in folder: FilePath) throws(LocalFileError) -> [String] {
        guard let directory = opendir(folder.string) else {
            if errno == ENOENT { return [] }
            throw .failed(action: "read", path: folder, errno: Errno(rawValue: errno))
        }
        defer { closedir(directory) }
        var dead: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix("."), isDead(folder.appending(name)) { dead.append(name) }
        }
        return dead
    }

    /// Not when it cannot be told: it may have ended in order just now, or be another user's.
    private static func isDead(_ path: FilePath) -> Bool {
        let descriptor = Glibc.open(path.string, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_EX | LOCK_NB) == 0
    }

    private static func open(_ path: FilePath, _ flags: Int32) throws(LocalFileError) -> Int32 {
        let descriptor = Glibc.open(path.string, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0o600)
        guard descriptor >= 0 else { throw .failed(action: "open", path: path, errno: Errno(rawValue: errno)) }
        return descriptor
    }
}
