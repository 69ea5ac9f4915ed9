import Glibc
import LanfsProtocol
import SystemPackage

/// A change of a block's state that its record and sidecar do not tell.
///
/// Changes name the block, not the place: replayed in order they end in the same state whatever the sidecars already
/// contain, also when a block was moved meanwhile.
enum StateChange: Equatable {
    case tagged(BlockID, gcEpoch: UInt64)
    /// G8, G7: by a dead list.
    case freed(BlockID, at: UInt64)
    /// G5, G7: by a sweep.
    case swept(BlockID, at: UInt64)
    /// Out of quarantine again, by a put or a touch.
    case revived(BlockID)
    /// The copy at this place is gone or not to be trusted. What came before was about that copy: another one of the
    /// same block, put later, starts afresh.
    case dropped(BlockID, segment: UInt32, page: UInt32)
    /// G6.
    case sweepSeen(gcEpoch: UInt64)

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .tagged(let id, let gcEpoch):
            writer.append(UInt8(1))
            writer.append(id)
            writer.append(gcEpoch)
        case .freed(let id, let time):
            writer.append(UInt8(2))
            writer.append(id)
            writer.append(time)
        case .swept(let id, let time):
            writer.append(UInt8(3))
            writer.append(id)
            writer.append(time)
        case .revived(let id):
            writer.append(UInt8(4))
            writer.append(id)
        case .dropped(let id, let segment, let page):
            writer.append(UInt8(5))
            writer.append(id)
            writer.append(segment)
            writer.append(page)
        case .sweepSeen(let gcEpoch):
            writer.append(UInt8(6))
            writer.append(gcEpoch)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        switch try reader.integer(UInt8.self) {
        case 1: self = .tagged(try reader.id(), gcEpoch: try reader.integer())
        case 2: self = .freed(try reader.id(), at: try reader.integer())
        case 3: self = .swept(try reader.id(), at: try reader.integer())
        case 4: self = .revived(try reader.id())
        case 5: self = .dropped(try reader.id(), segment: try reader.integer(), page: try reader.integer())
        case 6: self = .sweepSeen(gcEpoch: try reader.integer())
        default: throw .invalid(what: "the kind of a change")
        }
    }
}

/// What the log's first page says.
struct LogHeader: Equatable {
    static let size = 8 + 4 + 32 + 8 + 4 + 8 + 8 + 8 + 8
    var generation: UInt64 = 0
    var nextSegment: UInt32 = 1
    var newestSweep: UInt64 = 0
    var time: UInt64 = 0
    var wall: Int64 = 0

    func encode(volume: VolumeID, hash: BlockHash) -> [UInt8] {
        var writer = ByteWriter(reserving: LogHeader.size)
        writer.append(Layout.logMagic)
        writer.append(Layout.version)
        writer.append(volume)
        writer.append(generation)
        writer.append(nextSegment)
        writer.append(newestSweep)
        writer.append(time)
        writer.append(wall)
        writer.append(writer.bytes.withUnsafeBytes(hash).word0)
        return writer.bytes
    }

    init() {}

    static func isFromAnotherVersion(_ bytes: [UInt8]) -> Bool {
        bytes.count >= 12
            && bytes.withUnsafeBytes { $0.word(at: 0) == Layout.logMagic && $0.half(at: 8) != Layout.version }
    }

    init?(_ bytes: [UInt8], volume: VolumeID, hash: BlockHash) {
        guard bytes.count >= LogHeader.size else { return nil }
        var reader = ByteReader(bytes)
        do throws(DecodingError) {
            guard try reader.integer(UInt64.self) == Layout.logMagic,
                try reader.integer(UInt32.self) == Layout.version, try reader.id(VolumeID.self) == volume
            else { return nil }
            generation = try reader.integer()
            nextSegment = try reader.integer()
            newestSweep = try reader.integer()
            time = try reader.integer()
            wall = try reader.integer()
            let covered = bytes[..<(LogHeader.size - 8)]
            guard covered.withUnsafeBytes(hash).word0 == (try reader.integer(UInt64.self)) else { return nil }
        } catch {
            return nil
        }
    }
}

