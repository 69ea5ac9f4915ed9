import Glibc
import LanfsFileSystem
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

    /// Copies `sources` to `target`: into it when it is a directory or there are several, else under that very name.
    public func run(_ sources: [VolumePath], to target: String) async throws(TransferError) {
        let existing = try LocalFile.status(of: target.isEmpty ? "." : target)
        let isDirectory = existing.map { $0.st_mode & S_IFMT == S_IFDIR } ?? false || Self.leadsToDirectory(target)
        if sources.count > 1 || target.hasSuffix("/"), !isDirectory { throw .notDirectory(target) }
        for source in sources {
            guard let attributes = try await files.find(source) else { throw .notFound(source.description) }
            let name = source.name.map { String(decoding: $0, as: UTF8.self) } ?? "."
            let path = isDirectory ? (source.names.isEmpty ? target : join(target, name)) : target
            try await copy(source, attributes, to: path)
        }
    }

    /// Writes one file to standard output.
    public func runToOutput(_ source: VolumePath) async throws(TransferError) {
        guard let attributes = try await files.find(source) else { throw .notFound(source.description) }
        guard attributes.type == .regular else { throw .isDirectory(source.description) }
        progress.report(.began(path: source.description, size: attributes.size))
        let output = LocalFile(descriptor: 1, path: "standard output")
        try await pour(source, attributes, into: output, from: 0)
        progress.report(.finished(path: source.description))
    }

    private static func leadsToDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private func join(_ directory: String, _ name: String) -> String {
        directory.hasSuffix("/") || directory.isEmpty ? directory + name : "\(directory)/\(name)"
    }

    // MARK: One source

    private func copy(
        _ source: VolumePath, _ attributes: Attributes, to target: String
    ) async throws(TransferError) {
        switch attributes.type {
        case .regular: try await copyFile(source, attributes, to: target)
        case .symlink: try await copyLink(source, attributes, to: target)
        case .directory:
            guard options.isRecursive else { throw .isDirectory(source.description) }
            try await copyDirectory(source, attributes, to: target)
        default: progress.report(.skipped(.special(source.description)))
        }
    }

    private func copyDirectory(
        _ source: VolumePath, _ attributes: Attributes, to target: String
    ) async throws(TransferError) {
        guard mkdir(target, 0o700) == 0 || errno == EEXIST && Self.leadsToDirectory(target) else {
            throw .local(action: "make", path: target, Errno(rawValue: errno))
        }
        for entry in try await files.entries(of: attributes.inode, at: source) {
            guard let child = entry.attributes else { continue }
            let name = String(decoding: entry.entry.name, as: UTF8.self)
            do throws(TransferError) {
                try await copy(source.appending(entry.entry.name), child, to: join(target, name))
            } catch .exists(let existing) {
                progress.report(.skipped(.exists(existing)))
            }
        }
        try finish(target, attributes)
    }

    private func copyLink(
        _ source: VolumePath, _ attributes: Attributes, to target: String
    ) async throws(TransferError) {
        try makeWay(for: target)
        let link = try await files.attempt("read", source, files.volume.readLink(attributes.inode))
        guard symlink(String(decoding: link, as: UTF8.self), target) == 0 else {
            throw .local(action: "create", path: target, Errno(rawValue: errno))
        }
    }

    private func copyFile(
        _ source: VolumePath, _ attributes: Attributes, to target: String
    ) async throws(TransferError) {
        if !options.replaces, try LocalFile.status(of: target) != nil { throw .exists(target) }
        progress.report(.began(path: target, size: attributes.size))
        let version = VolumeFiles.versionName([
            attributes.inode, attributes.size, UInt64(bitPattern: attributes.modified.seconds),
            UInt64(attributes.modified.nanoseconds),
        ])
        let path = FilePath(target)
        let temporary = path.removingLastComponent().appending(".\(version).lanfs-get").string
        let file = try LocalFile.open(temporary, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600, action: "create")
        let done = UInt64(try file.status().st_size)
        guard done <= attributes.size, lseek(file.descriptor, off_t(done), SEEK_SET) == off_t(done) else {
            throw .damagedTemporary(temporary)
        }
        if done > 0 { progress.report(.moved(bytes: Int(done), resumed: true)) }
        try await pour(source, attributes, into: file, from: done)
        try finish(temporary, attributes)
        if options.replaces {
            guard rename(temporary, target) == 0 else {
                throw .local(action: "replace", path: target, Errno(rawValue: errno))
            }
        } else {
            // link, not rename: it fails when somebody took the name in the meantime.
            guard link(temporary, target) == 0 else {
                if errno == EEXIST { throw .exists(target) }
                throw .local(action: "name", path: target, Errno(rawValue: errno))
            }
            unlink(temporary)
        }
        progress.report(.finished(path: target))
    }

    private func makeWay(for target: String) throws(TransferError) {
        guard try LocalFile.status(of: target) != nil else { return }
        guard options.replaces else { throw .exists(target) }
        guard unlink(target) == 0 else { throw .local(action: "replace", path: target, Errno(rawValue: errno)) }
    }

    private func pour(
        _ source: VolumePath, _ attributes: Attributes, into file: LocalFile, from start: UInt64
    ) async throws(TransferError) {
        let opened = try await files.attempt(
            "open", source, files.volume.open(attributes.inode, flags: [.read], by: files.caller))
        defer { files.volume.release(opened.handle) }
        var offset = start
        while offset < attributes.size {
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
            progress.report(.moved(bytes: bytes.count, resumed: false))
        }
    }

    /// Modes and times; owners only root could give away.
    private func finish(_ path: String, _ attributes: Attributes) throws(TransferError) {
        let times = [timespec(attributes.accessed), timespec(attributes.modified)]
        guard chmod(path, mode_t(attributes.permissions & 0o777)) == 0, utimensat(AT_FDCWD, path, times, 0) == 0 else {
            throw .local(action: "finish", path: path, Errno(rawValue: errno))
        }
    }
}

extension timespec {
    init(_ time: Timestamp) {
        self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
    }
}
