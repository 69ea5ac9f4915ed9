import LanfsProtocol

extension Tree {
    /// Makes all changes, or none: every node they need is looked for before anything is changed.
    ///
    /// - Parameter changes: in any order; of several for one key the last counts. Keys and values are within
    ///   ``Key/sizeLimit`` and ``valueSizeLimit``.
    public mutating func apply(_ changes: [Change], nodes: NodeCache) throws(MissingNode) {
        let changes = Self.normalized(changes)
        guard !changes.isEmpty else { return }
        var survey = Survey(changes: changes, nodes: nodes, shape: shape)
        if let top { survey.visit(top, level: nil, 0..<changes.count, isRoot: true) }
        if let missing = survey.missing.first { throw missing }
        guard survey.leafGetsTooSmall else {
            // All nodes on the way were found above, so this neither throws nor needs to be undone.
            try run(changes, nodes: nodes, merging: false)
            return
        }
        // Which neighbours a shrinking node needs shows only on the way: work on a copy, and keep it if all were there.
        var copy = self
        try copy.run(changes, nodes: nodes, merging: true)
        self = copy
    }

    /// The stored nodes that `apply` would miss, as far as it can tell from the nodes that are there: fetch them side
    /// by side and ask again, until there are none.
    public func missingNodes(for changes: [Change], nodes: NodeCache) -> [MissingNode] {
        let changes = Self.normalized(changes)
        var survey = Survey(changes: changes, nodes: nodes, shape: shape)
        if let top, !changes.isEmpty { survey.visit(top, level: nil, 0..<changes.count, isRoot: true) }
        return survey.missing
    }

    /// In key order, each key once, as last given.
    static func normalized(_ changes: [Change]) -> [Change] {
        for change in changes {
            precondition(change.key.bytes.count <= Key.sizeLimit, "a tree key is too long")
            precondition((change.value?.count ?? 0) <= valueSizeLimit, "a tree value is too long")
        }
        guard zip(changes, changes.dropFirst()).contains(where: { $0.key >= $1.key }) else { return changes }
        var result: [Change] = []
        result.reserveCapacity(changes.count)
        for change in changes.sorted(by: { $0.key < $1.key }) {  // stable: the last given stays last
            if result.last?.key == change.key { result.removeLast() }
            result.append(change)
        }
        return result
    }

    private mutating func run(_ changes: [Change], nodes: NodeCache, merging: Bool) throws(MissingNode) {
        var application = Application(changes: changes, nodes: nodes, shape: shape, merging: merging)
        swap(&application.freed, &freed)
        var old: Node.Child?
        swap(&old, &top)
        var node = if let old { try application.open(old, level: nil) } else { Node(level: 0) }
        old = nil
        try application.apply(0..<changes.count, to: &node)
        while shape.isOversize(node) {
            let pieces = node.split(shape)
            var root = Node(level: node.level + 1)
            root.insertChild(.dirty(pieces[0]), key: .empty, at: 0)
            root.replaceChild(at: 0, with: pieces)
            node = root
        }
        var root = Node.Child.dirty(node)
        while case .dirty(let only) = root, only.level > 0, only.count == 1 { root = only.children[0] }
        swap(&application.freed, &freed)
        if case .dirty(let leaf) = root, leaf.count == 0 { top = nil } else { top = root }
    }
}

/// Looks for all nodes that changes need, and whether some leaf will be too small after them.
private struct Survey {
    let changes: [Change]
    let nodes: NodeCache
    let shape: NodeShape
    var missing: [MissingNode] = []
    var leafGetsTooSmall = false

    mutating func visit(_ child: Node.Child, level: UInt8?, _ range: Range<Int>, isRoot: Bool = false) {
        let node: Node
        do throws(MissingNode) {
            node = try Tree.load(child, level: level, nodes)
        } catch {
            missing.append(error)
            return
        }
        guard node.level > 0 else {
            if !isRoot { weigh(node, range) }
            return
        }
        var rest = range
        while let (index, group) = node.lastGroup(of: changes, rest) {
            visit(node.children[index], level: node.level - 1, group)
            rest = rest.lowerBound..<group.lowerBound
        }
    }

