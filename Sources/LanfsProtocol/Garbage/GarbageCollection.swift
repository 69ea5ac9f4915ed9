/// The audit of a volume's blocks: which of them does no root reach (G4, G5)? What ordinary frees forgot, because a
/// client died between an upload and its commit, is found here.
///
/// The order is what makes it safe. First a root of a new collection is chosen; then servers say what they store; then
/// everything that root reaches is marked, and an unreadable node ends the collection; then the rest is swept. Whatever
/// is uploaded or touched meanwhile carries a tag above `cutoff`, and the server looks at the tag when it sweeps.
///
/// Holds one id for each candidate, so a large store is done in slices of the ids' order.
public struct GarbageCollection: Sendable {
    /// Of the root that is marked.
    public let gcEpoch: UInt64
    private var candidates: Set<BlockID> = []

    /// - Parameter gcEpoch: of a chosen root that raised it by one (G4).
    public init(gcEpoch: UInt64) {
        self.gcEpoch = gcEpoch
    }

    /// Blocks with a higher tag may belong to a commit that is still being made. `nil` for a volume's first collection,
    /// which can sweep nothing.
    public var cutoff: UInt64? { gcEpoch < 2 ? nil : gcEpoch - 2 }

    public var candidateCount: Int { candidates.count }

    /// A server has this block. Returns whether it is a candidate.
    @discardableResult
    public mutating func consider(_ block: StoredBlock) -> Bool {
        guard let cutoff, block.gcEpoch <= cutoff else { return false }
        return candidates.insert(block.block).inserted
    }

    /// The root that is marked, or one that is pinned, reaches this block.
    public mutating func mark(_ block: BlockID) {
        candidates.remove(block)
    }

    /// Those that no mark was set on, in id order; only once everything is marked.
    public func unreached() -> [BlockID] {
        candidates.sorted()
    }
}
