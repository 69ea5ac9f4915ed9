import LanfsProtocol
import LanfsTree

/// The keys of a volume's tree: one byte for the type, then the fields, big-endian, so that order is meaning.
public enum RecordKey: Equatable, Sendable {
    case superblock
    case inode(InodeNumber)
    case entry(parent: InodeNumber, name: [UInt8])
    /// A run of a file's chunks that starts at `chunk`. `generation` is that of the inode's contents: a large file that
    /// is cut to nothing starts a new one, and the runs of the old one are removed in the background.
    case extent(InodeNumber, generation: UInt32, chunk: UInt64)
    /// A value takes as many pieces as it needs; piece 0 says its length.
    case attribute(InodeNumber, name: [UInt8], piece: UInt16)
    /// An inode without a name that a session still has open.
    case orphan(Incarnation, InodeNumber)
    /// Runs (and extended attributes, when the inode is gone) that are to be removed in the background.
    case trim(InodeNumber, generation: UInt32)
    case usage(BlockID)
    /// A block that nothing refers to since the commit of this sequence; 0 until that is known.
    case dead(sequence: UInt64, BlockID)
    /// A root that is not in the volume's chain and whose contents are kept all the same (M3).
    case pinnedRoot(sequence: UInt64, RecordHash)
    /// Who may still come back with what a recovery by force left behind (M3), by its id.
    case recovery(UInt64)
    /// An inode that lost a conflict (L6), and where it was put.
    case conflict(InodeNumber)
    /// A lock that a session holds.
    case lock(LockTable.Place, start: UInt64, FileLockOwner)
    /// One that a session waits for; in the order in which they came.
    case lockRequest(LockTable.Ticket, Incarnation)

    /// The first byte of each key. `client` and `history` are kept for protocol.md's sections 3 and 4.
    enum Kind: UInt8 {
        case superblock = 0x01
        case inode = 0x10
        case entry = 0x20
        case extent = 0x30
        case attribute = 0x40
        case orphan = 0x50
        case trim = 0x58
        case usage = 0x60
        case dead = 0x68
        case pinnedRoot = 0x70
        case recovery = 0x78
        case conflict = 0x7c
        case lock = 0x80
        case lockRequest = 0x81
        case client = 0x90
        case history = 0xa0
    }
}

extension RecordKey {
    public var key: Key {
        switch self {
        case .superblock:
            return Key([Kind.superblock.rawValue])
        case .inode(let inode):
            return Key(Self.start(.inode, inode, size: 9).bytes)
        case .entry(let parent, let name):
            var writer = Self.start(.entry, parent, size: 9 + name.count)
            writer.append(raw: name)
            return Key(writer.bytes)
        case .extent(let inode, let generation, let chunk):
            var writer = Self.start(.extent, inode, size: 21)
            writer.append(generation)
            writer.append(chunk)
            return Key(writer.bytes)
        case .attribute(let inode, let name, let piece):
            var writer = Self.start(.attribute, inode, size: 12 + name.count)
            writer.append(raw: name)
            writer.append(UInt8(0))
            writer.append(piece)
            return Key(writer.bytes)
        case .orphan(let incarnation, let inode):
            var writer = Self.start(.orphan, incarnation.high, size: 25)
            writer.append(incarnation.low)
            writer.append(inode)
            return Key(writer.bytes)
        case .trim(let inode, let generation):
            var writer = Self.start(.trim, inode, size: 13)
            writer.append(generation)
            return Key(writer.bytes)
        case .usage(let block):
            var writer = ByteWriter(reserving: 33)
            writer.append(Kind.usage.rawValue)
            writer.append(block)
            return Key(writer.bytes)
        case .dead(let sequence, let block):
            var writer = Self.start(.dead, sequence, size: 41)
            writer.append(block)
            return Key(writer.bytes)
        case .pinnedRoot(let sequence, let hash):
            var writer = Self.start(.pinnedRoot, sequence, size: 41)
            writer.append(hash)
            return Key(writer.bytes)
        case .recovery(let id):
            return Key(Self.start(.recovery, id, size: 9).bytes)
        case .conflict(let inode):
            return Key(Self.start(.conflict, inode, size: 9).bytes)
        case .lock(let place, let start, let owner):
            var writer = ByteWriter(reserving: 42)
            writer.append(Kind.lock.rawValue)
            place.encode(into: &writer)
            writer.append(start)
            owner.session.encode(into: &writer)
            writer.append(owner.number)
            return Key(writer.bytes)
        case .lockRequest(let ticket, let session):
            var writer = Self.start(.lockRequest, ticket, size: 25)
            session.encode(into: &writer)
            return Key(writer.bytes)
        }
    }

    private static func start(_ kind: Kind, _ field: UInt64, size: Int) -> ByteWriter {
        var writer = ByteWriter(reserving: size)
        writer.append(kind.rawValue)
        writer.append(field)
        return writer
    }

    /// `nil` for a key that is none of these.
    public init?(_ key: Key) {
        guard let first = key.bytes.first, let kind = Kind(rawValue: first) else { return nil }
        var reader = ByteReader(key.bytes.dropFirst())
        guard let decoded = try? Self.decode(kind, &reader) else { return nil }
        self = decoded
    }

    private static func decode(_ kind: Kind, _ reader: inout ByteReader) throws(DecodingError) -> RecordKey? {
        let decoded: RecordKey
        switch kind {
        case .superblock:
            decoded = .superblock
        case .inode:
            decoded = .inode(try reader.integer())
        case .entry:
            let parent: UInt64 = try reader.integer()
            decoded = .entry(parent: parent, name: try reader.raw(reader.remaining))
        case .extent:
            decoded = .extent(
                try reader.integer(), generation: try reader.integer(), chunk: try reader.integer())
        case .attribute:
            let inode: UInt64 = try reader.integer()
            let name = try reader.raw(reader.remaining - 3)
            guard try reader.integer(UInt8.self) == 0, !name.contains(0) else { return nil }
            decoded = .attribute(inode, name: name, piece: try reader.integer())
        case .orphan:
            decoded = .orphan(try Incarnation(from: &reader), try reader.integer())
        case .trim:
            decoded = .trim(try reader.integer(), generation: try reader.integer())
        case .usage:
            decoded = .usage(try reader.id())
        case .dead:
            decoded = .dead(sequence: try reader.integer(), try reader.id())
        case .pinnedRoot:
            decoded = .pinnedRoot(sequence: try reader.integer(), try reader.id())
        case .recovery:
            decoded = .recovery(try reader.integer())
        case .conflict:
            decoded = .conflict(try reader.integer())
        case .lock:
            let place = try LockTable.Place(from: &reader)
            let start: UInt64 = try reader.integer()
            decoded = .lock(
                place, start: start, FileLockOwner(session: try Incarnation(from: &reader), number: try reader.integer()))
        case .lockRequest:
            decoded = .lockRequest(try reader.integer(), try Incarnation(from: &reader))
        case .client, .history:
            return nil
        }
        try reader.finish()
        return decoded
    }
}
