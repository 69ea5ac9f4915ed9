import LanfsProtocol
import LanfsTree

/// Operations do not know which commit they will be part of: until ``stampDead(_:with:)`` says, it is this.
let unknownSequence: UInt64 = 0

extension Transaction {
    /// Up to `limit` blocks that nothing has referred to since a commit before `sequence`: once no root older than that
    /// is pinned by anyone, servers may be told to free them (G8).
    public func deadBlocks(
        before sequence: UInt64, limit: Int
    ) throws(Interruption) -> [DeadBlock] {
        try collect(in: .dead(before: sequence), limit: limit) { key, value in
            guard case .dead(let sequence, let block)? = RecordKey(key), let made = try? BlockUsage.made(ofDead: value)
            else { return nil }
            return DeadBlock(sequence: sequence, block: block, made: made)
        }
    }

    /// The servers were told.
    public mutating func forgetDead(_ blocks: [DeadBlock]) {
        for dead in blocks { remove(.dead(sequence: dead.sequence, dead.block)) }
    }
}

/// An entry of the dead list (G8).
public struct DeadBlock: Equatable, Sendable {
    /// Of the commit since which nothing refers to it.
    public var sequence: UInt64
    public var block: BlockID
    /// As ``BlockUsage/made``.
    public var made: UInt64
}

/// A commit's changes with its own sequence on its dead list, in key order. Do it before the changes are sealed, once
/// the commit's place in the order is known.
///
/// Applied on top of the changes they were made from, the result says the same as applied in their place.
public func stampDead(_ changes: [Change], with sequence: UInt64) -> [Change] {
    var result = changes
    var stamped: [Change] = []
    for index in result.indices {
        guard result[index].key.bytes.first == RecordKey.Kind.dead.rawValue, let value = result[index].value,
            case .dead(unknownSequence, let block)? = RecordKey(result[index].key)
        else { continue }
        stamped.append(Change(key: RecordKey.dead(sequence: sequence, block).key, value: value))
        result[index].value = nil
    }
    guard !stamped.isEmpty else { return result }
    // No key is there twice: a block dies once, and no commit before had this sequence.
    result.append(contentsOf: stamped)
    result.sort { $0.key < $1.key }
    return result
}
