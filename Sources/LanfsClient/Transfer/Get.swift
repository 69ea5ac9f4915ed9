import Glibc
import LanfsFileSystem
import LanfsProtocol
import SystemPackage

/// Copies files of a volume to this machine.
///
/// A file arrives under a temporary name that tells its version, and is renamed when it is complete; an interrupted copy
/// goes on where it stopped.
public struct Get: Sendable {
    private let files: VolumeFiles
    private let options: TransferOptions
    private let progress: TransferProgress
    private static let pieceSize = 1 << 20

    public init(from volume: Volume, options: TransferOptions, progress: TransferProgress) {
        files = VolumeFiles(volume: volume)
        self.options = options
        self.progress = progress
    }

    /// Copies `sources` to `target`: into it when it is a folder, else the only one under that very name. What fails is
    /// told to `progress` and left out; throws when nothing more could be done.
    public func run(_ sources: [VolumePath], to target: LocalPath) async throws(TransferError) {
        let isFolder = LocalFile.isFolder(target)
        if sources.count > 1, !isFolder, !target.isDirectory { throw .folderMissing(.local(target)) }
        for source in sources {
            try await progress.attempting { () throws(TransferError) in
                let attributes = try await find(source)
                if target.isDirectory, !isFolder { try LocalFile.makeFolders(target) }
                var path = target
                // The root has no name: its contents are meant.
                if isFolder || target.isDirectory, let name = source.name { path = target.appending(name) }
                try await copy(source, attributes, to: path)
            }
        }
    }

    /// Writes one file to standard output.
    public func runToOutput(_ source: VolumePath) async throws(TransferError) {
        let attributes = try await find(source)
        guard attributes.type == .regular else { throw .notFile(.volume(source)) }
        try await requireWhole(source, attributes)
        progress.report(.began(name: source.bytes, size: attributes.size))
        let output = LocalFile(descriptor: 1, place: .standardOutput)
        try await pour(source, attributes, into: output, from: 0, isSparse: false)
        progress.report(.finished(.file))
    }

    private func find(_ source: VolumePath) async throws(TransferError) -> Attributes {
        guard let attributes = try await files.find(source) else { throw .notFound(.volume(source)) }
        if source.isDirectory, attributes.type != .directory { throw .notFolder(.volume(source)) }
        return attributes
    }

    // MARK: One source

    private func copy(
        _ source: VolumePath, _ attributes: Attributes, to target: LocalPath
    ) async throws(TransferError) {
        switch attributes.type {
        case .regular: try await copyFile(source, attributes, to: target)
        case .symlink: try await copyLink(source, attributes, to: target)
        case .directory:
            guard options.isRecursive else { throw .isFolder(.volume(source)) }
            try await copyFolder(source, attributes, to: target)
        default: throw .special(.volume(source))
        }
    }

    private func copyFolder(
        _ source: VolumePath, _ attributes: Attributes, to target: LocalPath
    ) async throws(TransferError) {
        let isNew = target.withCString { mkdir($0, 0o700) } == 0
        guard isNew || errno == EEXIST else { throw LocalFile.failure("make", target) }
        guard isNew || LocalFile.isFolder(target) else { throw .notFolder(.local(target)) }
        for entry in try await files.entries(of: attributes.inode, at: source) {
            guard let child = entry.attributes else { continue }
            let name = entry.entry.name
            try await progress.attempting { () throws(TransferError) in
                try await copy(source.appending(name), child, to: target.appending(name))
            }
        }
        // A folder that was here before, such as the current one for the volume's root, keeps its mode.
        if isNew { try finish(target, attributes) }
        progress.report(.finished(.folder))
    }

    private func copyLink(
        _ source: VolumePath, _ attributes: Attributes, to target: LocalPath
    ) async throws(TransferError) {
        if try refuseExisting(target) {
            guard target.withCString({ unlink($0) }) == 0 else { throw LocalFile.failure("replace", target) }
        }
        let link = LocalPath(try await files.attempt("read", source, files.volume.readLink(attributes.inode)))
        guard link.withCString({ link in target.withCString { symlink(link, $0) } }) == 0 else {
            throw LocalFile.failure("create", target)
        }
        let times = [timespec(attributes.accessed), timespec(attributes.modified)]
        _ = target.withCString { utimensat(AT_FDCWD, $0, times, AT_SYMLINK_NOFOLLOW) }
        progress.report(.finished(.link))
    }

    private func copyFile(
        _ source: VolumePath, _ attributes: Attributes, to target: LocalPath
    ) async throws(TransferError) {
        try refuseExisting(target)
        try await requireWhole(source, attributes)
        progress.report(.began(name: target.bytes, size: attributes.size))
        let temporary = temporaryPath(attributes, target)
        let file = try openTemporary(temporary)
        let done = UInt64(clamping: try file.status().st_size)
        guard done <= attributes.size else { throw .damagedTemporary(.local(temporary)) }
        if done > 0 { progress.report(.moved(bytes: done, resumed: true)) }
        do throws(TransferError) {
            try await pour(source, attributes, into: file, from: done, isSparse: true)
        } catch {
            throw error.leaving(.local(temporary), of: .local(target))
        }
        try finish(temporary, attributes)
        try place(temporary, as: target)
        progress.report(.finished(.file))
    }

