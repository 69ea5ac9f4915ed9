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
    public static let version: UInt8 = 2

    /// The checkpoint's root node; `nil` while the tree is empty.
    public var tree: FrameRef?
    /// The sequence number of the record whose state the checkpoint holds.
    public var treeSequence: UInt64
    /// The newest change block; each names the one before it, back to the checkpoint.
    public var newestChange: FrameRef?
    public var changesSinceCheckpoint: UInt32
    /// The commit that made this record.
    public var transaction: TransactionID
    /// T5: the last commits of the clients that wrote before this one, the newest first, so that each of them finds out whether
    /// a commit was chosen whose outcome it does not know.
    public private(set) var writers: [TransactionID] = []
    public var recoveries = RecoveryHistory()
    /// B2, P1: blocks that came to the keepers with the vote for this value, and may be nowhere else: whoever proposes it again
    /// gets them first.
    public var carried: [BlockID] = []

    /// How many those may be; a root record has little room.
    public static let carriedLimit = 16

    /// A root record has little room. Who is left out after so many others wrote takes its commit for not chosen; doing it
    /// again then finds it done.
    private static let writersKept = 8

    public init(
        tree: FrameRef? = nil, treeSequence: UInt64 = 0, newestChange: FrameRef? = nil,
        changesSinceCheckpoint: UInt32 = 0, transaction: TransactionID
    ) {
        self.tree = tree
        self.treeSequence = treeSequence
        self.newestChange = newestChange
        self.changesSinceCheckpoint = changesSinceCheckpoint
        self.transaction = transaction
    }

    /// What the next commit starts from.
    public func followed(by transaction: TransactionID) -> RootContents {
        var next = self
        next.transaction = transaction
        next.carried = []
        guard self.transaction.incarnation != transaction.incarnation else { return next }
        next.writers.removeAll { [self.transaction.incarnation, transaction.incarnation].contains($0.incarnation) }
        next.writers.insert(self.transaction, at: 0)
        next.writers.removeLast(max(0, next.writers.count - Self.writersKept))
        return next
    }

    /// The number of the last chosen commit of a client; `nil` when it is not known.
    public func lastCommit(of incarnation: UInt128) -> UInt64? {
        ([transaction] + writers).first { $0.incarnation == incarnation }?.number
    }

    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 256)
        writer.append(Self.version)
        writer.append(optional: tree) { $1.encode(into: &$0) }
        writer.append(treeSequence)
        writer.append(optional: newestChange) { $1.encode(into: &$0) }
        writer.append(changesSinceCheckpoint)
        writer.append(transaction)
        writer.append(list: writers) { $0.append($1) }
        recoveries.encode(into: &writer)
        writer.append(list: carried) { $0.append($1) }
        return writer.bytes
    }

    public init(encoded bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        let version = try reader.integer(UInt8.self)
        guard (1...Self.version).contains(version) else {
            throw .invalid(what: "the version of the root's contents (a newer lanfs wrote it?)")
        }
        tree = try reader.optional { (reader) throws(DecodingError) in try FrameRef(from: &reader) }
        treeSequence = try reader.integer()
        newestChange = try reader.optional { (reader) throws(DecodingError) in try FrameRef(from: &reader) }
        changesSinceCheckpoint = try reader.integer()
        transaction = try reader.transaction()
        writers = try reader.list(minimum: 24, limit: Self.writersKept) { (reader) throws(DecodingError) in
            try reader.transaction()
        }
        recoveries = try RecoveryHistory(from: &reader)
        // Version 1 had no such votes.
        if version > 1 {
            carried = try reader.list(minimum: BlockID.size, limit: Self.carriedLimit) { (reader) throws(DecodingError) in
                try reader.id()
            }
        }
        try reader.finish()
    }
}

extension ByteWriter {
    fileprivate mutating func append(_ transaction: TransactionID) {
        append(transaction.incarnation)
        append(transaction.number)
    }
}

extension ByteReader {
    fileprivate mutating func transaction() throws(DecodingError) -> TransactionID {
        TransactionID(incarnation: try integer(), number: try integer())
    }
}
