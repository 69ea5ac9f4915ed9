import Glibc
import SystemPackage

/// The folder to mount on, checked: it exists, is a folder, is empty, has no mount of ours on it, and a dead mount is gone.
enum MountPoint {
    /// Returns the absolute path without symbolic links.
    static func prepare(_ path: String, nonEmpty: Bool) throws(MountError) -> String {
        let resolved = try resolve(path)
        if let top = MountTable.top(at: resolved) {
            switch probe(resolved) {
            case .failure(.socketNotConnected) where top.isLanfs:
                if let reason = KernelMount.detach(resolved) { throw .staleMountStays(resolved, reason: reason) }
                // Several dead mounts may lie on one another.
                return try prepare(resolved, nonEmpty: nonEmpty)
            case .failure(.socketNotConnected):
                throw .deadForeignMount(resolved, type: top.type)
            default:
                if top.isLanfs { throw .alreadyMounted(resolved) }
            }
        }
        switch probe(resolved) {
        case .failure(.noSuchFileOrDirectory): throw .mountPointMissing(path)
        case .failure(let error): throw .mountPointUnusable(path, error)
        case .success(false): throw .mountPointNotDirectory(path)
        case .success(true): break
        }
        if !nonEmpty, try !isEmpty(resolved) { throw .mountPointNotEmpty(path) }
        return resolved
    }

    private static func resolve(_ path: String) throws(MountError) -> String {
        if let whole = realPath(path) { return whole }
        let error = Errno(rawValue: errno)
        // A dead mount cannot be entered: resolve the folder it lies in.
        guard error == .socketNotConnected else {
            throw error == .noSuchFileOrDirectory ? .mountPointMissing(path) : .mountPointUnusable(path, error)
        }
        var parts = path.split(separator: "/")
        guard let name = parts.popLast(), name != ".", name != ".." else { throw .mountPointUnusable(path, error) }
        let parent = (path.hasPrefix("/") ? "/" : "./") + parts.joined(separator: "/")
        guard let folder = realPath(parent) else { throw .mountPointUnusable(path, Errno(rawValue: errno)) }
        return folder == "/" ? "/\(name)" : "\(folder)/\(name)"
    }

    private static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// Whether it is a folder. On a thread of its own: a mount whose process hangs never answers, and counts as a folder.
    static func probe(_ path: String) -> Result<Bool, Errno> {
        let answer = ConditionLock<Result<Bool, Errno>?>(nil)
        let thread = try? PlainThread(name: "lanfs-probe") {
            var status = stat()
            var usage = statvfs()
            // statvfs asks whoever serves the path, where stat may be answered from what the kernel remembers.
            let result: Result<Bool, Errno> =
                statvfs(path, &usage) == 0 && stat(path, &status) == 0
                ? .success(status.st_mode & S_IFMT == S_IFDIR) : .failure(Errno(rawValue: errno))
            answer.change { $0 = result }
        }
        guard let thread else { return .failure(.resourceTemporarilyUnavailable) }
        thread.detach()
        return answer.wait(upTo: .seconds(2)) { $0 } ?? .success(true)
    }

    private static func isEmpty(_ path: String) throws(MountError) -> Bool {
        guard let directory = opendir(path) else { throw .mountPointUnusable(path, Errno(rawValue: errno)) }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != Array(".".utf8), name != Array("..".utf8) { return false }
        }
        return true
    }
}