/// A group of changes as one record: header, changes, padding to 64 bytes.
struct LogRecord {
    static let magic: UInt32 = 0x6c66_4c47  // "lfLG"
    static let headerSize = 4 + 4 + 8 + 8 + 8 + 8
    static let alignment: UInt64 = 64

    var sequence: UInt64
    var time: UInt64
    var wall: Int64
    var changes: [UInt8]

    private func checksum(generation: UInt64, volume: VolumeID, hash: BlockHash) -> UInt64 {
        var writer = ByteWriter(reserving: 72 + changes.count)
        writer.append(volume)
        writer.append(generation)
        writer.append(sequence)
        writer.append(time)
        writer.append(wall)
        writer.append(raw: changes)
        return writer.bytes.withUnsafeBytes(hash).word0
    }

    func encode(generation: UInt64, volume: VolumeID, hash: BlockHash) -> [UInt8] {
        var writer = ByteWriter(reserving: LogRecord.headerSize + changes.count + 64)
        writer.append(LogRecord.magic)
        writer.append(UInt32(changes.count))
        writer.append(sequence)
        writer.append(time)
        writer.append(wall)
        writer.append(checksum(generation: generation, volume: volume, hash: hash))
        writer.append(raw: changes)
        let padded = Layout.roundUp(UInt64(writer.bytes.count), to: LogRecord.alignment)
        writer.append(raw: repeatElement(0, count: Int(padded) - writer.bytes.count))
        return writer.bytes
    }

    init(sequence: UInt64, time: UInt64, wall: Int64, changes: [UInt8]) {
        self.sequence = sequence
        self.time = time
        self.wall = wall
        self.changes = changes
    }

    /// `nil` unless a sound record starts here.
    init?(_ bytes: ArraySlice<UInt8>, generation: UInt64, volume: VolumeID, hash: BlockHash) {
        var reader = ByteReader(bytes)
        do throws(DecodingError) {
            guard try reader.integer(UInt32.self) == LogRecord.magic else { return nil }
            let length = Int(try reader.integer(UInt32.self))
            sequence = try reader.integer()
            time = try reader.integer()
            wall = try reader.integer()
            let checksum: UInt64 = try reader.integer()
            changes = try reader.raw(length)
            guard self.checksum(generation: generation, volume: volume, hash: hash) == checksum else { return nil }
        } catch {
            return nil
        }
    }
}

/// `index.log`: what has happened to blocks since the sidecars were written.
struct StateLog {
    static let growth: UInt64 = 1 << 20
    /// A log is rewritten long before this; a longer file is not ours.
    static let maximumSize = 1 << 30

    let path: FilePath
    let volume: VolumeID
    let hash: BlockHash
    private(set) var header: LogHeader
    private var file: OpenFile
    private(set) var end: UInt64
    private var allocated: UInt64
    private var sequence: UInt64
    /// Written but not synced yet.
    private(set) var isDirty = false

    /// Creates or replaces the log, durable on return.
    init(creating path: FilePath, header: LogHeader, volume: VolumeID, hash: @escaping BlockHash) throws(StoreError) {
        self.path = path
        self.volume = volume
        self.hash = hash
        self.header = header
        let temporary = FilePath(path.string + ".new")
        file = try OpenFile(temporary, O_RDWR | O_CREAT | O_TRUNC, action: "create")
        allocated = try file.allocate(from: 0, to: StateLog.growth) ? StateLog.growth : UInt64.max
        try file.write(header.encode(volume: volume, hash: hash), at: 0)
        try file.syncAll()
        try Disk.rename(temporary, to: path)
        try Disk.syncDirectory(path.removingLastComponent())
        end = Layout.page
        sequence = 0
    }

