import LanfsProtocol
import LanfsTree

/// Small files' frames are sealed in the same block as the change set that refers to them, before that block has a
/// name: there, `BlockID.zero` means the block itself. Whoever reads a change set from its block, and the writer once
/// the block is sealed, puts the name in with this function; with the same block it always gives the same changes.
///
/// The block's usage is moved to its name in the same way, and the change set's own frames are counted as live in it.
/// They are released (``Transaction/release(_:)``) by the checkpoint that makes the change set superfluous.
///
/// - Parameter block: the change set's frames, as the root record names them. The frames it shares the block with must
///   all have been put by these changes.
/// - Returns: the changes in key order. Applied on top of `changes`, they say the same as applied in their place.
public func resolveSelfReferences(_ changes: [Change], in block: FrameRef) -> [Change] {
    let own = RecordKey.usage(block.block).key
    guard !changes.contains(where: { $0.key == own }) else { return changes }
    var result = changes
    var usage = BlockUsage(kind: .changes, total: 0, live: 0)
    for index in result.indices {
        guard let value = result[index].value, let kind = result[index].key.bytes.first else { continue }
        if kind == RecordKey.Kind.extent.rawValue {
            guard var extent = try? Extent(decoding: value), extent.frames.block == .zero else { continue }
            extent.frames = extent.frames.resolved(in: block)
            result[index].value = extent.encoded()
        } else if kind == RecordKey.Kind.usage.rawValue, RecordKey(result[index].key) == .usage(.zero) {
            guard let counted = try? BlockUsage(decoding: value) else { continue }
            usage.total = counted.total
            usage.live = counted.live
            result[index].value = nil
        }
    }
    usage.live = UInt32(clamping: UInt64(usage.live) + UInt64(block.length))
    usage.total = max(UInt32(clamping: UInt64(usage.total) + UInt64(block.length)), usage.live)
    result.insert(Change(key: own, value: usage.encoded()), at: position(of: own, in: result))
    return result
}

/// Where `key`, which is not among them, belongs in changes that are in key order.
private func position(of key: Key, in changes: [Change]) -> Int {
    var low = 0
    var high = changes.count
    while low < high {
        let middle = (low + high) / 2
        if changes[middle].key < key { low = middle + 1 } else { high = middle }
    }
    return low
}