    private mutating func weigh(_ leaf: Node, _ range: Range<Int>) {
        var size = leaf.size
        var count = leaf.count
        for change in changes[range] {
            let (index, found) = leaf.lowerBound(change.key)
            if found {
                size -= leaf.record(index).range.count
                count -= 1
            }
            if let value = change.value {
                size += Node.recordOverhead + change.key.bytes.count + value.count
                count += 1
            }
        }
        let shrinks = size < leaf.size || count < leaf.count
        if shrinks, shape.isUnderfull(size: size, count: count) { leafGetsTooSmall = true }
    }
}

/// Makes changes to nodes it owns.
private struct Application {
    /// Up to here a leaf takes changes one by one, above it is rewritten in one pass.
    static let fewChanges = 8

    let changes: [Change]
    let nodes: NodeCache
    let shape: NodeShape
    /// Whether a node that becomes too small joins a neighbour.
    let merging: Bool
    var freed: [FrameRef] = []

    /// The node itself, to be changed: a stored one is then no longer part of the tree.
    mutating func open(_ child: consuming Node.Child, level: UInt8?) throws(MissingNode) -> Node {
        if case .stored(let ref) = child {
            let node = try Tree.load(child, level: level, nodes)
            freed.append(ref)
            return node
        }
        return try Tree.load(child, level: level, nodes)
    }

    mutating func apply(_ range: Range<Int>, to node: inout Node) throws(MissingNode) {
        guard node.level > 0 else { return apply(range, toLeaf: &node) }
        // From right to left, so that what a split inserts moves no child that is still to come.
        var rest = range
        while let (index, group) = node.lastGroup(of: changes, rest) {
            var child = try open(node.takeChild(at: index), level: node.level - 1)
            let (size, count) = (child.size, child.count)
            try apply(group, to: &child)
            let shrank = child.size < size || child.count < count
            if shape.isOversize(child) {
                node.replaceChild(at: index, with: child.split(shape))
            } else {
                let isTooSmall = merging && shrank && shape.isUnderfull(size: child.size, count: child.count)
                node.children[index] = .dirty(child)
                if isTooSmall { try join(index, in: &node) }
            }
            rest = rest.lowerBound..<group.lowerBound
        }
    }

    private func apply(_ range: Range<Int>, toLeaf leaf: inout Node) {
        guard range.count <= Self.fewChanges else {
            leaf = leaf.merged(with: changes[range])
            return
        }
        for change in changes[range] {
            if let value = change.value { leaf.set(change.key, value) } else { leaf.remove(change.key) }
        }
    }

    /// The child at `index` is too small: it and its left neighbour become one, or two of equal size.
    private mutating func join(_ index: Int, in node: inout Node) throws(MissingNode) {
        var left = max(0, index - 1)
        while node.count > 1 {
            var joined = try open(node.takeChild(at: left), level: node.level - 1)
            joined.absorb(try open(node.takeChild(at: left + 1), level: node.level - 1))
            node.removeChild(at: left + 1)
            try joinSmallChildren(of: &joined)
            guard !shape.isOversize(joined) else {
                node.replaceChild(at: left, with: joined.split(shape))
                return
            }
            let isTooSmall = shape.isUnderfull(size: joined.size, count: joined.count)
            node.children[left] = .dirty(joined)
            guard isTooSmall else { return }
            left = max(0, left - 1)
        }
    }

    /// A child that was alone in its node had nobody to join; now that its node has become part of another, it has.
    private mutating func joinSmallChildren(of node: inout Node) throws(MissingNode) {
        // A join can take several children away: what is behind the last then was looked at already.
        for index in node.children.indices.reversed() where index < node.children.count {
            if case .dirty(let child) = node.children[index], shape.isUnderfull(size: child.size, count: child.count) {
                try join(index, in: &node)
            }
        }
    }
}

extension Node {
    /// The child that the last of these changes concerns, and all changes in `range` that concern it.
    fileprivate func lastGroup(of changes: [Change], _ range: Range<Int>) -> (child: Int, group: Range<Int>)? {
        guard let last = range.last else { return nil }
        let child = childIndex(changes[last].key)
        guard child > 0 else { return (child, range) }
        var low = range.lowerBound
        var high = last
        while low < high {
            let middle = (low + high) / 2
            if order(child, changes[middle].key) <= 0 { high = middle } else { low = middle + 1 }
        }
        return (child, low..<range.upperBound)
    }
}
