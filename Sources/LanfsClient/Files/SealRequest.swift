import LanfsFileSystem
import LanfsProtocol

/// Chunks of one or more files that are to be sealed into one block.
struct SealRequest: Sendable {
    struct Piece: Sendable {
        let inode: InodeNumber
        let chunk: UInt64
        let bytes: [UInt8]
        /// The version of the dirty chunk that `bytes` is.
        let version: UInt64
    }

    /// In the order of their frames.
    var pieces: [Piece]

    /// A full group of one file's chunks.
    var isStream: Bool { pieces.count == Limits.chunksPerBlock && pieces[0].inode == pieces[pieces.count - 1].inode }

    func hasRoom(for count: Int) -> Bool {
        let payload = pieces.reduce(count) { $0 + $1.bytes.count }
        return payload <= Limits.chunksPerBlock * Limits.chunkSize && pieces.count < 2048
    }
}

extension VolumeState {
    /// The chunks of `request` are sealed as the frames of `block`, in order: the tree now names them there. A chunk that
    /// was changed or dropped meanwhile keeps its newer fate; its frame is dead from the start.
    mutating func adopt(_ block: SealedBlock, for request: SealRequest) throws(Pause) {
        let made = chain.record.sequence
        let current = request.pieces.map { dirty[$0.inode]?[$0.chunk]?.version == $0.version }
        try changeUncounted { (transaction) throws(Interruption) in
            try transaction.registerBlock(block.id, length: UInt32(block.bytes.readableBytes), kind: .data, made: made)
            var index = 0
            while index < request.pieces.count {
                guard current[index] else {
                    index += 1
                    continue
                }
                let count = request.runLength(current, from: index)
                let first = request.pieces[index]
                do throws(Interruption) {
                    try transaction.putRun(
                        first.inode, firstChunk: first.chunk, count: UInt32(count),
                        frames: block.run(first: index, count: count),
                        lastLength: UInt32(request.pieces[index + count - 1].bytes.count))
                } catch .failed(.staleNFSFileHandle) {
                    // The file is gone, and with it who would want its bytes.
                }
                index += count
            }
            if try transaction.usage(of: block.id)?.live == 0 { try transaction.discardUnusedBlock(block.id) }
        }
        adopted.insert(block.id)
        for (index, (piece, isCurrent)) in zip(request.pieces, current).enumerated() where isCurrent {
            // What was written is written over or read next, but for the most of a long stream.
            if !request.isStream || piece.chunk < frames.limit / Limits.chunkSize / 3 {
                frames.insert(
                    piece.bytes, as: FrameCache.Name(block: block.id, index: UInt32(index)), isWanted: false)
            }
            guard var file = dirty.removeValue(forKey: piece.inode) else { continue }
            dirtyBytes -= file.remove(piece.chunk)
            if !file.isEmpty { dirty[piece.inode] = file }
        }
    }
}

extension SealRequest {
    /// Pieces that are consecutive chunks of one file, all but the last of them full: one extent.
    fileprivate func runLength(_ isCurrent: [Bool], from start: Int) -> Int {
        var end = start + 1
        while end < pieces.count, isCurrent[end], pieces[end].inode == pieces[start].inode,
            pieces[end].chunk == pieces[end - 1].chunk + 1, pieces[end - 1].bytes.count == Limits.chunkSize
        {
            end += 1
        }
        return end - start
    }
}
