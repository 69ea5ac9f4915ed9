import Glibc
import LanfsFileSystem
import LanfsProtocol
import SystemPackage

/// Copies files of this machine into a volume.
///
/// A file is written under a temporary name that tells its source and version, and renamed when it is complete: nobody
/// sees half a file, and an interrupted copy goes on where it stopped.
public struct Put: Sendable {
    private let files: VolumeFiles
    private let options: TransferOptions
    private let progress: TransferProgress
    private static let pieceSize = 1 << 20

    public init(into volume: Volume, options: TransferOptions, progress: TransferProgress) {
        files = VolumeFiles(volume: volume)
        self.options = options
        self.progress = progress
    }

    /// Copies `sources` to `target`: into it when it is a directory or there are several, else under that very name.
    public func run(_ sources: [String], to target: VolumePath) async throws(TransferError) {
        let existing = try await files.find(target)
        let isInto = target.isDirectory || sources.count > 1 || existing?.type == .directory
        for source in sources {
            let path = isInto ? target.appending(try lastName(of: source)) : target
            try await copy(source, to: path)
        }
        try await save(target)
    }

    /// Copies standard input to a file of this name.
    public func runFromInput(to target: VolumePath) async throws(TransferError) {
        guard let name = target.name, !target.isDirectory else { throw .isDirectory(target.description) }
        let parent = try await files.directory(at: target.parent)
        try await refuseExisting(target)
        let temporary = Array(".\(getpid()).lanfs-put".utf8)
        progress.report(.began(path: target.description, size: nil))
        let input = LocalFile(descriptor: 0, path: "standard input")
        let (_, file) = try await files.attempt(
            "create", target,
            files.volume.create(
                temporary, in: parent, permissions: 0o644, flags: [.write, .exclusive], by: files.caller))
        defer { files.volume.release(file.handle) }
        do throws(TransferError) {
            try await pour(input, into: file.handle, from: 0, target)
        } catch {
            _ = try? await files.volume.unlink(temporary, in: parent, by: files.caller).value()
            throw error
        }
        try await place(temporary, in: parent, as: name, target)
        try await save(target)
        progress.report(.finished(path: target.description))
    }

    private func lastName(of source: String) throws(TransferError) -> [UInt8] {
        guard let resolved = realpath(source, nil) else {
            if errno == ENOENT, let name = FilePath(source).lastComponent { return Array(name.string.utf8) }
            throw .local(action: "find", path: source, Errno(rawValue: errno))
        }
        defer { free(resolved) }
        // The name as written where it says one; `.` and `..` have only the real one.
        if let written = FilePath(source).lastComponent, written.kind == .regular { return Array(written.string.utf8) }
        return Array(String(cString: resolved).split(separator: "/").last.map(String.init)?.utf8 ?? "root".utf8)
    }

    // MARK: One source

    private func copy(_ source: String, to target: VolumePath) async throws(TransferError) {
        guard let status = try LocalFile.status(of: source) else { throw .notFound(source) }
        switch status.st_mode & S_IFMT {
        case S_IFREG: try await copyFile(source, to: target)
        case S_IFLNK: try await copyLink(source, to: target)
        case S_IFDIR:
            guard options.isRecursive else { throw .isDirectory(source) }
            try await copyDirectory(source, status, to: target)
        default: progress.report(.skipped(.special(source)))
        }
    }

    private func copyDirectory(_ source: String, _ status: stat, to target: VolumePath) async throws(TransferError) {
        let inode = try await files.directory(at: target)
        for name in try LocalFile.entries(of: source) {
            let path = target.appending(Array(name.utf8))
            do throws(TransferError) {
                try await copy("\(source)/\(name)", to: path)
            } catch .exists(let existing) {
                progress.report(.skipped(.exists(existing)))
            }
        }
        try await setTimes(of: inode, status, target)
    }

