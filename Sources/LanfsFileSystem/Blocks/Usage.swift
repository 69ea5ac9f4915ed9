import LanfsProtocol
import LanfsTree
import SystemPackage

// Who refers to which block is counted, so that ordinary frees need no search (G8). The counts say when a block can go;
// mark and sweep is the audit. A count that is wrong therefore must err towards keeping.

extension Transaction {
    /// Says how long a block is, for ``blocks(after:limit:)`` to tell how much of it is dead. A block that nobody
    /// registered counts the frames it was given.
    public mutating func registerBlock(_ block: BlockID, length: UInt32, kind: BlockKind) throws(Interruption) {
        let live = try usage(of: block)?.live ?? 0
        set(.usage(block), BlockUsage(kind: kind, total: max(length, live), live: live).encoded())
    }

    /// These frames are referred to from now on. Runs that a file is given are counted by `putRun` itself; this is for
    /// nodes of the tree that a checkpoint wrote. A change set counts itself: ``resolveSelfReferences(_:in:)``.
    public mutating func retain(_ frames: FrameRef, kind: BlockKind) throws(Interruption) {
        var usage = try usage(of: frames.block) ?? BlockUsage(kind: kind, total: 0, live: 0)
        let (live, overflow) = usage.live.addingReportingOverflow(frames.length)
        guard !overflow else { throw .failed(.ioError) }
        usage.live = live
        usage.total = max(usage.total, live)
        set(.usage(frames.block), usage.encoded())
    }

    /// These frames are referred to no more: nodes and change sets that a checkpoint replaced. When they were the
    /// block's last it goes on the dead list.
    public mutating func release(_ frames: FrameRef) throws(Interruption) {
        // Not counted, or counted wrong: keep the block, the audit finds it.
        guard var usage = try usage(of: frames.block), usage.live >= frames.length else { return }
        usage.live -= frames.length
        if usage.live > 0 {
            set(.usage(frames.block), usage.encoded())
        } else {
            try discardBlock(frames.block)
        }
    }

    /// Puts a block on the dead list that nothing refers to, as one that was registered and never used.
    ///
    /// - Throws: `EBUSY` while something refers to it.
    public mutating func discardUnusedBlock(_ block: BlockID) throws(Interruption) {
        guard let usage = try usage(of: block) else { return }
        guard usage.live == 0 else { throw .failed(.resourceBusy) }
        try discardBlock(block)
    }

    private mutating func discardBlock(_ block: BlockID) throws(Interruption) {
        remove(.usage(block))
        // The block being made holds the change set too, so it is not dead yet: `resolveSelfReferences` counts that.
        if block != .zero { set(.dead(sequence: unknownSequence, block), marker) }
    }

    public func usage(of block: BlockID) throws(Interruption) -> BlockUsage? {
        guard let bytes = try read(.usage(block)) else { return nil }
        return try decoded { () throws(DecodingError) in try BlockUsage(decoding: bytes) }
    }

    /// Up to `limit` blocks in the order of their ids with what is live of them: those that are mostly dead are worth
    /// rewriting, and their frames are found with ``extents(after:limit:)``.
    public func blocks(
        after block: BlockID? = nil, limit: Int
    ) throws(Interruption) -> [(block: BlockID, usage: BlockUsage)] {
        try collect(in: .usage(after: block), limit: limit) { key, value in
            guard case .usage(let block)? = RecordKey(key), let usage = try? BlockUsage(decoding: value) else {
                return nil
            }
            return (block, usage)
        }
    }

    /// Looks at the next `scanning` blocks for those of which no more than `percent` is live.
    ///
    /// - Returns: `next`: where to go on; `nil` after the last block.
    public func mostlyDead(
        after block: BlockID? = nil, scanning limit: Int, percent: Int
    ) throws(Interruption) -> (blocks: [BlockID], next: BlockID?) {
        let scanned = try blocks(after: block, limit: limit)
        let dead = scanned.filter { Int($0.usage.live) * 100 <= Int($0.usage.total) * percent }
        return (dead.map(\.block), scanned.count < limit ? nil : scanned.last?.block)
    }

    /// Up to `limit` runs of files, in the order of inodes and chunks; runs of an older generation are about to be
    /// removed and left out by comparing with the inode's.
    public func extents(
        after last: ExtentPlace? = nil, limit: Int
    ) throws(Interruption) -> [(place: ExtentPlace, extent: Extent)] {
        var range = KeyRange.all(.extent)
        if let last {
            range.from = RecordKey.extent(last.inode, generation: last.generation, chunk: last.firstChunk).key.successor
        }
        return try collect(in: range, limit: limit) { key, value in
            guard case .extent(let inode, let generation, let chunk)? = RecordKey(key),
                let extent = try? Extent(decoding: value)
            else { return nil }
            return (ExtentPlace(inode: inode, generation: generation, firstChunk: chunk), extent)
        }
    }
}

/// Whose run it is, and from which chunk on.
public struct ExtentPlace: Equatable, Sendable {
    public var inode: InodeNumber
    public var generation: UInt32
    public var firstChunk: UInt64

    public init(inode: InodeNumber, generation: UInt32, firstChunk: UInt64) {
        self.inode = inode
        self.generation = generation
        self.firstChunk = firstChunk
    }
}
