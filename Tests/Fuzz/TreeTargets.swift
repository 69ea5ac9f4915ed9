import LanfsProtocol

@testable import LanfsTree

private let rootRef = FrameRef(block: sampleID(1), key: sampleID(2), index: 0, offset: 0, length: 100)

extension Target {
    /// The nodes of a tree as they come out of their frames: pieces, the root first, then what is missed next.
    static let node = Target(
        name: "node",
        seeds: {
            func leaf(_ keys: [UInt8]) -> [UInt8] {
                [1, 0, 0, UInt8(keys.count)] + keys.flatMap { [0, 1, 0, 2, $0, 9, 9] }
            }
            let inner: [UInt8] =
                [1, 1, 0, 2] + [0, 0, 0, 0] + [0, 1, 0, 0, 20]
                + [0] + encoding { $0.append(UInt32(7)) } + encoding { $0.append(UInt32(8)) } + [0, 0, 0, 9]
                + [1] + encoding { sampleFrameRef(block: 4).encode(into: &$0) }
            return [
                [0, 15] + piece(leaf([1, 5, 15])),
                [1, 15] + piece(inner) + piece(leaf([1, 15])) + piece(leaf([20, 25])),
                [2, 25] + piece(inner) + piece(leaf([20, 25])) + piece(leaf([1])),
            ]
        },
        run: { bytes in
            var input = Input(bytes)
            let (kind, first) = (input.byte(), input.byte())
            let key = Key([first])
            let nodes = NodeCache(limitBytes: 1 << 20)
            var tree = Tree(root: rootRef, shape: kind & 1 == 0 ? .tiny : .standard)
            // More nodes than this belong to a longer input.
            for _ in 0..<16 {
                do throws(MissingNode) {
                    _ = try tree.value(key, nodes: nodes)
                    _ = try tree.previous(before: key, atLeast: .empty, nodes: nodes)
                    let fits = try nodesFit(tree, nodes)
                    try tree.apply([Change(key: key, value: kind & 2 == 0 ? [1, 2, 3] : nil)], nodes: nodes)
                    let found = try changed(tree.checkpoint { payloads in sealed(payloads) }, key.successor, nodes)
                    require(!fits || found, "a change that was made is not there")
                    return
                } catch {
                    guard let node = try? Node(decoding: input.piece(), for: error) else { return }
                    var entries = 0
                    node.forEachEntry { _, _ in entries += 1 }
                    nodes.insert(error.ref, node)
                }
            }
        })

    static let changeSet = Target(
        name: "change-set",
        seeds: {
            let changes = [
                Change(key: Key([1, 2]), value: [3]), Change(key: Key([4]), value: nil),
                Change(key: Key([5]), value: []),
            ]
            return [
                encodedSet(ChangeSet(sequence: 1, previous: nil, changes: [])),
                encodedSet(ChangeSet(sequence: 2, previous: sampleFrameRef(), changes: changes)),
            ]
        },
        run: { bytes in
            guard let set = try? ChangeSet(joining: [bytes]) else { return }
            require((try? ChangeSet(joining: set.payloads(maximumFrame: 7))) == set, "a change set changed on the way")
            require(set.split(maximumBytes: 200).flatMap(\.changes) == set.changes, "a change got lost")
        })
}

/// Where the frames of a block would be.
private func sealed(_ payloads: [[UInt8]]) -> [FrameRef] {
    var offset = 0
    return payloads.enumerated().map { index, payload in
        let length = payload.count + Limits.frameOverhead
        defer { offset += length }
        return FrameRef(
            block: sampleID(9), key: sampleID(9), index: UInt32(index), offset: UInt32(offset), length: UInt32(length))
    }
}

/// Whether each key is where its place says. Only a holder of the volume's key can write another tree; whatever that
/// answers is neither right nor wrong.
private func nodesFit(_ tree: Tree, _ nodes: NodeCache) throws(MissingNode) -> Bool {
    var keys: [Key] = []
    try tree.scan(from: .empty, below: Key([UInt8](repeating: 255, count: Key.sizeLimit)), nodes: nodes) { key, _ in
        keys.append(key)
        return true
    }
    for key in keys where try tree.value(key, nodes: nodes) == nil { return false }
    return zip(keys, keys.dropFirst()).allSatisfy(<)
}

/// Whether a tree that was stored still takes a change.
private func changed(_ checkpoint: Checkpoint, _ key: Key, _ nodes: NodeCache) throws(MissingNode) -> Bool {
    for (ref, node) in checkpoint.written { nodes.insert(ref, node) }
    var tree = checkpoint.tree
    try tree.apply([Change(key: key, value: [])], nodes: nodes)
    return try tree.value(key, nodes: nodes) == []
}

private func encodedSet(_ set: ChangeSet) -> [UInt8] { Array(set.payloads().joined()) }
