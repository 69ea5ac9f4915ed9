import LanfsFileSystem
import LanfsProtocol
import SystemPackage

extension VolumeState {
    /// The bytes of `inode` from `offset` on, at most `count`, fewer only at the end of the file.
    mutating func bytes(of inode: InodeNumber, offset: UInt64, count: Int) throws(Pause) -> FileBytes {
        let size = try read(of: inode) { (transaction) throws(Interruption) in try transaction.attributes(of: inode).size }
        guard offset < size, count > 0 else { return FileBytes(pieces: []) }
        let end = min(size, offset + UInt64(count))
        guard let file = dirty[inode], !file.isEmpty else {
            return FileBytes(pieces: try storedPieces(of: inode, in: offset..<end))
        }
        var pieces: [ArraySlice<UInt8>] = []
        var position = offset
        while position < end {
            let chunk = position / UInt64(Limits.chunkSize)
            let start = Int(position % UInt64(Limits.chunkSize))
            let stop = min(end, (chunk + 1) * UInt64(Limits.chunkSize))
            let length = Int(stop - position)
            if let unsaved = file[chunk] {
                let present = unsaved.bytes.dropFirst(start).prefix(length)
                pieces.append(present)
                if present.count < length { pieces.append(zeros.prefix(length - present.count)) }
            } else {
                pieces += try storedPieces(of: inode, in: position..<stop)
            }
            position = stop
        }
        return FileBytes(pieces: pieces)
    }

    /// Bytes as the tree has them, without what is dirty.
    private mutating func storedPieces(of inode: InodeNumber, in range: Range<UInt64>) throws(Pause) -> [ArraySlice<UInt8>] {
        let plan = try read(of: inode) { (transaction) throws(Interruption) in
            try transaction.readPlan(inode, offset: range.lowerBound, count: range.count)
        }
        var pieces: [ArraySlice<UInt8>] = []
        var missing: [FrameRef] = []
        pieces.reserveCapacity(plan.count)
        for piece in plan {
            switch piece {
            case .hole(let count):
                var left = count
                while left > 0 {
                    pieces.append(zeros.prefix(left))
                    left -= min(left, zeros.count)
                }
            case .inline(let bytes):
                pieces.append(bytes)
            case .frame(let ref, let skip, let take):
                if let frame = cachedFrame(ref, end: skip + take) {
                    guard skip + take <= frame.count else { throw .failed(.ioError) }
                    pieces.append(frame[skip..<skip + take])
                } else {
                    missing.append(ref)
                }
            }
        }
        guard missing.isEmpty else { throw .frames(missing) }
        return pieces
    }

    private mutating func cachedFrame(_ ref: FrameRef, end: Int) -> [UInt8]? {
        frames.frame(ref.name, isLastUse: end + Limits.frameOverhead == Int(ref.length))
    }

    /// What a clean chunk holds, to be written over in part; shorter than a chunk where the rest is zeros.
    mutating func storedChunk(_ chunk: UInt64, of inode: InodeNumber) throws(Pause) -> [UInt8] {
        let start = chunk * UInt64(Limits.chunkSize)
        let size = try read { (transaction) throws(Interruption) in try transaction.attributes(of: inode).size }
        guard start < size else { return [] }
        let end = min(size, start + UInt64(Limits.chunkSize))
        return FileBytes(pieces: try storedPieces(of: inode, in: start..<end)).joined
    }
}

/// Holes are read out of these.
private let zeros = [UInt8](repeating: 0, count: Limits.chunkSize)[...]
