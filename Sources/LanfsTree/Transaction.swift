/// Changes on top of a tree: reads see them, the tree does not until they are applied.
///
/// It holds a copy of the tree, so let go of it before `changes` are applied: nodes that two trees share have to be
/// copied to be changed.
public struct Transaction {
    private let tree: Tree
    private let nodes: NodeCache
    /// In key order, each key once, the last write of it: what ``Tree/apply(_:nodes:)`` and a change block take.
    public private(set) var changes: [Change] = []

    public init(reading tree: Tree, nodes: NodeCache) {
        self.tree = tree
        self.nodes = nodes
    }

    public var isEmpty: Bool { changes.isEmpty }

    public mutating func set(_ key: Key, _ value: [UInt8]) { record(Change(key: key, value: value)) }

    public mutating func remove(_ key: Key) { record(Change(key: key, value: nil)) }

    private mutating func record(_ change: Change) {
        let index = lowerBound(change.key)
        if index < changes.count, changes[index].key == change.key {
            changes[index].value = change.value
        } else {
            changes.insert(change, at: index)
        }
    }

    public func value(_ key: Key) throws(MissingNode) -> [UInt8]? {
        let index = lowerBound(key)
        if index < changes.count, changes[index].key == key { return changes[index].value }
        return try tree.value(key, nodes: nodes)
    }

    /// The first key at or above `from` and below `below`.
    public func next(from: Key, below: Key) throws(MissingNode) -> (key: Key, value: [UInt8])? {
        var result: (key: Key, value: [UInt8])?
        try scan(from: from, below: below) { key, value in
            result = (key, value)
            return false
        }
        return result
    }

    /// Calls `body` for each key at or above `from` and below `below`, in order, until it returns `false`.
    ///
    /// When it throws, `body` may have seen some keys already.
    public func scan(from: Key, below: Key, _ body: (Key, [UInt8]) -> Bool) throws(MissingNode) {
        var start = from
        var index = lowerBound(from)
        var goesOn = true
        while goesOn, start < below {
            // Up to the next key that was set; keys that were removed are passed over on the way.
            let set = changes[index...].firstIndex { $0.value != nil || $0.key >= below } ?? changes.count
            let end = set < changes.count ? min(changes[set].key, below) : below
            try tree.scan(from: start, below: end, nodes: nodes) { key, value in
                while index < set, changes[index].key < key { index += 1 }
                let isRemoved = index < set && changes[index].key == key
                goesOn = isRemoved || body(key, value)
                return goesOn
            }
            guard goesOn, end < below, let value = changes[set].value else { return }
            goesOn = body(end, value)
            start = end.successor
            index = set + 1
        }
    }

    /// The last key below `before` and at or above `atLeast`.
    public func previous(before: Key, atLeast: Key) throws(MissingNode) -> (key: Key, value: [UInt8])? {
        var end = before
        var index = lowerBound(before) - 1
        while atLeast < end {
            let written = index >= 0 && changes[index].key >= atLeast ? changes[index] : nil
            if let found = try tree.previous(before: end, atLeast: written?.key.successor ?? atLeast, nodes: nodes) {
                return found
            }
            guard let written else { return nil }
            if let value = written.value { return (written.key, value) }
            end = written.key
            index -= 1
        }
        return nil
    }

    private func lowerBound(_ key: Key) -> Int {
        var low = 0
        var high = changes.count
        while low < high {
            let middle = (low + high) / 2
            if changes[middle].key < key { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
