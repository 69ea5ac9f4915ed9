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

    public var description: String {
        "tree node \(ref.index) of block \(ref.block) is not in memory; fetch it and run the operation again"
    }
}

/// Decoded stored nodes, by where they are stored. Bounded: a new node drives out those not asked for since the hand of
/// the clock last passed them.
///
/// Not synchronised: whoever owns it holds a lock or an actor around each operation.
public final class NodeCache {
    /// Kept whatever the limit in bytes, so that an operation that fetches the nodes of its path one by one finds them
    /// all in the end.
    static let minimumNodes = 64

    /// Shared by reference, so that a lookup copies one pointer.
    final class Entry {
        let node: Node
        fileprivate let ref: FrameRef
        /// Whether it was asked for since the hand last passed it.
        fileprivate var wasUsed = false
        /// In the clock.
        fileprivate var position = 0

        init(ref: FrameRef, node: Node) {
            self.ref = ref
            self.node = node
        }
    }

    private let limitBytes: Int
    private var entries: [Place: Entry] = [:]
    private var clock: [Entry] = []
    private var hand = 0
    /// Bytes of memory the nodes take, about.
    public private(set) var bytes = 0

    /// - Parameter limitBytes: of memory. An `apply` needs all nodes it touches at once, so let it be several times
    ///   what the largest commit touches.
    public init(limitBytes: Int) {
        self.limitBytes = limitBytes
    }

    public var count: Int { clock.count }

    public func contains(_ ref: FrameRef) -> Bool { entries[Place(ref)] != nil }

    public func insert(_ ref: FrameRef, _ node: Node) {
        remove(ref)
        while bytes + node.footprint > limitBytes, count >= Self.minimumNodes { evictOne() }
        let entry = Entry(ref: ref, node: node)
        placeBehindHand(entry)
        entries[Place(ref)] = entry
        bytes += node.footprint
    }

    /// A new entry has a whole turn of the clock before it. Were it the next to go, two nodes that one operation needs
    /// would drive each other out for ever.
    private func placeBehindHand(_ entry: Entry) {
        if hand < clock.count {
            let next = clock[hand]
            next.position = clock.count
            clock.append(next)
            clock[hand] = entry
        } else {
            hand = clock.count
            clock.append(entry)
        }
        entry.position = hand
        hand += 1
    }

    /// Forgets a node, as for frames that nothing refers to any more.
    public func remove(_ ref: FrameRef) {
        if let entry = entries[Place(ref)] { drop(entry) }
    }

    public func removeAll() {
        entries = [:]
        clock = []
        hand = 0
        bytes = 0
    }

    func entry(_ ref: FrameRef) -> Entry? {
        let entry = entries[Place(ref)]
        entry?.wasUsed = true
        return entry
    }

    private func evictOne() {
        // Ends: after one turn every mark is off.
        while true {
            if hand >= clock.count { hand = 0 }
            let entry = clock[hand]
            guard entry.wasUsed else { return drop(entry) }
            entry.wasUsed = false
            hand += 1
        }
    }

    /// The last of the clock takes its place.
    private func drop(_ entry: Entry) {
        entries[Place(entry.ref)] = nil
        let last = clock.removeLast()
        if last !== entry {
            last.position = entry.position
            clock[entry.position] = last
        }
        bytes -= entry.node.footprint
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
