import LanfsProtocol
import LanfsTree
import SystemPackage

// Who refers to which block is counted, so that ordinary frees need no search (G8). The counts say when a block can go;
// mark and sweep is the audit. A count that is wrong therefore must err towards keeping.

extension Transaction {
    /// Says how long a block is, to tell how much of it is dead. A block that nobody
    /// registered counts the frames it was given.
    ///
    /// - Parameter made: as ``BlockUsage/made``.
    public mutating func registerBlock(
        _ block: BlockID, length: UInt32, kind: BlockKind, made: UInt64 = 0
    ) throws(Interruption) {
        let known = try usage(of: block)
        let live = known?.live ?? 0
        // The oldest counts: somebody may have it from then.
        let made = min(made, known?.made ?? made)
        set(.usage(block), BlockUsage(kind: kind, total: max(length, live), live: live, made: made).encoded())
    }

    /// These frames are referred to from now on. Runs that a file is given are counted by `putRun` itself; this is for
    /// nodes of the tree that a checkpoint wrote.
    public mutating func retain(_ frames: FrameRef, kind: BlockKind) throws(Interruption) {
        let known = try usage(of: frames.block)
        // It was about to be given up in this very commit.
        if known == nil { remove(.dead(sequence: unknownSequence, frames.block)) }
        var usage = known ?? BlockUsage(kind: kind, total: 0, live: 0)
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
            try discardBlock(frames.block, made: usage.made)
        }
    }

    /// Puts a block on the dead list that nothing refers to, as one that was registered and never used.
    ///
    /// - Throws: `EBUSY` while something refers to it.
    public mutating func discardUnusedBlock(_ block: BlockID) throws(Interruption) {
        guard let usage = try usage(of: block) else { return }
        guard usage.live == 0 else { throw .failed(.resourceBusy) }
        try discardBlock(block, made: usage.made)
    }

    private mutating func discardBlock(_ block: BlockID, made: UInt64) throws(Interruption) {
        remove(.usage(block))
        set(.dead(sequence: unknownSequence, block), BlockUsage.dead(made: made))
    }

    public func usage(of block: BlockID) throws(Interruption) -> BlockUsage? {
        guard let bytes = try read(.usage(block)) else { return nil }
        return try decoded { () throws(DecodingError) in try BlockUsage(decoding: bytes) }
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
