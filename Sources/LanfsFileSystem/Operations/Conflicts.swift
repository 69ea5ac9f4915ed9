import LanfsProtocol
import LanfsTree

// What lost a conflict (L6) is listed until somebody renames or deletes it: then it is settled.

extension Place {
    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 9 + name.count)
        writer.append(RecordVersion.current)
        writer.append(parent)
        writer.append(raw: name)
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "a conflict")
        parent = try reader.integer()
        guard reader.remaining <= FileSystemLimits.name else {
            throw .tooLong(what: "a name", length: reader.remaining, limit: FileSystemLimits.name)
        }
        name = try reader.raw(reader.remaining)
        try reader.finish()
    }
}

extension Transaction {
    /// What is behind this name lost a conflict.
    mutating func noteConflict(at place: Place) throws(Interruption) {
        guard let entry = try entry(place.name, in: place.parent) else { return }
        set(.conflict(entry.inode), place.encoded())
    }

    /// Lists what lost a conflict in `source`, a tree that is being done again here, and has its name here too.
    public mutating func keepConflicts(of source: Transaction) throws(Interruption) {
        for (inode, place) in try source.listedConflicts() where try isOpen(inode, place) {
            set(.conflict(inode), place.encoded())
        }
    }

    /// What lost a conflict and still has the name that it got then.
    public func conflicts() throws(Interruption) -> [Place] {
        var open: [Place] = []
        for (inode, place) in try listedConflicts() where try isOpen(inode, place) { open.append(place) }
        return open
    }

    /// Forgets those that are settled.
    mutating func forgetSettledConflicts() throws(Interruption) {
        for (inode, place) in try listedConflicts() where try !isOpen(inode, place) { remove(.conflict(inode)) }
    }

    private func listedConflicts() throws(Interruption) -> [(InodeNumber, Place)] {
        try collect(in: .all(.conflict), limit: .max) { key, value in
            guard case .conflict(let inode)? = RecordKey(key), let place = try? Place(decoding: value) else { return nil }
            return (inode, place)
        }
    }

    private func isOpen(_ inode: InodeNumber, _ place: Place) throws(Interruption) -> Bool {
        try entry(place.name, in: place.parent)?.inode == inode
    }

    /// The names that lead from the root directory to a place, the last one included.
    public func path(to place: Place) throws(Interruption) -> [[UInt8]] {
        var names = [place.name]
        var directory = place.parent
        // A chain of parents that does not end is damage.
        while directory != rootInode, names.count < 1 << 12 {
            let parent = try self.directory(directory).parent
            guard let name = try self.name(of: directory, in: parent) else { break }
            names.insert(name, at: 0)
            directory = parent
        }
        return names
    }

    private func name(of inode: InodeNumber, in parent: InodeNumber) throws(Interruption) -> [UInt8]? {
        var name: [UInt8]?
        try forEach(in: .entries(of: parent)) { key, value in
            guard let entry = try? EntryRecord(decoding: value), entry.inode == inode,
                case .entry(_, let found)? = RecordKey(key)
            else { return true }
            name = found
            return false
        }
        return name
    }
}