    /// Goes on behind the last good record; what a crash tore off behind it is removed, so that it is never taken for
    /// rot.
    init(resuming path: FilePath, _ content: Content, volume: VolumeID, hash: @escaping BlockHash) throws(StoreError) {
        self.path = path
        self.volume = volume
        self.hash = hash
        header = content.header
        file = try OpenFile(path, O_RDWR)
        end = Layout.roundUp(content.end)
        sequence = content.records.last.map { $0.sequence &+ 1 } ?? 0
        try file.truncate(to: end)
        // On a full disk the next append asks for the space, and may take it from the reserve.
        allocated = (try? file.allocate(from: end, to: end + StateLog.growth)) == true ? end + StateLog.growth : end
        try file.syncData()
    }

    /// Appends a group of encoded changes. A record never shares a page with one that was synced before, so that
    /// tearing it cannot hurt what was promised.
    mutating func append(
        _ changes: [UInt8], time: UInt64, wall: Int64, sync: Bool, whenFull: () -> Void
    ) throws(StoreError) {
        if !changes.isEmpty {
            let record = LogRecord(sequence: sequence, time: time, wall: wall, changes: changes)
            let bytes = record.encode(generation: header.generation, volume: volume, hash: hash)
            try grow(to: end + UInt64(bytes.count), whenFull: whenFull)
            try file.write(bytes, at: end)
            end += UInt64(bytes.count)
            sequence += 1
            isDirty = true
        }
        if sync, isDirty {
            try file.syncData()
            isDirty = false
            end = Layout.roundUp(end)
        }
    }

    private mutating func grow(to wanted: UInt64, whenFull: () -> Void) throws(StoreError) {
        guard wanted > allocated else { return }
        let target = Layout.roundUp(wanted, to: StateLog.growth)
        do throws(StoreError) {
            allocated = try file.allocate(from: allocated, to: target) ? target : UInt64.max
        } catch {
            guard error.errno == .noSpace else { throw error }
            // Deletions must work on a full disk: the reserve is for this.
            whenFull()
            allocated = try file.allocate(from: allocated, to: target) ? target : UInt64.max
        }
    }

    /// What a log on disk says.
    struct Content {
        var header: LogHeader
        var records: [LogRecord] = []
        /// Bad ranges with good records after them: rot, not a torn tail.
        var issues: [StoreIssue] = []
        /// Behind the last good record.
        var end = Layout.page
    }

    /// `nil` when there is no log or its first page is not one.
    static func read(_ path: FilePath, volume: VolumeID, hash: BlockHash) throws(StoreError) -> Content? {
        guard Disk.exists(path) else { return nil }
        let bytes = try OpenFile(path, O_RDONLY).readAll(limit: maximumSize)
        guard let header = LogHeader(bytes, volume: volume, hash: hash) else {
            if LogHeader.isFromAnotherVersion(bytes) {
                throw .damaged(path: path, reason: "another version of lanfs made it; serve it with that version")
            }
            return nil
        }
        var content = Content(header: header)
        var position = Int(Layout.page)
        var expected: UInt64 = 0
        var badSince: Int?
        while position < bytes.count {
            let record = LogRecord(bytes[position...], generation: header.generation, volume: volume, hash: hash)
            guard let record, record.sequence >= expected else {
                let line = bytes[position..<min(position + Int(LogRecord.alignment), bytes.count)]
                if badSince == nil, !line.withUnsafeBytes(isZero) { badSince = position }
                position += Int(LogRecord.alignment)
                continue
            }
            if badSince != nil || record.sequence > expected {
                let start = badSince ?? position
                content.issues.append(
                    StoreIssue(
                        path: path, offset: UInt64(start), length: UInt64(position - start),
                        reason: "changes of state are unreadable and good ones follow"))
                badSince = nil
            }
            content.records.append(record)
            expected = record.sequence &+ 1
            position += Int(Layout.roundUp(UInt64(LogRecord.headerSize + record.changes.count), to: 64))
            content.end = UInt64(position)
        }
        return content
    }
}
