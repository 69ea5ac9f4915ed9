import LanfsProtocol
import LanfsTree

/// What a part of a file's bytes comes from.
public enum Piece: Equatable, Sendable {
    /// This many zeros.
    case hole(Int)
    case inline(ArraySlice<UInt8>)
    /// `take` bytes of what this one frame seals, after the first `skip`.
    case frame(FrameRef, skip: Int, take: Int)

    public var count: Int {
        switch self {
        case .hole(let count): count
        case .inline(let bytes): bytes.count
        case .frame(_, _, let take): take
        }
    }
}

/// What one chunk of a file comes from; zeros follow up to the chunk's end.
public enum ChunkSource: Equatable, Sendable {
    case hole
    case inline([UInt8])
    /// The first `length` bytes of what this one frame seals.
    case frame(FrameRef, length: Int)
}

extension Transaction {
    /// Where the bytes of a range are, in order and without a gap, up to the file's end: nothing beyond it. Two looks
    /// and a scan; one look when the file is all inline.
    ///
    /// - Throws: `EISDIR`, `EINVAL` for what is not a regular file.
    public func readPlan(
        _ inode: InodeNumber, offset: UInt64, count: Int
    ) throws(Interruption) -> [Piece] {
        let record = try regularFile(inode)
        let size = record.attributes.size
        guard count > 0, offset < size else { return [] }
        let end = offset + min(UInt64(count), size - offset)
        var plan = Plan(position: offset)
        plan.add(inline: record.inline, end: end)
        if plan.position < end, record.hasExtents {
            let chunks = plan.position / chunkSize..<chunkCount(end)
            for run in try runs(of: inode, record.generation, in: chunks, limit: .max) { plan.add(run, end: end) }
        }
        plan.addHole(to: end)
        return plan.pieces
    }

    /// Where one chunk's bytes are, to write a part of it anew. Two looks.
    public func chunk(_ chunk: UInt64, of inode: InodeNumber) throws(Interruption) -> ChunkSource {
        let record = try regularFile(inode)
        if chunk == 0, !record.inline.isEmpty { return .inline(record.inline) }
        guard record.hasExtents, chunk < allChunks.upperBound,
            let run = try lastRun(of: inode, record.generation, before: chunk + 1), chunk < run.end
        else { return .hole }
        let index = UInt32(chunk - run.first)
        return .frame(run.extent.frame(of: index), length: run.extent.length(of: index))
    }
}

/// A read plan up to `position`.
private struct Plan {
    var position: UInt64
    var pieces: [Piece] = []

    mutating func add(inline: [UInt8], end: UInt64) {
        let upTo = min(end, UInt64(inline.count))
        guard position < upTo else { return }
        pieces.append(.inline(inline[Int(position)..<Int(upTo)]))
        position = upTo
    }

    mutating func addHole(to end: UInt64) {
        guard position < end else { return }
        let count = Int(end - position)
        if case .hole(let before)? = pieces.last {
            pieces[pieces.count - 1] = .hole(before + count)
        } else {
            pieces.append(.hole(count))
        }
        position = end
    }

    mutating func add(_ run: Run, end: UInt64) {
        addHole(to: min(end, run.first * chunkSize))
        while position < end, position / chunkSize < run.end {
            let chunk = position / chunkSize
            let index = UInt32(chunk - run.first)
            let dataEnd = min(end, chunk * chunkSize + UInt64(run.extent.length(of: index)))
            if position < dataEnd {
                let skip = Int(position - chunk * chunkSize)
                let take = Int(dataEnd - position)
                pieces.append(.frame(run.extent.frame(of: index), skip: skip, take: take))
                position = dataEnd
            }
            addHole(to: min(end, (chunk + 1) * chunkSize))
        }
    }
}
