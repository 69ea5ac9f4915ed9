import LanfsProtocol

/// Goes once through all nodes of a snapshot, each parent before its children. Whoever walks fetches the stored nodes,
/// as many side by side as it likes, and keeps them out of the ``NodeCache``: a walk passes every node once, and would
/// drive out what operations need.
///
///     var walk = TreeWalk(tree)
///     while case let places = walk.take(32), !places.isEmpty {
///         for (place, node) in try await fetched(places) { walk.enter(node) }
///     }
public struct TreeWalk: Sendable {
    /// A node that comes next.
    public struct Place: Sendable {
        /// Where it is stored; `nil` for a node that only this snapshot has.
        public let stored: MissingNode?
        /// The node itself when it is not stored.
        public let held: Node?
    }

    private var places: [Place] = []
    private let skipsStored: Bool

    /// - Parameter skippingStored: leaves out stored nodes and all below them: what is left is what changed since the
    ///   last checkpoint.
    public init(_ tree: Tree, skippingStored: Bool = false) {
        skipsStored = skippingStored
        if let top = tree.top { add(top, level: nil) }
    }

    /// The next places, at most `limit`, each once; none when the walk is over, provided that every place taken before
    /// was entered.
    public mutating func take(_ limit: Int) -> [Place] {
        let taken = places.suffix(limit)
        places.removeLast(taken.count)
        return taken.reversed()
    }

    /// The node of a place that was taken: its children come next.
    public mutating func enter(_ node: Node) {
        for child in node.children.reversed() { add(child, level: node.level &- 1) }
    }

    private mutating func add(_ child: Node.Child, level: UInt8?) {
        switch child {
        case .stored(let ref):
            if !skipsStored { places.append(Place(stored: MissingNode(ref: ref, level: level), held: nil)) }
        case .dirty(let node): places.append(Place(stored: nil, held: node))
        }
    }
}

extension Node {
    /// The lowest key that this node may hold.
    public var lowestKey: Key { count > 0 ? key(0) : .empty }
}
