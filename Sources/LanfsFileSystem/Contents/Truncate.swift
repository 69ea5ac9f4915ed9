import LanfsProtocol
import LanfsTree
import SystemPackage

extension Transaction {
    /// Sets a file's size in its record, which the caller stores. No data has to be read: where the cut goes through a
    /// chunk, its run forgets the rest of it.
    ///
    /// - Returns: whether the size is the one asked for; if not, the end came nearer by many runs.
    mutating func resize(_ record: inout InodeRecord, to size: UInt64) throws(Interruption) -> Bool {
        guard size <= FileSystemLimits.fileSize else { throw .failed(.fileTooLarge) }
        guard size < record.attributes.size else {
            record.attributes.size = size
            return true
        }
        var freed: UInt64 = 0
        var reached = size
        if record.hasExtents {
            if size == 0, try !dropAllRuns(of: record.attributes.inode, record.generation) {
                set(.trim(record.attributes.inode, generation: record.generation), marker)
                record.generation &+= 1
            }
            if size == 0 {
                freed = record.attributes.allocated - UInt64(record.inline.count)
            } else {
                (freed, reached) = try cut(record, to: size)
            }
        }
        if reached < UInt64(record.inline.count) {
            freed += UInt64(record.inline.count) - reached
            record.inline.removeLast(record.inline.count - Int(reached))
        }
        record.attributes.size = reached
        record.attributes.allocated = record.attributes.allocated.moved(by: -Int64(clamping: freed))
        try count(bytes: -Int64(clamping: freed))
        return reached == size
    }

    /// Removes runs from the end backwards, so that a file cut only half the way is a file of that size.
    private mutating func cut(
        _ record: InodeRecord, to size: UInt64
    ) throws(Interruption) -> (freed: UInt64, reached: UInt64) {
        let inode = record.attributes.inode
        let kept = chunkCount(size)
        var freed: UInt64 = 0
        var reached = record.attributes.size
        var end = allChunks.upperBound
        for _ in 0..<FileSystemLimits.runsPerTruncation {
            guard let run = try lastRun(of: inode, record.generation, before: end), run.end >= kept else {
                return (freed, size)
            }
            if run.first < kept {
                freed += try shorten(run, of: record, toChunks: kept, size)
                return (freed, size)
            }
            try drop(run, of: inode, record.generation)
            freed += run.extent.plainLength
            end = run.first
            reached = run.first * chunkSize
        }
        return (freed, reached)
    }

    /// - Returns: bytes freed of a run that starts before the new end and reaches into the last chunk or beyond.
    private mutating func shorten(
        _ run: Run, of record: InodeRecord, toChunks kept: UInt64, _ size: UInt64
    ) throws(Interruption) -> UInt64 {
        var short = run
        if run.end > kept {
            try release(run.part(kept..<run.end).extent.frames)
            short = run.part(run.first..<kept)
        }
        short.extent = short.extent.clamped(toLast: UInt32(size - (kept - 1) * chunkSize))
        if short.extent != run.extent { store(short, of: record.attributes.inode, record.generation) }
        return run.extent.plainLength - short.extent.plainLength
    }

    /// Makes a hole of whole chunks; the file's size stays. Up to `FileSystemLimits.runsPerTruncation` runs go.
    ///
    /// - Returns: whether nothing is left there; if not, call it again in another transaction.
    public mutating func punch(
        _ chunks: Range<UInt64>, of inode: InodeNumber, by caller: Caller
    ) throws(Interruption) -> Bool {
        var record = try regularFile(inode)
        let chunks = chunks.clamped(to: allChunks)
        var (freed, isComplete) = try carve(chunks, of: record, limit: FileSystemLimits.runsPerTruncation)
        if chunks.contains(0) {
            freed += UInt64(record.inline.count)
            record.inline = []
        }
        record.attributes.modified = caller.now
        record.attributes.changed = caller.now
        if caller.user != 0 { record.attributes.dropPrivileges() }
        try account(&record, gained: 0, freed: freed)
        return isComplete
    }
}
