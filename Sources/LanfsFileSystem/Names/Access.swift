import LanfsProtocol
import LanfsTree
import SystemPackage

// How operations reach the tree: each function here is one look into it, unless it says otherwise.

extension Transaction {
    func read(_ key: RecordKey) throws(Interruption) -> [UInt8]? {
        do { return try value(key.key) } catch { throw .missing(error) }
    }

    func first(in range: KeyRange) throws(Interruption) -> (key: Key, value: [UInt8])? {
        do { return try next(from: range.from, below: range.below) } catch { throw .missing(error) }
    }

    func last(in range: KeyRange) throws(Interruption) -> (key: Key, value: [UInt8])? {
        do { return try previous(before: range.below, atLeast: range.from) } catch { throw .missing(error) }
    }

    /// Calls `body` for each record until it returns `false`.
    func forEach(in range: KeyRange, _ body: (Key, [UInt8]) -> Bool) throws(Interruption) {
        do { try scan(from: range.from, below: range.below, body) } catch { throw .missing(error) }
    }

    /// Up to `limit` records, decoded; `EIO` when one of them cannot be.
    func collect<Record>(
        in range: KeyRange, limit: Int, _ decode: (Key, [UInt8]) -> Record?
    ) throws(Interruption) -> [Record] {
        var records: [Record] = []
        guard limit > 0 else { return records }
        var isDamaged = false
        try forEach(in: range) { key, value in
            guard let record = decode(key, value) else {
                isDamaged = true
                return false
            }
            records.append(record)
            return records.count < limit
        }
        if isDamaged { throw .failed(.ioError) }
        return records
    }

    mutating func set(_ key: RecordKey, _ value: [UInt8]) { set(key.key, value) }

    mutating func remove(_ key: RecordKey) { remove(key.key) }
}

/// A record that the volume's own key sealed and that yet makes no sense: `EIO`, as for a sector that cannot be read.
func decoded<Record>(_ decode: () throws(DecodingError) -> Record) throws(Interruption) -> Record {
    do { return try decode() } catch { throw .failed(.ioError) }
}

// MARK: Inodes

extension Transaction {
    func inodeIfPresent(_ inode: InodeNumber) throws(Interruption) -> InodeRecord? {
        guard let bytes = try read(.inode(inode)) else { return nil }
        return try decoded { () throws(DecodingError) in try InodeRecord(decoding: bytes, of: inode) }
    }

    public func has(_ inode: InodeNumber) throws(Interruption) -> Bool { try read(.inode(inode)) != nil }

    /// `ESTALE` when there is none: it was removed, here or by another client.
    func inode(_ inode: InodeNumber) throws(Interruption) -> InodeRecord {
        guard let record = try inodeIfPresent(inode) else { throw .failed(.staleNFSFileHandle) }
        return record
    }

    func directory(_ inode: InodeNumber) throws(Interruption) -> InodeRecord {
        let record = try self.inode(inode)
        guard record.attributes.type == .directory else { throw .failed(.notDirectory) }
        return record
    }

    /// A directory that names can be added to: one that was removed (and is still open somewhere) takes none (T3).
    func livingDirectory(_ inode: InodeNumber) throws(Interruption) -> InodeRecord {
        let record = try directory(inode)
        guard record.attributes.linkCount > 0 else { throw .failed(.noSuchFileOrDirectory) }
        return record
    }

    func regularFile(_ inode: InodeNumber) throws(Interruption) -> InodeRecord {
        let record = try self.inode(inode)
        switch record.attributes.type {
        case .regular: return record
        case .directory: throw .failed(.isDirectory)
        default: throw .failed(.invalidArgument)
        }
    }

    mutating func store(_ record: InodeRecord) { set(.inode(record.attributes.inode), record.encoded()) }
}

// MARK: Names

extension Transaction {
    func entry(_ name: [UInt8], in parent: InodeNumber) throws(Interruption) -> EntryRecord? {
        guard let bytes = try read(.entry(parent: parent, name: name)) else { return nil }
        return try decoded { () throws(DecodingError) in try EntryRecord(decoding: bytes) }
    }

    mutating func store(_ entry: EntryRecord, as name: [UInt8], in parent: InodeNumber) {
        set(.entry(parent: parent, name: name), entry.encoded())
    }
}

func checkName(_ name: [UInt8]) throws(Interruption) {
    guard name.count <= FileSystemLimits.name else { throw .failed(.fileNameTooLong) }
    guard !name.isEmpty else { throw .failed(.noSuchFileOrDirectory) }
    let dot = UInt8(ascii: ".")
    guard name != [dot], name != [dot, dot] else { throw .failed(.invalidArgument) }
    for byte in name where byte == 0 || byte == UInt8(ascii: "/") { throw .failed(.invalidArgument) }
}

// MARK: The volume

extension Transaction {
    /// `EIO` when there is none: the tree is not a volume's.
    public func superblock() throws(Interruption) -> Superblock {
        guard let bytes = try read(.superblock) else { throw .failed(.ioError) }
        return try decoded { () throws(DecodingError) in try Superblock(decoding: bytes) }
    }

    /// Counts inodes and bytes that came or went.
    mutating func count(files: Int64 = 0, bytes: Int64 = 0) throws(Interruption) {
        guard files != 0 || bytes != 0 else { return }
        var superblock = try superblock()
        superblock.files = superblock.files.moved(by: files)
        superblock.bytes = superblock.bytes.moved(by: bytes)
        set(.superblock, superblock.encoded())
    }
}

extension UInt64 {
    /// Stays at 0 where a count that is wrong would go below.
    func moved(by difference: Int64) -> UInt64 {
        difference < 0 ? self - Swift.min(self, difference.magnitude) : self &+ difference.magnitude
    }
}

extension InodeRecord {
    /// Entries and subdirectories that came or went.
    mutating func changeNames(entries: Int64, subdirectories: Int64 = 0, at now: Timestamp) {
        attributes.size = attributes.size.moved(by: entries)
        attributes.linkCount = UInt32(clamping: UInt64(attributes.linkCount).moved(by: subdirectories))
        attributes.modified = now
        attributes.changed = now
    }
}
