import LanfsProtocol
import SystemPackage

/// What the store remembers of one segment file. Every field is guarded by the store's state lock.
final class Segment {
    /// A record that the sidecar will list.
    struct Record {
        var id: BlockID
        var page: UInt32
    }

    let number: UInt32
    let path: FilePath
    /// Behind the last record.
    var end: UInt64
    /// Bytes and number of the records that the index points at, quarantined ones included.
    var heldBytes: UInt64 = 0
    var heldCount = 0
    /// Open for reading once somebody asked; dropped again when too many are open.
    var file: OpenFile?
    /// Its blocks are being copied elsewhere, and the copies are not flushed yet: it must not be unlinked.
    var isEmptying = false
    /// Until the segment is sealed: the descriptor it was written through, because only that one surely reports the
    /// write errors that a flush must not miss.
    var appendFile: OpenFile?
    /// A flush of it is under way.
    var isFlushing = false
    /// Until the segment is sealed: what the sidecar will list.
    var records: [Record] = []
    /// Put since the last flush of this segment that succeeded.
    var unflushed: [BlockID] = []
    /// Puts that reserved a range and have not finished writing it.
    var writers = 0
    /// Nothing is appended any more: it is full, or its disk failed.
    var isClosed = false
    /// Its flush failed: what was not flushed is elsewhere or gone.
    var hasFailed = false
    /// The sidecar on disk covers it all (states may have changed since: `isStale`).
    var isSealed = false
    /// The sidecar's states are older than the index; the log has the difference.
    var isStale = false

    init(number: UInt32, folder: FilePath, end: UInt64) {
        self.number = number
        self.end = end
        path = Segment.path(number, in: folder)
    }

    /// All its records are written, and flushed or given up.
    var isSettled: Bool { isClosed && writers == 0 && unflushed.isEmpty && !isFlushing }

    var sidecarPath: FilePath { Segment.sidecar(of: path) }

    static func path(_ number: UInt32, in folder: FilePath) -> FilePath {
        let digits = String(number)
        return folder.appending(String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".seg")
    }

    static func sidecar(of path: FilePath) -> FilePath {
        var sidecar = path
        sidecar.extension = "idx"
        return sidecar
    }

    /// The number that a segment's file name says; nil if it is not exactly the name we give.
    static func number(_ name: String) -> UInt32? {
        guard name.hasSuffix(".seg"), let number = UInt32(name.dropLast(4)), number > 0, number < .max,
            path(number, in: "").string == name
        else { return nil }
        return number
    }
}

/// Where a block's bytes are, for a caller that reads them itself. The descriptor stays good while this lives; call
/// `BlockStore.confirm` after reading, because a quarantined block may be reclaimed meanwhile.
public struct BlockLocation: Sendable {
    public let block: BlockID
    /// Bytes.
    public let length: Int
    public let gcEpoch: UInt64
    /// Where in the file the block's bytes start.
    public let fileOffset: Int64
    let segment: UInt32
    let page: UInt32
    let file: OpenFile

    public var descriptor: Int32 { file.descriptor }
}
