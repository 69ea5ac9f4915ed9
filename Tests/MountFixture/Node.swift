import LanfsFileSystem
import SystemPackage

/// Bytes with holes, in pieces that readers can keep while writers go on.
struct Content {
    static let pieceSize = 128 * 1024
    private static let zeros = [UInt8](repeating: 0, count: pieceSize)

    /// Nil: a hole.
    private var pieces: [[UInt8]?] = []
    private(set) var size = 0

    var allocated: Int { pieces.reduce(0) { $0 + ($1 == nil ? 0 : Self.pieceSize) } }

    func read(at offset: Int, count: Int) -> [ArraySlice<UInt8>] {
        let end = min(size, offset + count)
        var position = offset
        var slices: [ArraySlice<UInt8>] = []
        while position < end {
            let index = position / Self.pieceSize
            let start = position % Self.pieceSize
            let length = min(Self.pieceSize - start, end - position)
            let piece = index < pieces.count ? pieces[index] ?? Self.zeros : Self.zeros
            slices.append(piece[start..<start + length])
            position += length
        }
        return slices
    }

    mutating func write(_ data: UnsafeRawBufferPointer, at offset: Int) {
        var position = offset
        var rest = data[...]
        while !rest.isEmpty {
            let index = position / Self.pieceSize
            let start = position % Self.pieceSize
            let length = min(Self.pieceSize - start, rest.count)
            while pieces.count <= index { pieces.append(nil) }
            if pieces[index] == nil { pieces[index] = Self.zeros }
            pieces[index]?.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[start..<start + length])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest.prefix(length)))
            }
            rest = rest.dropFirst(length)
            position += length
        }
        size = max(size, position)
    }

    mutating func resize(to newSize: Int) {
        if newSize < size {
            zero(from: newSize, to: size)
            let kept = (newSize + Self.pieceSize - 1) / Self.pieceSize
            if pieces.count > kept { pieces.removeLast(pieces.count - kept) }
        }
        size = newSize
    }

    mutating func zero(from start: Int, to end: Int) {
        var position = start
        while position < end, position / Self.pieceSize < pieces.count {
            let index = position / Self.pieceSize
            let offset = position % Self.pieceSize
            let length = min(Self.pieceSize - offset, end - position)
            if length == Self.pieceSize {
                pieces[index] = nil
            } else {
                pieces[index]?.withUnsafeMutableBytes { bytes in
                    for place in offset..<offset + length { bytes[place] = 0 }
                }
            }
            position += length
        }
    }

    /// SEEK_DATA and SEEK_HOLE, by whole pieces.
    func seek(from offset: Int, data: Bool) -> Int? {
        guard offset < size else { return nil }
        var position = offset
        while position < size {
            let index = position / Self.pieceSize
            let hasData = index < pieces.count && pieces[index] != nil
            if hasData == data { return position }
            position = (index + 1) * Self.pieceSize
        }
        return data ? nil : size
    }
}

/// How an inode behaves beyond the ordinary, by the beginning of the name it was made with.
enum Behaviour: Sendable {
    case ordinary
    /// Reads wait until the gate opens, and give up when cancelled.
    case stuckRead
    /// Reads wait until the gate opens, whatever happens.
    case deafRead
    /// Opening waits until the gate opens, whatever happens.
    case deafOpen
    case stuckWrite
    case stuckClose
    /// Listings wait, and give up when cancelled.
    case stuckFolder

    init(_ name: [UInt8]) {
        let text = String(decoding: name, as: UTF8.self)
        self =
            text.hasPrefix("stuck-read")
            ? .stuckRead
            : text.hasPrefix("deaf-open")
                ? .deafOpen
                : text.hasPrefix("deaf-read")
                    ? .deafRead
                    : text.hasPrefix("stuck-write")
                        ? .stuckWrite
                        : text.hasPrefix("stuck-close")
                            ? .stuckClose
                            : text.hasPrefix("stuck-folder") ? .stuckFolder : .ordinary
    }
}

final class Node {
    var attributes: Attributes
    var content = Content()
    var target: [UInt8] = []
    var names: [[UInt8]: (inode: InodeNumber, cookie: UInt64)] = [:]
    /// In the order they were made; names that are gone are skipped.
    var order: [(cookie: UInt64, name: [UInt8])] = []
    var parent: InodeNumber
    var extended: [[UInt8]: [UInt8]] = [:]
    var lookups: UInt64 = 0
    var opens = 0
    var behaviour = Behaviour.ordinary

    init(_ attributes: Attributes, parent: InodeNumber) {
        self.attributes = attributes
        self.parent = parent
    }

    func add(_ name: [UInt8], _ inode: InodeNumber, cookie: UInt64) {
        names[name] = (inode, cookie)
        order.append((cookie, name))
    }

    /// The place in `order` of the first entry after `cookie`.
    func position(after cookie: UInt64) -> Int {
        var low = 0
        var high = order.count
        while low < high {
            let middle = (low + high) / 2
            if order[middle].cookie <= cookie { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
