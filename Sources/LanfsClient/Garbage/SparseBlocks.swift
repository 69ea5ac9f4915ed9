import LanfsFileSystem
import LanfsProtocol

/// Blocks of which half or more is dead, as far as this client has seen: when they add up, what still lives in them is
/// written elsewhere, and the blocks go as a whole.
struct SparseBlocks {
    /// Enough to find 64 GiB of blocks; what does not fit is found by the next audit.
    private static let limit = 1 << 16
    /// Below this a collection is not worth its walk through the tree.
    private static let smallest: UInt64 = 8 << 20

    private var dead: [BlockID: UInt32] = [:]
    private(set) var deadBytes: UInt64 = 0

    /// `usage`: as of now; `nil` when the block is gone.
    mutating func note(_ block: BlockID, _ usage: BlockUsage?) {
        if let old = dead.removeValue(forKey: block) { deadBytes -= UInt64(old) }
        guard let usage, usage.isMostlyDead, usage.total > usage.live, dead.count < Self.limit else { return }
        dead[block] = usage.total - usage.live
        deadBytes += UInt64(usage.total - usage.live)
    }

    /// The walk through the tree takes time in proportion to the volume, so the gain has to be in proportion as well: an
    /// eighth of it; half of it while commits follow each other closely, whose makers wait for them and whose next ones
    /// may well make more die.
    func isWorthRewriting(volumeBytes: UInt64, isBusy: Bool) -> Bool {
        deadBytes >= max(Self.smallest, volumeBytes / (isBusy ? 2 : 8))
    }

    /// All of them; they are forgotten here.
    mutating func take() -> Set<BlockID> {
        defer { self = SparseBlocks() }
        return Set(dead.keys)
    }
}
