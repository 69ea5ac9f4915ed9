import LanfsProtocol

/// One ordered map of byte keys to byte values: a copy-on-write B+tree.
///
/// A copy costs nothing and is a snapshot: what one of two copies goes through, the other does not see. Nodes that are
/// stored are known by their reference and looked up in a ``NodeCache``; nodes changed since the last checkpoint are
/// held here. An operation that needs a stored node that is not in the cache throws ``MissingNode`` and has done nothing.
public struct Tree: Sendable {
    /// Bytes of the longest value: inline contents, or a symlink's target with its attributes.
    public static let valueSizeLimit = 6 * 1024

    /// `nil` when the map is empty.
    var top: Node.Child?
    let shape: NodeShape
    /// Stored nodes that the last checkpoint's tree has and this one has no more.
    var freed: [FrameRef] = []

    /// An empty map.
    public init(shape: NodeShape = .standard) {
        self.shape = shape
    }

    /// The stored map that a checkpoint wrote; `nil` is the empty one.
    public init(root: FrameRef?, shape: NodeShape = .standard) {
        self.shape = shape
        top = root.map { .stored($0) }
    }

    public var isEmpty: Bool { top == nil }

    /// Whether a checkpoint would have something to write.
    public var hasUnstoredNodes: Bool { if case .dirty = top { true } else { false } }

    /// Where the root node is stored; `nil` when it is not, or when the map is empty.
    public var root: FrameRef? { if case .stored(let ref) = top { ref } else { nil } }
}

extension Tree {
    /// The node itself, wherever it is.
    static func load(_ child: Node.Child, level: UInt8?, _ nodes: NodeCache) throws(MissingNode) -> Node {
        switch child {
        case .dirty(let node): return node
        case .stored(let ref):
            return try entry(ref, level: level, nodes).node
        }
    }

    private static func entry(
        _ ref: FrameRef, level: UInt8?, _ nodes: NodeCache
    ) throws(MissingNode) -> NodeCache.Entry {
        // A node of another level than its place demands could send us round in circles.
        guard let entry = nodes.entry(ref), level == nil || entry.node.level == level else {
            throw MissingNode(ref: ref, level: level)
        }
        return entry
    }

    public func value(_ key: Key, nodes: NodeCache) throws(MissingNode) -> [UInt8]? {
        guard var child = top else { return nil }
        var level: UInt8?
        while true {
            let step: Step
            switch child {
            case .dirty(let node):
                level = node.level
                step = Self.step(node, key)
            case .stored(let ref):
                let entry = try Self.entry(ref, level: level, nodes)
                level = entry.node.level
                step = Self.step(entry.node, key)
            }
            switch step {
            case .down(let next): child = next
            case .end(let value): return value
            }
            level = level.map { $0 &- 1 }
        }
    }

    private enum Step {
        case down(Node.Child)
        case end([UInt8]?)
    }

    private static func step(_ node: Node, _ key: Key) -> Step {
        if node.level > 0 { return .down(node.children[node.childIndex(key)]) }
        let (index, found) = node.lowerBound(key)
        return .end(found ? node.value(index) : nil)
    }

    /// The first key at or above `from` and below `below`.
    public func next(
        from: Key, below: Key, nodes: NodeCache
    ) throws(MissingNode) -> (key: Key, value: [UInt8])? {
        var result: (key: Key, value: [UInt8])?
        try scan(from: from, below: below, nodes: nodes) { key, value in
            result = (key, value)
            return false
        }
        return result
    }

    /// Calls `body` for each key at or above `from` and below `below`, in order, until it returns `false`.
    ///
    /// When it throws, `body` may have seen some keys already.
    public func scan(
        from: Key, below: Key, nodes: NodeCache, _ body: (Key, [UInt8]) -> Bool
    ) throws(MissingNode) {
        guard let top, from < below else { return }
        _ = try Self.scan(try Self.load(top, level: nil, nodes), from, below, nodes, body)
    }

    /// - Returns: whether the keys to the right are wanted too.
    private static func scan(
        _ node: Node, _ from: Key, _ below: Key, _ nodes: NodeCache, _ body: (Key, [UInt8]) -> Bool
    ) throws(MissingNode) -> Bool {
        guard node.level > 0 else {
            for index in node.lowerBound(from).index..<node.count {
                guard node.order(index, below) < 0, body(node.key(index), node.value(index)) else { return false }
            }
            return true
        }
        let first = node.childIndex(from)
        for index in first..<node.count {
            if index > first, node.order(index, below) >= 0 { return false }
            let child = try load(node.children[index], level: node.level - 1, nodes)
            guard try scan(child, from, below, nodes, body) else { return false }
        }
        return true
    }

    /// The last key below `before` and at or above `atLeast`.
    public func previous(
        before: Key, atLeast: Key, nodes: NodeCache
    ) throws(MissingNode) -> (key: Key, value: [UInt8])? {
        guard let top, atLeast < before else { return nil }
        guard let found = try Self.last(in: try Self.load(top, level: nil, nodes), before, atLeast, nodes) else {
            return nil
        }
        return found.key < atLeast ? nil : found
    }

    /// The last key below `before`; looks no further than it must to know that there is none at or above `atLeast`.
    private static func last(
        in node: Node, _ before: Key, _ atLeast: Key, _ nodes: NodeCache
    ) throws(MissingNode) -> (key: Key, value: [UInt8])? {
        var index = node.lowerBound(before).index - 1
        guard node.level > 0 else { return index < 0 ? nil : (node.key(index), node.value(index)) }
        while index >= 0 {
            let child = try load(node.children[index], level: node.level - 1, nodes)
            if let found = try last(in: child, before, atLeast, nodes) { return found }
            // Everything further left is below this child's lowest key.
            if node.order(index, atLeast) <= 0 { return nil }
            index -= 1
        }
        return nil
    }
}