    /// Before anything is written: what is only on servers that are away would be waited for in the middle of the copy.
    private func requireWhole(_ source: VolumePath, _ attributes: Attributes) async throws(TransferError) {
        let reach = await Reach(of: files.volume)
        if try await !files.incomplete([attributes], reach, at: source).isEmpty {
            throw .incomplete(.volume(source), away: reach.away)
        }
    }

    private func temporaryPath(_ attributes: Attributes, _ target: LocalPath) -> LocalPath {
        let version = VolumeFiles.versionName(
            [
                attributes.inode, attributes.size, UInt64(bitPattern: attributes.modified.seconds),
                UInt64(attributes.modified.nanoseconds),
            ], of: files.volume.id.bytes + (target.name ?? []))
        return target.replacingName(by: Array(".\(version).lanfs-get".utf8))
    }

    /// Nobody else's file and nobody else's transfer.
    private func openTemporary(_ path: LocalPath) throws(TransferError) -> LocalFile {
        let file = try LocalFile.open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600, action: "create")
        let status = try file.status()
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid() else {
            throw .damagedTemporary(.local(path))
        }
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else {
            throw .busy(.local(path))
        }
        return file
    }

    private func place(_ temporary: LocalPath, as target: LocalPath) throws(TransferError) {
        if options.replaces {
            let outcome = temporary.withCString { temporary in target.withCString { rename(temporary, $0) } }
            guard outcome == 0 else { throw LocalFile.failure("replace", target) }
            return
        }
        // link, not rename: it fails when somebody took the name in the meantime.
        let outcome = temporary.withCString { temporary in target.withCString { link(temporary, $0) } }
        if outcome == 0 {
            _ = temporary.withCString { unlink($0) }
        } else if errno == EEXIST {
            throw .exists(.local(target))
        } else {
            // A file system without hard links.
            guard try LocalFile.status(of: target) == nil else { throw .exists(.local(target)) }
            let outcome = temporary.withCString { temporary in target.withCString { rename(temporary, $0) } }
            guard outcome == 0 else { throw LocalFile.failure("name", target) }
        }
    }

    /// Whether there is something to replace.
    @discardableResult
    private func refuseExisting(_ target: LocalPath) throws(TransferError) -> Bool {
        guard let existing = try LocalFile.status(of: target) else { return false }
        switch existing.st_mode & S_IFMT {
        case S_IFDIR: throw .folderInTheWay(.local(target))
        case S_IFREG, S_IFLNK:
            guard options.replaces else { throw .exists(.local(target)) }
            return true
        // A device would be gone for everybody.
        default: throw .specialInTheWay(.local(target))
        }
    }

    /// `isSparse`: holes stay holes; what cannot be positioned gets their zeros.
    private func pour(
        _ source: VolumePath, _ attributes: Attributes, into file: LocalFile, from start: UInt64, isSparse: Bool
    ) async throws(TransferError) {
        let opened = try await files.attempt(
            "open", source, files.volume.open(attributes.inode, flags: [.read], by: files.caller))
        defer { files.volume.release(opened.handle) }
        var offset = start
        while offset < attributes.size {
            if isSparse {
                let data = min(attributes.size, try await nextData(in: opened.handle, from: offset, source) ?? .max)
                if data > offset { progress.report(.moved(bytes: data - offset, resumed: false)) }
                offset = data
                if offset == attributes.size { break }
                try file.seek(to: offset)
            }
            let bytes = try await files.attempt(
                "read", source, files.volume.read(opened.handle, offset: offset, count: Self.pieceSize))
            if bytes.count == 0 { break }
            for piece in bytes.pieces {
                var outcome: Result<Void, TransferError> = .success(())
                piece.withUnsafeBytes { piece in
                    outcome = Result { () throws(TransferError) in try file.write(piece) }
                }
                try outcome.get()
            }
            offset += UInt64(bytes.count)
            progress.report(.moved(bytes: UInt64(bytes.count), resumed: false))
        }
        if isSparse { try file.setSize(offset) }
    }

    /// `nil` when only a hole follows.
    private func nextData(
        in handle: Handle, from offset: UInt64, _ source: VolumePath
    ) async throws(TransferError) -> UInt64? {
        do throws(Errno) {
            return try await files.volume.seek(handle, offset: offset, whence: KernelConstant.seekData).value()
        } catch .noSuchAddressOrDevice {
            return nil
        } catch {
            throw .failed(action: "read", .volume(source), error)
        }
    }

    /// Modes and times; owners only root could give away.
    private func finish(_ path: LocalPath, _ attributes: Attributes) throws(TransferError) {
        let times = [timespec(attributes.accessed), timespec(attributes.modified)]
        let outcome = path.withCString { path in
            chmod(path, mode_t(attributes.permissions & 0o777)) == 0 && utimensat(AT_FDCWD, path, times, 0) == 0
        }
        guard outcome else { throw LocalFile.failure("finish", path) }
    }
}
