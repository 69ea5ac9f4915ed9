import LanfsFileSystem
import LanfsProtocol
import SystemPackage

extension VolumeState {
    static let chunkSize = UInt64(Limits.chunkSize)

    /// Takes `data` in at `offset`: afterwards it reads back, and the next commit has it.
    mutating func write(
        _ data: UnsafeRawBufferPointer, to inode: InodeNumber, offset: UInt64, by caller: Caller
    ) throws(Pause) {
        try requireWritable()
        guard !data.isEmpty else { return }
        let (end, overflow) = offset.addingReportingOverflow(UInt64(data.count))
        guard !overflow, end <= UInt64(Int64.max) else { throw .failed(.fileTooLarge) }
        guard dirtyBytes + data.count <= dirtyLimit || dirtyBytes == 0 else { throw .room }

        let first = offset / Self.chunkSize
        let last = (end - 1) / Self.chunkSize
        // Bases first: reading them may pause, and a paused operation has changed nothing.
        var firstBase = try base(of: first, in: inode, written: offset..<end)
        var lastBase = last == first ? [] : try base(of: last, in: inode, written: offset..<end)
        let growth = (first...last).reduce(0) { sum, chunk in
            let stop = Int(min(end, (chunk + 1) * Self.chunkSize) - chunk * Self.chunkSize)
            let base = chunk == first ? firstBase.count : chunk == last ? lastBase.count : 0
            return sum + (dirty[inode]?.growth(to: stop, of: chunk, base: base) ?? max(stop, base))
        }
        guard growth == 0 || room.has(growth) else { throw .space }
        let before = try versionBefore(changing: inode)
        try execute(by: caller, before: before) { (transaction) throws(Interruption) in
            _ = try transaction.noteWrite(inode, range: offset..<end, by: caller)
            return ((), .write(inode, offset..<end))
        }

        dirtyVersion += 1
        var file = dirty.removeValue(forKey: inode) ?? DirtyFile()
        var position = offset
        for chunk in first...last {
            let stop = min(end, (chunk + 1) * Self.chunkSize)
            let part = UnsafeRawBufferPointer(rebasing: data[Int(position - offset)..<Int(stop - offset)])
            // Moved, not copied: what is written over in place has one owner.
            var base: [UInt8] = []
            if chunk == first { swap(&base, &firstBase) } else if chunk == last { swap(&base, &lastBase) }
            dirtyBytes += file.write(
                part, at: Int(position - chunk * Self.chunkSize), chunk: chunk, version: dirtyVersion, base: consume base)
            position = stop
        }
        room.promise(growth)
        requestSeals(of: inode, &file, groups: first / UInt64(Limits.chunksPerBlock)...last / UInt64(Limits.chunksPerBlock))
        dirty[inode] = file
    }

    /// What is under a chunk that will be written in part; nothing when all of it is written or it is dirty already.
    private mutating func base(
        of chunk: UInt64, in inode: InodeNumber, written: Range<UInt64>
    ) throws(Pause) -> [UInt8] {
        let start = chunk * Self.chunkSize
        if written.lowerBound <= start, written.upperBound >= start + Self.chunkSize { return [] }
        if dirty[inode]?[chunk] != nil { return [] }
        return try storedChunk(chunk, of: inode)
    }

    /// Full groups of chunks go to the sealer at once, so that a long write streams.
    private mutating func requestSeals(of inode: InodeNumber, _ file: inout DirtyFile, groups: ClosedRange<UInt64>) {
        for group in groups {
            let chunks = group * UInt64(Limits.chunksPerBlock)..<(group + 1) * UInt64(Limits.chunksPerBlock)
            let isFull = chunks.allSatisfy {
                file[$0].map { $0.bytes.count == Limits.chunkSize && !$0.isSealing } ?? false
            }
            guard isFull else { continue }
            let pieces = chunks.compactMap { number in
                file.takeForSealing(number).map {
                    SealRequest.Piece(inode: inode, chunk: number, bytes: $0.bytes, version: $0.version)
                }
            }
            sealRequests.append(SealRequest(pieces: pieces))
        }
    }

    /// A file with unsealed data was closed: when enough of them wait, they are packed into one block together.
    mutating func noteClosed(_ inode: InodeNumber) {
        guard let file = dirty[inode], !file.isEmpty else { return }
        closedDirty.append(inode)
        closedDirtyBytes += file.order.reduce(0) { $0 + (file[$1]?.bytes.count ?? 0) }
        if closedDirtyBytes >= Limits.chunksPerBlock * Limits.chunkSize {
            sealRequests += takeLooseChunks(of: closedDirty)
            closedDirty = []
            closedDirtyBytes = 0
        }
    }

    /// All unsealed chunks of these files that no seal is under way for, packed into as few blocks as they fit.
    mutating func takeLooseChunks(of inodes: [InodeNumber]) -> [SealRequest] {
        var requests: [SealRequest] = []
        var packing = SealRequest(pieces: [])
        for inode in inodes {
            guard var file = dirty.removeValue(forKey: inode) else { continue }
            for number in file.order {
                guard let chunk = file.takeForSealing(number) else { continue }
                if !packing.hasRoom(for: chunk.bytes.count) {
                    requests.append(packing)
                    packing = SealRequest(pieces: [])
                }
                packing.pieces.append(
                    SealRequest.Piece(inode: inode, chunk: number, bytes: chunk.bytes, version: chunk.version))
            }
            dirty[inode] = file
        }
        if !packing.pieces.isEmpty { requests.append(packing) }
        return requests
    }

    mutating func dropDirty() {
        dirty = [:]
        dirtyBytes = 0
        closedDirty = []
        closedDirtyBytes = 0
        sealRequests = []
    }

    /// Drops unsaved data that a truncation or a hole made void.
    mutating func discardDirty(of inode: InodeNumber, chunks: Range<UInt64>) {
        guard var file = dirty.removeValue(forKey: inode) else { return }
        dirtyBytes -= file.drop(chunks)
        if !file.isEmpty { dirty[inode] = file }
    }

    /// Cuts the unsaved data of a file to `size` bytes.
    mutating func cutDirty(of inode: InodeNumber, to size: UInt64) {
        guard var file = dirty.removeValue(forKey: inode) else { return }
        let last = size / Self.chunkSize
        let rest = Int(size % Self.chunkSize)
        dirtyVersion += 1
        if rest > 0 {
            dirtyBytes -= file.cut(last, to: rest, version: dirtyVersion)
            dirtyBytes -= file.drop(last + 1..<UInt64.max)
        } else {
            dirtyBytes -= file.drop(last..<UInt64.max)
        }
        if !file.isEmpty { dirty[inode] = file }
    }
}
