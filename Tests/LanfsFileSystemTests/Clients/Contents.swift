import LanfsProtocol
import LanfsTree

@testable import LanfsFileSystem

/// What can get lost: each has a number of its own, which a copy keeps.
enum Treasure: Hashable {
    case bytes(UInt64)
    case inode(InodeNumber)
}

/// What the bytes of blocks are, and of which inode one is the copy.
struct ContentsBook {
    enum Piece {
        case inline(UInt64)
        case block(BlockID)
    }

    private var blocks: [BlockID: UInt64] = [:]
    private var originals: [InodeNumber: InodeNumber] = [:]
    private var tags: UInt64 = 0
    private var ids: UInt64 = 0

    mutating func newTag() -> UInt64 {
        tags += 1
        return tags
    }

    mutating func newBlock() -> BlockID { block(with: newTag()) }

    private mutating func block(with tag: UInt64) -> BlockID {
        ids += 1
        let block = BlockID(word0: ids, word1: 0, word2: 0, word3: 1)
        blocks[block] = tag
        return block
    }

    /// The same bytes, sealed anew.
    mutating func copy(_ piece: Piece) -> Piece {
        switch piece {
        case .inline: piece
        case .block(let block): .block(self.block(with: blocks[block] ?? 0))
        }
    }

    mutating func note(_ copy: InodeNumber, of inode: InodeNumber) { originals[copy] = originals[inode] ?? inode }

    func treasure(_ inode: InodeNumber) -> Treasure { .inode(originals[inode] ?? inode) }

    func treasure(_ piece: Piece) -> Treasure {
        switch piece {
        case .inline(let tag): .bytes(tag)
        case .block(let block): .bytes(blocks[block] ?? 0)
        }
    }
}

extension Transaction {
    /// What a write was sealed to.
    mutating func put(_ piece: ContentsBook.Piece, in inode: InodeNumber, chunk: UInt64, made: UInt64) throws(Interruption) {
        switch piece {
        case .inline(let tag): try putInline(inode, withUnsafeBytes(of: tag.bigEndian) { Array($0) })
        case .block(let block):
            try registerBlock(block, length: UInt32(Limits.sealedChunkSize), kind: .data, made: made)
            try putRun(
                inode, firstChunk: chunk, count: 1,
                frames: FrameRef(block: block, key: .zero, index: 0, offset: 0, length: UInt32(Limits.sealedChunkSize)),
                lastLength: UInt32(Limits.chunkSize))
        }
    }

    /// What a file consists of, chunk by chunk.
    func pieces(of inode: InodeNumber) throws(Interruption) -> [(chunk: UInt64, piece: ContentsBook.Piece)] {
        let record = try self.inode(inode)
        var pieces: [(UInt64, ContentsBook.Piece)] = []
        if record.inline.count == 8 {
            pieces.append((0, .inline(record.inline.reduce(0) { $0 << 8 | UInt64($1) })))
        }
        guard record.hasExtents else { return pieces }
        for run in try runs(of: inode, record.generation, in: allChunks, limit: .max) {
            pieces.append((run.first, .block(run.extent.frames.block)))
        }
        return pieces
    }
}

/// A tree as one sees it from its root directory.
struct View {
    struct Name: Equatable {
        var place: Place
        var inode: InodeNumber
        var type: InodeType
    }

    var names: [Name] = []
    /// And how many names lead to each.
    var treasures: [Treasure: Int] = [:]

    init() {}

    init(_ transaction: Transaction, _ contents: ContentsBook) throws(Interruption) {
        var directories = [rootInode]
        while let directory = directories.popLast() {
            for entry in try transaction.entries(of: directory, limit: .max) {
                names.append(Name(place: Place(entry.name, in: directory), inode: entry.inode, type: entry.type))
                treasures[contents.treasure(entry.inode), default: 0] += 1
                if entry.type == .directory { directories.append(entry.inode) }
                guard entry.type == .regular else { continue }
                for (_, piece) in try transaction.pieces(of: entry.inode) {
                    treasures[contents.treasure(piece), default: 0] += 1
                }
            }
        }
    }
}
