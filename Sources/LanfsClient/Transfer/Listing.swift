import LanfsFileSystem

/// A file or directory of a volume, as `ls` shows it.
public struct Listed: Sendable {
    public var path: VolumePath
    public var attributes: Attributes
    /// Of a symbolic link.
    public var target: [UInt8]?
    /// A part of the file is only on servers that are away, which are among these; empty: it can be read whole.
    public var awayServers: [String] = []
}

extension Volume {
    /// What is at `path`: the entries of a directory, or the file itself. `isRecursive`: all below too, each directory
    /// before what is in it. Sorted by name. `visit` gets a directory's path and its entries.
    public func list(
        _ path: VolumePath, isRecursive: Bool, _ visit: (VolumePath, [Listed]) throws(TransferError) -> Void
    ) async throws(TransferError) {
        let files = VolumeFiles(volume: self)
        guard let attributes = try await files.find(path) else { throw .notFound(.volume(path)) }
        guard attributes.type == .directory else {
            if path.isDirectory { throw .notFolder(.volume(path)) }
            var listed = [try await files.listed(path, attributes)]
            try await files.markIncomplete(&listed, await Reach(of: self), at: path)
            return try visit(path.parent, listed)
        }
        let reach = await Reach(of: self)
        var directories = [(path, attributes)]
        while let (path, attributes) = directories.popLast() {
            var listed: [Listed] = []
            for entry in try await files.entries(of: attributes.inode, at: path) {
                guard let attributes = entry.attributes else { continue }
                listed.append(try await files.listed(path.appending(entry.entry.name), attributes))
            }
            listed.sort { ($0.path.name ?? []).lexicographicallyPrecedes($1.path.name ?? []) }
            try await files.markIncomplete(&listed, reach, at: path)
            try visit(path, listed)
            guard isRecursive else { return }
            directories += listed.filter { $0.attributes.type == .directory }.map { ($0.path, $0.attributes) }
                .reversed()
        }
    }

    /// Removes a file, or a directory: only when `isRecursive`, and then with everything in it.
    public func remove(_ path: VolumePath, isRecursive: Bool) async throws(TransferError) {
        let files = VolumeFiles(volume: self)
        guard let attributes = try await files.find(path) else { throw .notFound(.volume(path)) }
        guard let name = path.name else { throw .failed(action: "remove", .volume(path), .resourceBusy) }
        guard let parent = try await files.find(path.parent) else { throw .notFound(.volume(path.parent)) }
        try await files.remove(path, name, attributes, from: parent.inode, isRecursive)
    }
}

extension VolumeFiles {
    fileprivate func listed(_ path: VolumePath, _ attributes: Attributes) async throws(TransferError) -> Listed {
        let target =
            attributes.type == .symlink ? try await attempt("read", path, volume.readLink(attributes.inode)) : nil
        return Listed(path: path, attributes: attributes, target: target)
    }

    fileprivate func markIncomplete(
        _ listed: inout [Listed], _ reach: Reach, at path: VolumePath
    ) async throws(TransferError) {
        let incomplete = try await incomplete(listed.map(\.attributes), reach, at: path)
        for index in listed.indices where incomplete.contains(listed[index].attributes.inode) {
            listed[index].awayServers = reach.away
        }
    }

    fileprivate func remove(
        _ path: VolumePath, _ name: [UInt8], _ attributes: Attributes, from parent: InodeNumber, _ isRecursive: Bool
    ) async throws(TransferError) {
        guard attributes.type == .directory else {
            return try await attempt("remove", path, volume.unlink(name, in: parent, by: caller))
        }
        guard isRecursive else { throw .isFolder(.volume(path)) }
        for entry in try await entries(of: attributes.inode, at: path) {
            guard let child = entry.attributes else { continue }
            try await remove(path.appending(entry.entry.name), entry.entry.name, child, from: attributes.inode, true)
        }
        try await attempt("remove", path, volume.removeDirectory(name, in: parent, by: caller))
    }
}
