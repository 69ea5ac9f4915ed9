import LanfsProtocol
import LanfsTree

/// Keys at or above `from` and below `below`.
struct KeyRange {
    var from: Key
    var below: Key

    init(from: Key, below: Key) {
        self.from = from
        self.below = below
    }

    /// Every key that starts with this byte and these fields.
    private init(_ kind: RecordKey.Kind, _ fields: UInt64...) {
        var writer = ByteWriter(reserving: 1 + 8 * fields.count)
        writer.append(kind.rawValue)
        for field in fields { writer.append(field) }
        let prefix = Key(writer.bytes)
        // No kind is 255, so there is always a key above.
        self.init(from: prefix, below: prefix.prefixEnd ?? prefix)
    }

    static func all(_ kind: RecordKey.Kind) -> KeyRange { KeyRange(kind) }

    static func entries(of directory: InodeNumber) -> KeyRange { KeyRange(.entry, directory) }

    static func entries(of directory: InodeNumber, after name: [UInt8]) -> KeyRange {
        var range = entries(of: directory)
        range.from = RecordKey.entry(parent: directory, name: name).key.successor
        return range
    }

    static func extents(of inode: InodeNumber, _ generation: UInt32, _ chunks: Range<UInt64>) -> KeyRange {
        KeyRange(
            from: RecordKey.extent(inode, generation: generation, chunk: chunks.lowerBound).key,
            below: RecordKey.extent(inode, generation: generation, chunk: chunks.upperBound).key)
    }

    static func attributes(of inode: InodeNumber) -> KeyRange { KeyRange(.attribute, inode) }

    static func orphans(of incarnation: Incarnation) -> KeyRange {
        KeyRange(.orphan, incarnation.high, incarnation.low)
    }

    /// Those held, and those waited for.
    static let locks = KeyRange(from: KeyRange(.lock).from, below: KeyRange(.lockRequest).below)

    /// Dead since a commit whose sequence is known (not 0) and below `sequence`.
    static func dead(before sequence: UInt64) -> KeyRange {
        KeyRange(
            from: RecordKey.dead(sequence: 1, .zero).key,
            below: RecordKey.dead(sequence: max(1, sequence), .zero).key)
    }
}
