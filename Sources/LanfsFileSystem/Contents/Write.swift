import LanfsProtocol
import LanfsTree
import SystemPackage

// A write comes in two steps. `noteWrite` is what stat shows at once: size and times. `putRun` and `putInline` are what
// the bytes became once they were packed and sealed; they change neither size nor times.

extension Transaction {
    /// Bytes of this range were written: the file grows to hold them, its times move, and unless root wrote them it
    /// loses set-user-id and set-group-id. One look, one write.
    ///
    /// - Throws: `EFBIG` beyond 2^63 - 1 bytes, `EISDIR`, `EINVAL` for what is not a regular file.
    public mutating func noteWrite(
        _ inode: InodeNumber, range: Range<UInt64>, by caller: Caller
    ) throws(Interruption) -> Attributes {
        var record = try regularFile(inode)
        guard range.upperBound <= FileSystemLimits.fileSize else { throw .failed(.fileTooLarge) }
        guard !range.isEmpty else { return record.attributes }
        record.attributes.size = max(record.attributes.size, range.upperBound)
        record.attributes.modified = caller.now
        record.attributes.changed = caller.now
        if caller.user != 0 { record.attributes.dropPrivileges() }
        store(record)
        return record.attributes
    }

    /// Puts sealed chunks in place of what is there, and counts their frames as live in their block. What lies beyond
    /// the file's end is left out: it was cut while the chunks were being sealed.
    ///
    /// Looks: the inode, the run before, the next run, the block's usage, the superblock; and the usage of each block
    /// that loses frames.
    ///
    /// - Parameter frames: of `count` chunks, each `Limits.sealedChunkSize` long but the last.
    /// - Parameter lastLength: bytes of the last chunk; the rest of it reads as zeros.
    /// - Returns: how many of the chunks the file has room for.
    /// - Throws: `EINVAL` when the parts contradict each other, `ESTALE` when the file is gone.
    @discardableResult
    public mutating func putRun(
        _ inode: InodeNumber, firstChunk: UInt64, count: UInt32, frames: FrameRef, lastLength: UInt32
    ) throws(Interruption) -> UInt32 {
        guard let whole = Extent(count: count, frames: frames, lastLength: lastLength) else {
            throw .failed(.invalidArgument)
        }
        var record = try regularFile(inode)
        let end = chunkCount(record.attributes.size)
        guard firstChunk < end else { return 0 }
        var run = Run(first: firstChunk, extent: whole)
        if run.end >= end {
            run = run.part(firstChunk..<end)
            run.extent = run.extent.clamped(toLast: UInt32(record.attributes.size - (end - 1) * chunkSize))
        }

        var freed = try carve(run.first..<run.end, of: record).freed
        if run.first == 0 {
            freed += UInt64(record.inline.count)
            record.inline = []
        }
        store(run, of: inode, record.generation)
        try retain(run.extent.frames, kind: .data)
        try account(&record, gained: run.extent.plainLength, freed: freed)
        return run.extent.count
    }

    /// Keeps the bytes of chunk 0 in the inode's record, in place of what is there; zeros follow up to the chunk's end.
    /// What lies beyond the file's end is left out. Two looks, and two more when the file has extents.
    ///
    /// - Throws: `EINVAL` for more than `FileSystemLimits.inlineContents`.
    public mutating func putInline(_ inode: InodeNumber, _ bytes: [UInt8]) throws(Interruption) {
        guard bytes.count <= FileSystemLimits.inlineContents else { throw .failed(.invalidArgument) }
        var record = try regularFile(inode)
        let freed = try carve(0..<1, of: record).freed + UInt64(record.inline.count)
        let fitting = Int(min(UInt64(bytes.count), record.attributes.size))
        record.inline = fitting == bytes.count ? bytes : Array(bytes[..<fitting])
        try account(&record, gained: UInt64(fitting), freed: freed)
    }

    /// Stores the record with what the file gained and gave up.
    mutating func account(_ record: inout InodeRecord, gained: UInt64, freed: UInt64) throws(Interruption) {
        let difference = Int64(clamping: gained) - Int64(clamping: freed)
        record.attributes.allocated = record.attributes.allocated.moved(by: difference)
        store(record)
        try count(bytes: difference)
    }
}
