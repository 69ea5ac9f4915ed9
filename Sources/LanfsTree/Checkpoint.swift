import LanfsProtocol

/// A tree as it is after all its nodes were stored.
public struct Checkpoint: Sendable {
    /// The same map, of stored nodes only.
    public let tree: Tree
    /// What the root record names; `nil` when the map is empty.
    public let root: FrameRef?
    /// The nodes that were stored, to be put in the cache.
    public let written: [(ref: FrameRef, node: Node)]
    /// The nodes that were stored by earlier checkpoints, belonged to the tree of the last one and do not belong to
    /// this one: each exactly once.
    public let freed: [FrameRef]
}

extension Tree {
    /// Stores all nodes that are not, packed into as few blocks as they fit, children before parents.
    ///
    /// The tree itself stays as it is, so that this can run on a copy while the tree goes on changing; ``install`` brings
    /// the two together.
    ///
    /// - Parameter seal: makes one block of these frame payloads, in this order and with no others, and says where each
    ///   ended up. A block has at most 1 MiB of payload and 2048 frames.
    public func checkpoint<Failure: Error>(
        seal: ([[UInt8]]) throws(Failure) -> [FrameRef]
    ) throws(Failure) -> Checkpoint {
        guard case .dirty(let node) = top else {
            return Checkpoint(tree: Tree(root: root, shape: shape), root: root, written: [], freed: freed)
        }
        var packer = Packer()
        let place = try packer.place(node, seal)
        try packer.closeBlock(seal)
        let root = packer.reference(place)
        return Checkpoint(
            tree: Tree(root: root, shape: shape), root: root, written: packer.written, freed: freed)
    }

    /// Continues from a checkpoint of an earlier state of this tree.
    ///
    /// - Parameter changes: made since that state was copied, in order.
    /// - Throws: when the cache was too small for what the checkpoint wrote; the tree is then as it was.
    public mutating func install(
        _ checkpoint: Checkpoint, changesSince changes: [Change], nodes: NodeCache
    ) throws(MissingNode) {
        for (ref, node) in checkpoint.written where !nodes.contains(ref) { nodes.insert(ref, node) }
        var tree = checkpoint.tree
        try tree.apply(changes, nodes: nodes)
        self = tree
        // Nobody but a reader of an older state wants these; without this they would fill the cache.
        for ref in checkpoint.freed { nodes.remove(ref) }
    }
}

/// Fills one block after the other with nodes.
private struct Packer {
    static let payloadLimit = Limits.chunksPerBlock * Limits.chunkSize
    static let frameLimit = 2048

    /// Where a node is: stored before, or in the block of this number, whose name is known once it is sealed.
    struct Place {
        let block: Int?
        let ref: FrameRef
    }

    private struct Packed {
        let place: Place
        let node: Node
        let offsets: [UInt32]
        let children: [Place]
    }

    var written: [(ref: FrameRef, node: Node)] = []
    /// Some frame of each sealed block: gives its name and key.
    private var sealed: [FrameRef] = []
    private var payloads: [[UInt8]] = []
    private var packed: [Packed] = []
    private var payloadBytes = 0
    private var sealedBytes = 0

    mutating func place<Failure: Error>(
        _ node: Node, _ seal: ([[UInt8]]) throws(Failure) -> [FrameRef]
    ) throws(Failure) -> Place {
        var children: [Place] = []
        children.reserveCapacity(node.children.count)
        for child in node.children {
            switch child {
            case .stored(let ref): children.append(Place(block: nil, ref: ref))
            case .dirty(let node): children.append(try place(node, seal))
            }
        }
        var (payload, offsets) = node.encoded(references: children.map(reference))
        if payloads.count == Self.frameLimit || payloadBytes + payload.count > Self.payloadLimit {
            try closeBlock(seal)
            (payload, offsets) = node.encoded(references: children.map(reference))
        }
        let length = payload.count + Limits.frameOverhead
        let place = Place(
            block: sealed.count,
            ref: FrameRef(
                block: .zero, key: .zero, index: UInt32(payloads.count), offset: UInt32(sealedBytes),
                length: UInt32(length)))
        payloads.append(payload)
        packed.append(Packed(place: place, node: node, offsets: offsets, children: children))
        payloadBytes += payload.count
        sealedBytes += length
        return place
    }

    /// What a node of the block being filled knows of one that was placed before.
    func reference(_ place: Place) -> FrameRef {
        guard let block = place.block, block < sealed.count else { return place.ref }
        return place.ref.resolved(in: sealed[block])
    }

    mutating func closeBlock<Failure: Error>(
        _ seal: ([[UInt8]]) throws(Failure) -> [FrameRef]
    ) throws(Failure) {
        guard !payloads.isEmpty else { return }
        let refs = try seal(payloads)
        precondition(refs.count == payloads.count, "sealing gave \(refs.count) references to \(payloads.count) frames")
        sealed.append(refs[0])
        for (packed, payload) in zip(packed, payloads) {
            let ref = reference(packed.place)
            // A node in this block already says where the others are: if that is not so, the tree would be lost.
            precondition(refs[Int(ref.index)] == ref, "sealing put a frame elsewhere than at \(ref.offset)")
            let node = Node(
                level: packed.node.level, heap: payload, offsets: packed.offsets, live: packed.node.live,
                children: packed.children.map { .stored(reference($0)) })
            written.append((ref, node))
        }
        payloads = []
        packed = []
        payloadBytes = 0
        sealedBytes = 0
    }
}
