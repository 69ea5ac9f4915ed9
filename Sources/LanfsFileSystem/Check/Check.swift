import LanfsProtocol
import LanfsTree

extension Transaction {
    /// Reads the whole volume and says what is wrong with it (invariant 7): the directories form one tree, link counts,
    /// sizes and counters are exact, every inode has a name or an orphan key, every run belongs to a file and lies
    /// within it, every block's live bytes are those that are referred to. Empty for a sound volume.
    ///
    /// Takes memory for every inode: for tests, the simulator and repair.
    ///
    /// - Parameter otherLive: sealed bytes of blocks that are referred to from outside the tree's records: its own
    ///   nodes and the change sets since the last checkpoint.
    public func check(otherLive: [BlockID: UInt64] = [:]) throws(Interruption) -> [Damage] {
        var survey = Survey(live: otherLive)
        try forEach(in: KeyRange(from: .empty, below: Key([RecordKey.Kind.lock.rawValue]))) { key, value in
            survey.take(key, value)
            return true
        }
        survey.conclude()
        return survey.damage
    }
}

/// What was seen of a volume, record by record in key order, and what was wrong with it.
struct Survey {
    var damage: [Damage] = []
    var superblock: Superblock?
    /// In the order of their numbers.
    var inodes: [InodeNumber] = []
    var records: [InodeNumber: InodeRecord] = [:]
    var names: [InodeNumber: Int] = [:]
    var entries: [InodeNumber: UInt64] = [:]
    var subdirectories: [InodeNumber: [InodeNumber]] = [:]
    var lastRun: (inode: InodeNumber, generation: UInt32, end: UInt64)?
    var allocated: [InodeNumber: UInt64] = [:]
    /// Extents of files or generations that are gone, which a trim key must promise to remove.
    var leftovers: [Leftover] = []
    var attributeNames: [InodeNumber: UInt32] = [:]
    var lastAttribute: (inode: InodeNumber, name: [UInt8], missing: Int)?
    var orphans: [InodeNumber: Int] = [:]
    var trims: Set<Leftover> = []
    var live: [BlockID: UInt64]
    var usages: [(block: BlockID, usage: BlockUsage)] = []
    var counted: Set<BlockID> = []

    struct Leftover: Hashable {
        var inode: InodeNumber
        /// `nil` for extended attributes, which have none.
        var generation: UInt32?
    }

    init(live: [BlockID: UInt64]) {
        self.live = live
    }

    mutating func report(_ key: RecordKey, _ what: String) {
        damage.append(Damage(place: key.description, what: what))
    }

    mutating func take(_ key: Key, _ value: [UInt8]) {
        guard let recordKey = RecordKey(key) else {
            damage.append(Damage(place: "key \(key)", what: "is no key of a volume"))
            return
        }
        do {
            try take(recordKey, value)
        } catch {
            report(recordKey, error.description)
        }
    }

    private mutating func take(_ key: RecordKey, _ value: [UInt8]) throws(DecodingError) {
        switch key {
        case .superblock:
            superblock = try Superblock(decoding: value)
        case .inode(let inode):
            let record = try InodeRecord(decoding: value, of: inode)
            inodes.append(inode)
            records[inode] = record
        case .entry(let parent, let name):
            take(key, try EntryRecord(decoding: value), name, in: parent)
        case .extent(let inode, let generation, let chunk):
            take(key, try Extent(decoding: value), inode, generation, chunk)
        case .attribute(let inode, let name, let piece):
            try take(key, value, inode, name, Int(piece))
        case .orphan(_, let inode):
            orphans[inode, default: 0] += 1
            if records[inode]?.attributes.linkCount != 0 { report(key, "the inode is gone or has a name") }
        case .trim(let inode, let generation):
            trims.insert(Leftover(inode: inode, generation: generation))
            if let record = records[inode], generation >= record.generation {
                report(key, "the file still needs these runs")
            }
        case .usage(let block):
            usages.append((block, try BlockUsage(decoding: value)))
            counted.insert(block)
        case .dead(_, let block):
            if live[block, default: 0] > 0 || counted.contains(block) { report(key, "the block is still in use") }
            _ = try BlockUsage.made(ofDead: value)
        case .pinnedRoot(let sequence, _):
            if value != PinnedRoot.dropped, try PinnedRoot(decoding: value).record.sequence != sequence { report(key, "is another commit") }
        case .recovery:
            _ = try RecoveryWatch(decoding: value)
        case .conflict:
            _ = try Place(decoding: value)
        case .lock, .lockRequest:
            try LockTable.check(key, value)
        }
    }

