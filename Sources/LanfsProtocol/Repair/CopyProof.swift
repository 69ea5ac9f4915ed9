/// B6: whether every live block has R copies on the servers that take blocks, by their own word, whatever others have. All
/// that one root reaches is asked for; where blocks lacked copies, a later root tells which of them are still alive.
///
/// It is about one config. Later roots of that need no proof: all their new blocks were on R servers that take blocks
/// before they were chosen (B2), and the others are in the root that was asked for (G3). Under another config fewer copies
/// may have been made, or others have counted.
public struct CopyProof: Sendable {
    /// As many blocks as one question should name.
    public static let batch = Request.blockLimit
    /// Further ones are for a later root: bounds the memory.
    private static let limit = 1 << 18

    public let configVersion: UInt64
    /// R; fewer where a witness leaves, for which nobody has to be there in its place.
    public let copies: Int
    /// To be asked for.
    public private(set) var pending: Set<BlockID> = []
    /// Those with too few copies, as far as it has come.
    public private(set) var lacking: Set<BlockID> = []
    /// What counts of the root that is walked: what the last one left open. `nil`: all of it.
    private var scope: Set<BlockID>?
    private var isWalked = false
    /// Not all that lacks copies was noted.
    private var isCut = false

    public init(of config: VolumeConfig, copies: Int? = nil) {
        configVersion = config.version
        self.copies = copies ?? Int(config.replicas)
    }

    public var isComplete: Bool { isWalked && !isCut && lacking.isEmpty && pending.isEmpty }

    /// A root is going to be walked, later than those before; again after a walk that did not come to its end.
    public mutating func begin() {
        if isWalked { scope = isCut ? nil : lacking }
        (isWalked, isCut) = (false, false)
        (pending, lacking) = ([], [])
    }

    public mutating func reach(_ block: BlockID) {
        if scope?.contains(block) ?? true { pending.insert(block) }
    }

    /// What is to be asked for now, in order.
    public mutating func takePending() -> [BlockID] {
        defer { pending = [] }
        return pending.sorted()
    }

    /// How many servers that take blocks have each of these on disk.
    public mutating func note(_ blocks: [BlockID], copies found: [Int]) {
        for (block, count) in zip(blocks, found) {
            if count >= copies {
                lacking.remove(block)
            } else if lacking.count < Self.limit {
                lacking.insert(block)
            } else {
                isCut = true
            }
        }
    }

    /// The walk has come to its end, and all it reached was asked for.
    public mutating func end() { isWalked = true }
}