    private func copyLink(_ source: String, to target: VolumePath) async throws(TransferError) {
        guard let name = target.name else { throw .isDirectory(target.description) }
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(source, &buffer, buffer.count)
        guard count >= 0 else { throw .local(action: "read", path: source, Errno(rawValue: errno)) }
        let parent = try await files.directory(at: target.parent)
        if try await files.find(target) != nil {
            guard options.replaces else { throw .exists(target.description) }
            try await files.attempt("replace", target, files.volume.unlink(name, in: parent, by: files.caller))
        }
        let link = try await files.attempt(
            "create", target,
            files.volume.makeSymlink(name, in: parent, to: buffer[..<count].map(UInt8.init(bitPattern:)), by: files.caller))
        files.volume.forget(link.inode, lookups: 1)
    }

    private func copyFile(_ source: String, to target: VolumePath) async throws(TransferError) {
        guard let name = target.name, !target.isDirectory else { throw .isDirectory(target.description) }
        try await refuseExisting(target)
        let file = try LocalFile.open(source, O_RDONLY, action: "open")
        let status = try file.status()
        let size = UInt64(status.st_size)
        let parent = try await files.directory(at: target.parent)
        progress.report(.began(path: target.description, size: size))

        let version = VolumeFiles.versionName([
            UInt64(status.st_dev), UInt64(status.st_ino), size, UInt64(bitPattern: Int64(status.st_mtim.tv_sec)),
            UInt64(status.st_mtim.tv_nsec),
        ])
        let temporary = Array(".\(version).lanfs-put".utf8)
        let (attributes, opened) = try await files.attempt(
            "create", target,
            files.volume.create(
                temporary, in: parent, permissions: UInt16(status.st_mode & 0o7777), flags: [.write], by: files.caller))
        files.volume.forget(attributes.inode, lookups: 1)
        defer { files.volume.release(opened.handle) }
        // What an interrupted run has brought over is there in whole pieces: commits are prefixes (T1).
        let done = min(attributes.size, size)
        if done > 0 {
            guard lseek(file.descriptor, off_t(done), SEEK_SET) == off_t(done) else {
                throw .local(action: "read", path: source, Errno(rawValue: errno))
            }
            progress.report(.moved(bytes: Int(done), resumed: true))
        }
        try await pour(file, into: opened.handle, from: done, target)
        try await setTimes(of: attributes.inode, status, target)
        try await place(temporary, in: parent, as: name, target)
        progress.report(.finished(path: target.description))
    }

    private func refuseExisting(_ target: VolumePath) async throws(TransferError) {
        guard let existing = try await files.find(target) else { return }
        if existing.type == .directory { throw .isDirectory(target.description) }
        if !options.replaces { throw .exists(target.description) }
    }

    private func pour(
        _ file: LocalFile, into handle: Handle, from start: UInt64, _ target: VolumePath
    ) async throws(TransferError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceSize, alignment: 4096)
        defer { buffer.deallocate() }
        var offset = start
        while true {
            let count = try file.read(into: buffer)
            if count == 0 { return }
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            _ = try await files.attempt(
                "write", target, files.volume.write(handle, offset: offset, data: piece, by: files.caller))
            offset += UInt64(count)
            progress.report(.moved(bytes: count, resumed: false))
        }
    }

    private func place(
        _ temporary: [UInt8], in parent: InodeNumber, as name: [UInt8], _ target: VolumePath
    ) async throws(TransferError) {
        do throws(Errno) {
            try await files.volume.rename(
                temporary, in: parent, to: name, in: parent, mode: options.replaces ? .replace : .noReplace,
                by: files.caller
            ).value()
        } catch .fileExists {
            throw .exists(target.description)
        } catch {
            throw .remote(action: "name", path: target.description, error)
        }
    }

    private func setTimes(of inode: InodeNumber, _ status: stat, _ target: VolumePath) async throws(TransferError) {
        var changes = AttributeChanges()
        changes.permissions = UInt16(status.st_mode & 0o7777)
        changes.modified = Timestamp(status.st_mtim)
        changes.accessed = Timestamp(status.st_atim)
        _ = try await files.attempt(
            "finish", target, files.volume.setAttributes(of: inode, to: changes, by: files.caller))
    }

    private func save(_ target: VolumePath) async throws(TransferError) {
        do throws(Errno) {
            try await files.volume.save().get()
        } catch {
            throw .remote(action: "save", path: target.description, error)
        }
    }
}

extension Timestamp {
    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }
}