    private mutating func take(_ key: RecordKey, _ entry: EntryRecord, _ name: [UInt8], in parent: InodeNumber) {
        do { try checkName(name) } catch { report(key, "is no name") }
        if let directory = records[parent], directory.attributes.type == .directory {
            if directory.attributes.linkCount == 0 { report(key, "the directory was removed") }
        } else {
            report(key, "there is no such directory")
        }
        entries[parent, default: 0] += 1
        names[entry.inode, default: 0] += 1
        guard let record = records[entry.inode] else {
            report(key, "inode \(entry.inode) is missing")
            return
        }
        if record.attributes.type != entry.type { report(key, "inode \(entry.inode) has another type") }
        if record.attributes.type == .directory {
            subdirectories[parent, default: []].append(entry.inode)
            if record.parent != parent {
                report(key, "directory \(entry.inode) says that it is in \(record.parent)")
            }
        }
    }

    private mutating func take(
        _ key: RecordKey, _ extent: Extent, _ inode: InodeNumber, _ generation: UInt32, _ chunk: UInt64
    ) {
        live[extent.frames.block, default: 0] += UInt64(extent.frames.length)
        guard chunk < allChunks.upperBound, UInt64(extent.count) <= allChunks.upperBound - chunk else {
            report(key, "lies beyond what a file can hold")
            return
        }
        let run = Run(first: chunk, extent: extent)
        if let last = lastRun, last.inode == inode, last.generation == generation, chunk < last.end {
            report(key, "overlaps the run before it")
        }
        lastRun = (inode, generation, run.end)
        guard let record = records[inode], record.generation == generation else {
            leftovers.append(Leftover(inode: inode, generation: generation))
            return
        }
        guard record.attributes.type == .regular else {
            report(key, "the inode is not a regular file")
            return
        }
        allocated[inode, default: 0] += extent.plainLength
        if chunk == 0, !record.inline.isEmpty { report(key, "the file's start is inline too") }
        if run.first * chunkSize + extent.plainLength > record.attributes.size {
            report(key, "reaches beyond the file's end")
        }
    }

    private mutating func take(
        _ key: RecordKey, _ value: [UInt8], _ inode: InodeNumber, _ name: [UInt8], _ piece: Int
    ) throws(DecodingError) {
        if piece > 0 {
            guard var last = lastAttribute, last.inode == inode, last.name == name else {
                // A deleted file's attributes are removed from the front.
                if records[inode] != nil { report(key, "is a piece without a beginning") }
                return
            }
            last.missing -= value.count
            lastAttribute = last
            return
        }
        concludeAttribute()
        var reader = ByteReader(value)
        try reader.version(of: "an extended attribute")
        lastAttribute = (inode, name, Int(try reader.integer(UInt32.self)) - reader.remaining)
        attributeNames[inode, default: 0] += UInt32(name.count) + 1
        if records[inode] == nil { leftovers.append(Leftover(inode: inode, generation: nil)) }
    }

    mutating func concludeAttribute() {
        guard let last = lastAttribute else { return }
        if last.missing != 0, records[last.inode] != nil {
            report(.attribute(last.inode, name: last.name, piece: 0), "\(last.missing) bytes are missing")
        }
        lastAttribute = nil
    }
}
