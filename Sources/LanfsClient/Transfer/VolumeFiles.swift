import Glibc
import LanfsCrypto
import LanfsFileSystem
import SystemPackage

/// The volume's operations as transfers need them: awaited, by path, with errors that name the path.
struct VolumeFiles: Sendable {
    let volume: Volume

    var caller: Caller { Caller(user: getuid(), group: getgid(), umask: 0, now: .now) }

    func attempt<Value>(
        _ action: String, _ path: VolumePath, _ outcome: Outcome<Value>
    ) async throws(TransferError) -> Value {
        do throws(Errno) {
            return try await outcome.value()
        } catch {
            throw .failed(action: action, .volume(path), error)
        }
    }

    func find(_ path: VolumePath) async throws(TransferError) -> Attributes? {
        do throws(Errno) {
            return try await volume.find(path)
        } catch .notDirectory {
            throw .notFolder(.volume(path.parent))
        } catch {
            throw .failed(action: "look up", .volume(path), error)
        }
    }

    /// Those that cannot be read whole now.
    func incomplete(
        _ files: [Attributes], _ reach: Reach, at path: VolumePath
    ) async throws(TransferError) -> Set<InodeNumber> {
        do throws(VolumeError) {
            return try await reach.incomplete(files)
        } catch {
            throw .failed(action: "examine", .volume(path), error.errno)
        }
    }

    /// The directory at `path`, made with those above it where missing.
    func directory(at path: VolumePath) async throws(TransferError) -> InodeNumber {
        if let found = try await find(path) {
            guard found.type == .directory else { throw .notFolder(.volume(path)) }
            return found.inode
        }
        guard let name = path.name else { throw .notFound(.volume(path)) }
        let parent = try await directory(at: path.parent)
        return try await attempt(
            "make", path, volume.makeDirectory(name, in: parent, permissions: 0o755, by: caller)
        ).inode
    }

    func entries(of directory: InodeNumber, at path: VolumePath) async throws(TransferError) -> [ListedEntry] {
        let handle = try await attempt("open", path, volume.openDirectory(directory))
        defer { volume.releaseDirectory(handle) }
        var entries: [ListedEntry] = []
        var offset: UInt64 = 0
        while true {
            let more = try await attempt(
                "read", path, volume.readDirectory(handle, offset: offset, limit: 1024, attributes: true))
            guard let last = more.last else { break }
            offset = last.nextOffset
            for entry in more {
                guard let attributes = entry.attributes else { continue }
                volume.forget(attributes.inode, lookups: 1)
                entries.append(entry)
            }
        }
        return entries
    }

    /// Sixteen hexadecimal digits that name a version of a file: another source, target, size or time, another name.
    static func versionName(_ parts: [UInt64], of names: [UInt8]) -> String {
        let bytes = parts.flatMap { part in withUnsafeBytes(of: part.bigEndian) { Array($0) } }
        return Hex.encode(sha256(bytes + names).prefix(8))
    }
}
