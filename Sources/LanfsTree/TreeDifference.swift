import LanfsProtocol

/// What makes one tree of another.
public enum TreeDifference: Sendable {
    /// Of keys whose values differ, in key order.
    case changes([Change])
    /// These have to be there first, and then maybe more.
    case missing([MissingNode])
    /// Not worth the reading.
    case large
}

extension Tree {
    /// Reads both level by level, without what they share: nodes that are stored in one place are the same nodes.
    ///
    /// - Parameter limit: of nodes of either that differ, on one level.
    public func difference(to newer: Tree, limit: Int, nodes: NodeCache) -> TreeDifference {
        var (old, new) = (Frontier(top), Frontier(newer.top))
        while true {
            old.drop(sharedWith: &new)
            guard old.children.count <= limit, new.children.count <= limit else { return .large }
            let missing = old.open(nodes) + new.open(nodes)
            guard missing.isEmpty else { return .missing(missing) }
            let level = max(old.level, new.level)
            if level == 0 { return .changes(Self.changes(from: old.opened, to: new.opened)) }
            // The lower one waits until the other has come down to it.
            if old.level == level { old.descend() }
            if new.level == level { new.descend() }
        }
    }

    private static func changes(from old: [Node], to new: [Node]) -> [Change] {
        var before: [Key: [UInt8]] = [:]
        for node in old { for index in 0..<node.count { before[node.key(index)] = node.value(index) } }
        var changes: [Change] = []
        for node in new {
            for index in 0..<node.count {
                let (key, value) = (node.key(index), node.value(index))
                if before.removeValue(forKey: key) != value { changes.append(Change(key: key, value: value)) }
            }
        }
        changes += before.keys.map { Change(key: $0, value: nil) }
        return changes.sorted { $0.key < $1.key }
    }
}

/// Nodes of one level of a tree that are not known to be part of another.
private struct Frontier {
    private(set) var children: [Node.Child]
    /// The same, once they are read.
    private(set) var opened: [Node] = []
    private var isOpen = false
    /// What their level has to be; `nil` for the root, which says it itself.
    private var wanted: UInt8?

    init(_ top: Node.Child?) { children = top.map { [$0] } ?? [] }

    /// Of the nodes; of none it is 0.
    var level: UInt8 { opened.first?.level ?? 0 }

    mutating func drop(sharedWith other: inout Frontier) {
        let shared = stored.intersection(other.stored)
        guard !shared.isEmpty else { return }
        remove(shared)
        other.remove(shared)
    }

    private var stored: Set<FrameRef> {
        Set(children.compactMap { if case .stored(let ref) = $0 { ref } else { nil } })
    }

    private mutating func remove(_ shared: Set<FrameRef>) {
        let isKept = children.map { if case .stored(let ref) = $0 { !shared.contains(ref) } else { true } }
        if isOpen { opened = zip(opened, isKept).filter(\.1).map(\.0) }
        children = zip(children, isKept).filter(\.1).map(\.0)
    }

    /// - Returns: what is missing for that.
    mutating func open(_ nodes: NodeCache) -> [MissingNode] {
        guard !isOpen else { return [] }
        var (opened, missing): ([Node], [MissingNode]) = ([], [])
        for child in children {
            do throws(MissingNode) {
                opened.append(try Tree.load(child, level: wanted, nodes))
            } catch {
                missing.append(error)
            }
        }
        if missing.isEmpty { (self.opened, isOpen) = (opened, true) }
        return missing
    }

    /// To the nodes below.
    mutating func descend() {
        wanted = level - 1
        children = opened.flatMap(\.children)
        opened = []
        isOpen = false
    }
}
