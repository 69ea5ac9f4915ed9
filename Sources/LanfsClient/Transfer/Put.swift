import Glibc
import LanfsCrypto
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

    /// Copies `sources` to `target`: into it when it is a folder, else the only one under that very name. What fails is
    /// told to `progress` and left out; throws when nothing more could be done.
    public func run(_ sources: [LocalPath], to target: VolumePath) async throws(TransferError) {
        let isFolder = try await files.find(target)?.type == .directory
        if sources.count > 1, !isFolder, !target.isDirectory { throw .folderMissing(.volume(target)) }
        for source in sources {
            try await progress.attempting { () throws(TransferError) in
                guard let status = try LocalFile.status(of: source, follows: true) else {
                    throw .notFound(.local(source))
                }
                var path = target
                if isFolder || target.isDirectory, let name = try lastName(of: source) { path = target.appending(name) }
                try await copy(source, status, to: path)
            }
        }
        try await save(target)
    }

    /// Copies standard input to a file of this name.
    public func runFromInput(to target: VolumePath) async throws(TransferError) {
        guard let name = target.name, !target.isDirectory else { throw .folderInTheWay(.volume(target)) }
        let parent = try await files.directory(at: target.parent)
        try await refuseExisting(target)
        let temporary = Array(".\(Hex.encode(randomBytes(8))).lanfs-put".utf8)
        progress.report(.began(name: target.bytes, size: nil))
        let input = LocalFile(descriptor: 0, place: .standardInput)
        let (attributes, file) = try await files.attempt(
            "create", target,
            files.volume.create(
                temporary, in: parent, permissions: 0o644, flags: [.write, .exclusive], by: files.caller))
        files.volume.forget(attributes.inode, lookups: 1)
        defer { files.volume.release(file.handle) }
        do throws(TransferError) {
            try await pour(input, into: file.handle, attributes.inode, from: 0, target)
            try await place(temporary, in: parent, as: name, target)
        } catch {
            _ = try? await files.volume.unlink(temporary, in: parent, by: files.caller).value()
            throw error
        }
        try await save(target)
        progress.report(.finished(.file))
    }

    /// The name a copy gets: as written; `.` and `..` have only the real one. `nil` for `/`: its contents are meant.
    private func lastName(of source: LocalPath) throws(TransferError) -> [UInt8]? {
        if let name = source.name { return name }
        guard let resolved = LocalFile.resolved(source) else { throw LocalFile.failure("find", source) }
        return resolved.name
    }

    // MARK: One source

    private func copy(_ source: LocalPath, _ status: stat, to target: VolumePath) async throws(TransferError) {
        switch status.st_mode & S_IFMT {
        case S_IFREG: try await copyFile(source, to: target)
        case S_IFLNK: try await copyLink(source, to: target)
        case S_IFDIR:
            guard options.isRecursive else { throw .isFolder(.local(source)) }
            try await copyFolder(source, status, to: target)
        default: throw .special(.local(source))
        }
    }

    private func copyFolder(_ source: LocalPath, _ status: stat, to target: VolumePath) async throws(TransferError) {
        let inode = try await files.directory(at: target)
        for name in try LocalFile.entries(of: source) {
            let path = source.appending(name)
            try await progress.attempting { () throws(TransferError) in
                // What was removed meanwhile is no error.
                guard let status = try LocalFile.status(of: path) else { return }
                try await copy(path, status, to: target.appending(name))
            }
        }
        // The volume's root keeps its own.
        if target.name != nil { try await finish(inode, status, target) }
        progress.report(.finished(.folder))
    }

    private func copyLink(_ source: LocalPath, to target: VolumePath) async throws(TransferError) {
        guard let name = target.name else { throw .folderInTheWay(.volume(target)) }
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = source.withCString { readlink($0, &buffer, buffer.count) }
        guard count >= 0 else { throw LocalFile.failure("read", source) }
        let parent = try await files.directory(at: target.parent)
        if try await refuseExisting(target) {
            try await files.attempt("replace", target, files.volume.unlink(name, in: parent, by: files.caller))
        }
        let link = try await files.attempt(
            "create", target,
            files.volume.makeSymlink(name, in: parent, to: buffer[..<count].map(UInt8.init(bitPattern:)), by: files.caller))
        files.volume.forget(link.inode, lookups: 1)
        if let status = try LocalFile.status(of: source) { try await finish(link.inode, status, target) }
        progress.report(.finished(.link))
    }

    private func copyFile(_ source: LocalPath, to target: VolumePath) async throws(TransferError) {
        guard let name = target.name, !target.isDirectory else { throw .folderInTheWay(.volume(target)) }
        try await refuseExisting(target)
        let file = try LocalFile.open(source, O_RDONLY, action: "open")
        let status = try file.status()
        let size = UInt64(clamping: status.st_size)
        let parent = try await files.directory(at: target.parent)
        progress.report(.began(name: target.bytes, size: size))

        let version = VolumeFiles.versionName(
            [
                UInt64(status.st_dev), UInt64(status.st_ino), size, UInt64(bitPattern: Int64(status.st_mtim.tv_sec)),
                UInt64(status.st_mtim.tv_nsec),
            ], of: name)
        let temporary = Array(".\(version).lanfs-put".utf8)
        let (attributes, opened) = try await files.attempt(
            "create", target,
            files.volume.create(
                temporary, in: parent, permissions: UInt16(status.st_mode & 0o777), flags: [.write], by: files.caller))
        files.volume.forget(attributes.inode, lookups: 1)
        defer { files.volume.release(opened.handle) }
        // What an interrupted run has brought over is there in whole pieces: commits are prefixes (T1).
        let done = min(attributes.size, size)
        if done > 0 { progress.report(.moved(bytes: done, resumed: true)) }
        do throws(TransferError) {
            try await pour(file, into: opened.handle, attributes.inode, from: done, target)
        } catch {
            throw error.leaving(.volume(target.parent.appending(temporary)), of: .volume(target))
        }
        try await finish(attributes.inode, status, target)
        try await place(temporary, in: parent, as: name, target)
        progress.report(.finished(.file))
    }

    /// Whether there is something to replace.
    @discardableResult
    private func refuseExisting(_ target: VolumePath) async throws(TransferError) -> Bool {
        guard let existing = try await files.find(target) else { return false }
        if existing.type == .directory { throw .folderInTheWay(.volume(target)) }
        if !options.replaces { throw .exists(.volume(target)) }
        return true
    }

    /// Holes stay holes.
    private func pour(
        _ file: LocalFile, into handle: Handle, _ inode: InodeNumber, from start: UInt64, _ target: VolumePath
    ) async throws(TransferError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceSize, alignment: 4096)
        defer { buffer.deallocate() }
        var offset = start
        while let data = file.seekData(from: offset) {
            if data > offset {
                progress.report(.moved(bytes: data - offset, resumed: false))
                offset = data
            }
            let count = try file.read(into: buffer)
            if count == 0 { return }
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            _ = try await files.attempt(
                "write", target, files.volume.write(handle, offset: offset, appends: false, data: piece, by: files.caller))
            offset += UInt64(count)
            progress.report(.moved(bytes: UInt64(count), resumed: false))
        }
        // The file ends with a hole.
        let size = UInt64(clamping: try file.status().st_size)
        guard size > offset else { return }
        var changes = AttributeChanges()
        changes.size = size
        _ = try await files.attempt(
            "extend", target, files.volume.setAttributes(of: inode, to: changes, byName: false, by: files.caller))
        progress.report(.moved(bytes: size - offset, resumed: false))
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
            // Somebody was faster, and the next run would be refused before it could use this.
            try await discard(temporary, in: parent, target)
            throw .exists(.volume(target))
        } catch {
            throw .failed(action: "name", .volume(target), error)
        }
    }

    private func discard(
        _ temporary: [UInt8], in parent: InodeNumber, _ target: VolumePath
    ) async throws(TransferError) {
        do throws(Errno) {
            try await files.volume.unlink(temporary, in: parent, by: files.caller).value()
        } catch {
            throw TransferError.exists(.volume(target)).leaving(
                .volume(target.parent.appending(temporary)), of: .volume(target))
        }
    }

    private func finish(_ inode: InodeNumber, _ status: stat, _ target: VolumePath) async throws(TransferError) {
        var changes = AttributeChanges()
        changes.permissions = UInt16(status.st_mode & 0o7777)
        changes.modified = Timestamp(status.st_mtim)
        changes.accessed = Timestamp(status.st_atim)
        _ = try await files.attempt(
            "finish", target, files.volume.setAttributes(of: inode, to: changes, byName: false, by: files.caller))
    }

    private func save(_ target: VolumePath) async throws(TransferError) {
        do throws(Errno) {
            try await files.volume.save().get()
        } catch {
            throw .failed(action: "save", .volume(target), error)
        }
    }
}
