import LanfsProtocol
import LanfsTree

/// A root that a recovery by force left behind (M3), kept as a snapshot: the audit marks what it reaches (G4), and it can be read.
public struct PinnedRoot: Equatable, Sendable {
    public let record: RootRecord
    public let hash: RecordHash

    public init(_ record: RootRecord, _ hash: RecordHash) {
        self.record = record
        self.hash = hash
    }

    /// What people call it. The number is how many commits led to it.
    public var name: String { "\(record.sequence)-\(hash.hex.prefix(8))" }

    fileprivate var key: RecordKey { .pinnedRoot(sequence: record.sequence, hash) }

    /// Instead of a root: a person dropped it, and it is not to come back with the next server that shows it.
    static let dropped = [RecordVersion.current]
}

extension PinnedRoot {
    func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.append(RecordVersion.current)
        writer.append(hash)
        record.encode(into: &writer)
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "a pinned root")
        hash = try reader.id()
        record = try RootRecord(from: &reader)
        try reader.finish()
    }
}

extension Transaction {
    /// In the order of their commits.
    public func pinnedRoots() throws(Interruption) -> [PinnedRoot] {
        let all = try collect(in: .all(.pinnedRoot), limit: .max) { _, value -> PinnedRoot?? in
            value == PinnedRoot.dropped ? .some(nil) : (try? PinnedRoot(decoding: value)).map { .some($0) }
        }
        return all.compactMap { $0 }
    }

    /// Whether it is pinned, or was.
    public func knows(_ root: PinnedRoot) throws(Interruption) -> Bool { try read(root.key) != nil }

    /// Once each: nothing changes when it is pinned already, in whatever ballot, or was dropped.
    public mutating func pin(_ root: PinnedRoot) throws(Interruption) {
        if try !knows(root) { set(root.key, root.encoded()) }
    }

    public mutating func unpin(_ root: PinnedRoot) throws(Interruption) {
        if try knows(root) { set(root.key, PinnedRoot.dropped) }
    }
}

extension Transaction {
    /// `nil` while nobody has looked yet who comes back.
    public func recoveryWatch(of recovery: UInt64) throws(Interruption) -> RecoveryWatch? {
        guard let value = try read(.recovery(recovery)) else { return nil }
        return try decoded { () throws(DecodingError) in try RecoveryWatch(decoding: value) }
    }

    public mutating func setRecoveryWatch(_ watch: RecoveryWatch, of recovery: UInt64) {
        set(.recovery(recovery), watch.encoded())
    }

    /// Records of recoveries that roots do not list any more.
    public mutating func forgetRecoveries(except recoveries: RecoveryHistory) throws(Interruption) {
        let known = try collect(in: .all(.recovery), limit: .max) { key, _ -> UInt64? in
            guard case .recovery(let id)? = RecordKey(key) else { return nil }
            return id
        }
        for id in known where !recoveries.points.contains(where: { $0.id == id }) { remove(.recovery(id)) }
    }

    /// What the collection of garbage has to leave alone.
    ///
    /// - Parameter recoveries: those of the root whose tree this is.
    public func recoveryHold(after recoveries: RecoveryHistory) throws(Interruption) -> RecoveryHold {
        guard let newest = recoveries.newest else { return RecoveryHold(recovery: nil, isOpen: false, pinsRoots: false) }
        return RecoveryHold(
            recovery: newest.sequence, isOpen: try recoveryWatch(of: newest.id).map { !$0.isOver } ?? true,
            pinsRoots: try !pinnedRoots().isEmpty)
    }
}

/// Whether a change says what is held back after a recovery by force.
public func concernsRecovery(_ key: Key) -> Bool {
    [RecordKey.Kind.pinnedRoot.rawValue, RecordKey.Kind.recovery.rawValue].contains(key.bytes.first)
}

extension RecoveryWatch {
    func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.append(RecordVersion.current)
        encode(into: &writer)
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "the watch after a recovery")
        self = try RecoveryWatch(from: &reader)
        try reader.finish()
    }
}
