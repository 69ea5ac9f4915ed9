/// When a node is too large and must split, and when it is too small and joins a neighbour.
public struct NodeShape: Sendable, Equatable {
    /// Encoded bytes that one node may take.
    let maximumBytes: Int
    let maximumEntries: Int
    /// A node is too small when it is below both.
    let minimumBytes: Int
    let minimumEntries: Int

    /// Nodes of volumes.
    public static let standard = NodeShape(
        maximumBytes: 16 * 1024, maximumEntries: Int(UInt16.max), minimumBytes: 4 * 1024, minimumEntries: .max)

    /// Three entries a node, for tests: splits, merges and deep trees at every turn.
    public static let tiny = NodeShape(
        maximumBytes: 16 * 1024, maximumEntries: 3, minimumBytes: .max, minimumEntries: 2)

    func isOversize(_ node: borrowing Node) -> Bool {
        node.size > maximumBytes || node.count > maximumEntries
    }

    func isUnderfull(size: Int, count: Int) -> Bool {
        size < minimumBytes && count < minimumEntries
    }
}
