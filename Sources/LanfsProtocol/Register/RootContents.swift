/// One commit of one client: retried under the same number until its outcome is known (P5, T5).
public struct TransactionID: Hashable, Sendable {
    /// Drawn at random when a client first writes to the volume.
    public var incarnation: UInt128
    public var number: UInt64

    public init(incarnation: UInt128, number: UInt64) {
        self.incarnation = incarnation
        self.number = number
    }
}

/// The client-only part of a root record, before sealing: where the file system's state is.
public struct RootContents: Equatable, Sendable {
    /// A number that a later version adds without a new format; unknown tags are kept as they are.
    public struct Counter: Equatable, Sendable {
        public var tag: UInt16
        public var value: UInt64

        public init(tag: UInt16, value: UInt64) {
            self.tag = tag
            self.value = value
        }
    }

    public static let version: UInt8 = 1
    static let counterLimit = 64

    /// The checkpoint's root node; `nil` while the tree is empty.
    public var tree: FrameRef?
    /// The sequence number of the record whose state the checkpoint holds.
    public var treeSequence: UInt64
    /// The newest change block; each names the one before it, back to the checkpoint.
    public var newestChange: FrameRef?
    public var changesSinceCheckpoint: UInt32
    /// The commit that made this record.
    public var transaction: TransactionID
    /// In ascending order of tag.
    public private(set) var counters: [Counter]

    public init(
        tree: FrameRef? = nil, treeSequence: UInt64 = 0, newestChange: FrameRef? = nil,
        changesSinceCheckpoint: UInt32 = 0, transaction: TransactionID
    ) {
        self.tree = tree
        self.treeSequence = treeSequence
        self.newestChange = newestChange
        self.changesSinceCheckpoint = changesSinceCheckpoint
        self.transaction = transaction
        counters = []
    }

    /// 0 when it was never set; at most 64 tags.
    public subscript(counter tag: UInt16) -> UInt64 {
        get { counters.first { $0.tag == tag }?.value ?? 0 }
        set {
            let index = counters.firstIndex { $0.tag >= tag } ?? counters.endIndex
            if index < counters.endIndex, counters[index].tag == tag {
                counters[index].value = newValue
            } else if counters.count < Self.counterLimit {
                counters.insert(Counter(tag: tag, value: newValue), at: index)
            }
        }
    }

    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 256)
        writer.append(Self.version)
        writer.append(optional: tree) { $1.encode(into: &$0) }
        writer.append(treeSequence)
        writer.append(optional: newestChange) { $1.encode(into: &$0) }
        writer.append(changesSinceCheckpoint)
        writer.append(transaction.incarnation)
        writer.append(transaction.number)
        writer.append(list: counters) {
            $0.append($1.tag)
            $0.append($1.value)
        }
        return writer.bytes
    }

    public init(encoded bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        guard try reader.integer(UInt8.self) == Self.version else {
            throw .invalid(what: "the version of the root's contents (a newer lanfs wrote it?)")
        }
        tree = try reader.optional { (reader) throws(DecodingError) in try FrameRef(from: &reader) }
        treeSequence = try reader.integer()
        newestChange = try reader.optional { (reader) throws(DecodingError) in try FrameRef(from: &reader) }
        changesSinceCheckpoint = try reader.integer()
        transaction = TransactionID(incarnation: try reader.integer(), number: try reader.integer())
        counters = try reader.list(minimum: 10, limit: Self.counterLimit) { (reader) throws(DecodingError) in
            Counter(tag: try reader.integer(), value: try reader.integer())
        }
        for (left, right) in zip(counters, counters.dropFirst()) where left.tag >= right.tag {
            throw .invalid(what: "the order of the counters")
        }
        try reader.finish()
    }
}
