import LanfsProtocol
import LanfsTree

extension Volume {
    /// Nodes fetched side by side while walking: enough to hide the way to the server.
    private static let walkWindow = 32

    /// Shows `visit` every node of a snapshot, in groups, each node once. Nodes that are not in memory are fetched and
    /// not kept.
    ///
    /// - Parameter patience: for servers that are away; `nil`: as long as anybody else.
    /// - Throws: also when a node cannot be read, so whoever gets to the end has seen all of them.
    func walk(
        _ tree: Tree, skippingStored: Bool = false, within patience: Duration? = nil,
        _ visit: ([(place: TreeWalk.Place, node: Node)]) async throws(VolumeError) -> Void
    ) async throws(VolumeError) {
        var walk = TreeWalk(tree, skippingStored: skippingStored)
        while case let places = walk.take(Self.walkWindow), !places.isEmpty {
            let nodes = try await self.nodes(at: places, within: patience)
            for node in nodes { walk.enter(node) }
            try await visit(Array(zip(places, nodes)))
        }
    }

    private func nodes(at places: [TreeWalk.Place], within patience: Duration?) async throws(VolumeError) -> [Node] {
        let fetched = await withTaskGroup(of: (Int, Result<Node, VolumeError>).self) { group in
            for (index, place) in places.enumerated() {
                group.addTask { (index, await self.node(at: place, within: patience)) }
            }
            var results: [(Int, Result<Node, VolumeError>)] = []
            for await result in group { results.append(result) }
            return results.sorted { $0.0 < $1.0 }
        }
        var nodes: [Node] = []
        for (_, result) in fetched { nodes.append(try result.get()) }
        return nodes
    }

    private func node(at place: TreeWalk.Place, within patience: Duration?) async -> Result<Node, VolumeError> {
        if let node = place.held { return .success(node) }
        guard let missing = place.stored else { return .failure(.damaged("a tree node without a place")) }
        do throws(VolumeError) {
            return .success(try await fetchNode(missing, within: patience))
        } catch {
            return .failure(error)
        }
    }
}
