extension Node {
    /// This node as several that are not oversize. Keys that came in ascending order will go on doing so: the cut
    /// is then where the next one goes, and the nodes left behind are full instead of half empty.
    func split(_ shape: NodeShape) -> [Node] {
        if insertRun >= 3, insertRun >= count / 8, let pieces = splitAtRun(shape) { return pieces }
        let sizes = (0..<count).map { record($0).range.count + (level > 0 ? Self.childSize : 0) }
        let total = sizes.reduce(0, +)
        let wanted = max(
            2, (total + shape.maximumBytes - 1) / shape.maximumBytes,
            (count + shape.maximumEntries - 1) / shape.maximumEntries)
        let target = total / wanted
        var starts = [0]
        var bytes = 0
        for index in 0..<count {
            let length = index - starts[starts.count - 1]
            let full = Self.headerSize + bytes + sizes[index] > shape.maximumBytes || length == shape.maximumEntries
            let even = starts.count < wanted && bytes + sizes[index] / 2 > target
            if full || even, length >= fewest {
                starts.append(index)
                bytes = 0
            }
            bytes += sizes[index]
        }
        starts[starts.count - 1] = min(starts[starts.count - 1], count - fewest)
        return zip(starts, starts.dropFirst() + [count]).map { piece($0..<$1) }
    }

    /// An inner node has two children at least: a child alone would have no neighbour to join.
    private var fewest: Int { level == 0 ? 1 : 2 }

    private func splitAtRun(_ shape: NodeShape) -> [Node]? {
        let cut = min(lastInsert + 1, count - fewest)
        guard cut >= fewest else { return nil }
        var left = piece(0..<cut)
        var right = piece(cut..<count)
        guard !shape.isOversize(left), !shape.isOversize(right) else { return nil }
        if lastInsert < cut {
            left.lastInsert = lastInsert
            left.insertRun = insertRun
        } else {
            right.lastInsert = lastInsert - cut
            right.insertRun = insertRun
        }
        return [left, right]
    }

    private func piece(_ range: Range<Int>) -> Node {
        var piece = Node(level: level, reserving: live / count * range.count + 2048)
        piece.append(recordsOf: self, range)
        piece.measurePrefix()
        if level > 0 { piece.children = Array(children[range]) }
        return piece
    }

    /// The shortest key above everything in `left` and not above anything in this node.
    func separator(after left: borrowing Node) -> Key {
        let first = key(0)
        guard level == 0, left.count > 0 else { return first }
        let last = left.key(left.count - 1)
        let shared = zip(first.bytes, last.bytes).prefix { $0 == $1 }.count
        return Key(Array(first.bytes.prefix(shared + 1)))
    }
}
