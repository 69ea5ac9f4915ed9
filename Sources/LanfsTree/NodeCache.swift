import LanfsProtocol

/// An operation stopped before it did anything because it needs this node: fetch its frame, decode it, insert it in the
/// cache and run the operation again from the start.
public struct MissingNode: Error, Hashable, Sendable, CustomStringConvertible {
    public let ref: FrameRef
    /// The level the node must have; `nil` for a root, which says it itself.
    public let level: UInt8?

    public init(ref: FrameRef, level: UInt8?) {
        self.ref = ref
        self.level = level
    }

    public var description: String { "tree node \(ref.index) of block \(ref.block) is not in memory; fetch it and retry" }
}

/// Decoded stored nodes, by where they are stored. Bounded: a new node drives out those not asked for since the hand of
/// the clock last passed them.
///
/// Not synchronised: whoever owns it holds a lock or an actor around each operation.
public final class NodeCache {
    /// Kept whatever the limit in bytes, so that an operation that fetches the nodes of its path one by one finds them
    /// all in the end.
    static let minimumNodes = 64

    private struct Slot {
        let ref: FrameRef
        let node: Node
        var wasUsed: Bool
    }

    private let limitBytes: Int
    private var positions: [Place: Int] = [:]
    private var slots: [Slot?] = []
    private var vacant: [Int] = []
    private var hand = 0
    /// Bytes of memory the nodes take, about.
    public private(set) var bytes = 0

    /// - Parameter limitBytes: of memory. An `apply` needs all nodes it touches at once, so let it be several times
    ///   what the largest commit touches.
    public init(limitBytes: Int) {
        self.limitBytes = limitBytes
    }

    public var count: Int { positions.count }

    public func contains(_ ref: FrameRef) -> Bool { positions[Place(ref)] != nil }

    public func insert(_ ref: FrameRef, _ node: Node) {
        remove(ref)
        while bytes + node.footprint > limitBytes, count >= Self.minimumNodes { evictOne() }
        let slot = Slot(ref: ref, node: node, wasUsed: false)
        if let position = vacant.popLast() {
            slots[position] = slot
            positions[Place(ref)] = position
        } else {
            positions[Place(ref)] = slots.count
            slots.append(slot)
        }
        bytes += node.footprint
    }

    /// Forgets a node, as for frames that nothing refers to any more.
    public func remove(_ ref: FrameRef) {
        if let position = positions[Place(ref)] { vacate(position) }
    }

    public func removeAll() {
        positions = [:]
        slots = []
        vacant = []
        hand = 0
        bytes = 0
    }

    func node(_ ref: FrameRef) -> Node? {
        guard let position = positions[Place(ref)] else { return nil }
        slots[position]?.wasUsed = true
        return slots[position]?.node
    }

    private func evictOne() {
        // Ends: after one turn every slot's mark is off.
        while true {
            hand = hand + 1 < slots.count ? hand + 1 : 0
            guard slots[hand] != nil else { continue }
            if slots[hand]?.wasUsed == true {
                slots[hand]?.wasUsed = false
            } else {
                vacate(hand)
                return
            }
        }
    }

    private func vacate(_ position: Int) {
        guard let slot = slots[position] else { return }
        positions[Place(slot.ref)] = nil
        slots[position] = nil
        vacant.append(position)
        bytes -= slot.node.footprint
    }

    /// A frame's place names it; the rest of a reference follows from it.
    private struct Place: Hashable {
        let block: BlockID
        let offset: UInt32

        init(_ ref: FrameRef) {
            block = ref.block
            offset = ref.offset
        }

        /// Block ids are hashes: one word tells blocks apart.
        func hash(into hasher: inout Hasher) {
            hasher.combine(block.word0 &+ UInt64(offset))
        }
    }
}
