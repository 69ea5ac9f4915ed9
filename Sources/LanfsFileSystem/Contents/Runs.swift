import LanfsProtocol
import LanfsTree
import SystemPackage

/// One extent and where it is in its file.
struct Run {
    var first: UInt64
    var extent: Extent

    init(first: UInt64, extent: Extent) {
        self.first = first
        self.extent = extent
    }

    /// `nil` for a record that makes no sense.
    init?(_ key: Key, _ value: [UInt8]) {
        guard case .extent(_, _, let first)? = RecordKey(key), let extent = try? Extent(decoding: value),
            first < allChunks.upperBound, UInt64(extent.count) <= allChunks.upperBound - first
        else { return nil }
        self.init(first: first, extent: extent)
    }

    /// The first chunk after it.
    var end: UInt64 { first + UInt64(extent.count) }

    /// The part of it within `chunks`, which it overlaps.
    func part(_ chunks: Range<UInt64>) -> Run {
        let inside = chunks.clamped(to: first..<end)
        let slice = UInt32(inside.lowerBound - first)..<UInt32(inside.upperBound - first)
        return Run(first: inside.lowerBound, extent: extent.slice(slice))
    }
}

let chunkSize = UInt64(Limits.chunkSize)

/// Every chunk that a file can have.
let allChunks: Range<UInt64> = 0..<(FileSystemLimits.fileSize / chunkSize + 1)

/// Chunks that a file of `size` bytes has.
func chunkCount(_ size: UInt64) -> UInt64 { size / chunkSize + (size % chunkSize == 0 ? 0 : 1) }

// A file's runs never overlap, and none reaches beyond the file's end: growing a file shows zeros, not what it once
// was.

extension Transaction {
    /// The last run that starts before `chunk`. One look.
    func lastRun(
        of inode: InodeNumber, _ generation: UInt32, before chunk: UInt64
    ) throws(Interruption) -> Run? {
        guard let (key, value) = try last(in: .extents(of: inode, generation, 0..<chunk)) else { return nil }
        guard let run = Run(key, value) else { throw .failed(.ioError) }
        return run
    }

    /// Up to `limit` runs that overlap `chunks`, in order. One look (none at the file's start) and a scan.
    func runs(
        of inode: InodeNumber, _ generation: UInt32, in chunks: Range<UInt64>, limit: Int
    ) throws(Interruption) -> [Run] {
        var found: [Run] = []
        guard !chunks.isEmpty, limit > 0 else { return found }
        if chunks.lowerBound > 0, let before = try lastRun(of: inode, generation, before: chunks.lowerBound),
            before.end > chunks.lowerBound
        {
            found.append(before)
            if limit == 1 || before.end >= chunks.upperBound { return found }
        }
        found += try collect(in: .extents(of: inode, generation, chunks), limit: limit - found.count) { key, value in
            Run(key, value)
        }
        return found
    }

    /// The blocks that a file's data lies in, from a chunk on, and the chunk to go on from when there may be more.
    public func blocks(
        of inode: InodeNumber, from chunk: UInt64
    ) throws(Interruption) -> (blocks: [BlockID], next: UInt64?) {
        let record = try regularFile(inode)
        guard record.hasExtents, chunk < allChunks.upperBound else { return ([], nil) }
        let limit = FileSystemLimits.runsPerSearch
        let runs = try runs(of: inode, record.generation, in: chunk..<allChunks.upperBound, limit: limit)
        return (runs.map(\.extent.frames.block), runs.count < limit ? nil : runs.last?.end)
    }

    mutating func store(_ run: Run, of inode: InodeNumber, _ generation: UInt32) {
        set(.extent(inode, generation: generation, chunk: run.first), run.extent.encoded())
    }

    /// Removes a run and gives up its frames.
    mutating func drop(_ run: Run, of inode: InodeNumber, _ generation: UInt32) throws(Interruption) {
        remove(.extent(inode, generation: generation, chunk: run.first))
        try release(run.extent.frames)
    }

    /// Makes a hole of `chunks`: up to `limit` runs that lie there, from the start, go or keep only what is outside.
    ///
    /// - Returns: how many bytes were allocated there, and whether nothing is left.
    mutating func carve(
        _ chunks: Range<UInt64>, of record: InodeRecord, limit: Int = .max
    ) throws(Interruption) -> (freed: UInt64, isComplete: Bool) {
        guard record.hasExtents else { return (0, true) }
        let inode = record.attributes.inode
        let generation = record.generation
        let runs = try runs(of: inode, generation, in: chunks, limit: limit)
        var freed: UInt64 = 0
        for run in runs {
            let gone = run.part(chunks)
            freed += gone.extent.plainLength
            try release(gone.extent.frames)
            if run.first < gone.first {
                store(run.part(run.first..<gone.first), of: inode, generation)
            } else {
                remove(.extent(inode, generation: generation, chunk: run.first))
            }
            if gone.end < run.end { store(run.part(gone.end..<run.end), of: inode, generation) }
        }
        return (freed, runs.count < limit)
    }
}
