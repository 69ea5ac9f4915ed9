/// All that a keeper must never forget: one journal record holds the whole of it (A5).
public struct KeeperState: Equatable, Sendable {
    /// Grows with every state that is to be kept: recovery takes the highest.
    public var revision: UInt64 = 0
    /// A5, A6: what was promised is lost; no vote is given any more under this identity.
    public var isAmnesiac = false
    /// 0 while the slot is empty.
    public var epoch: UInt64 = 0
    public var promised = Ballot.zero
    /// Equal to `promised` when whoever holds that ballot has no lease to be waited for: never given, or given back.
    public var released = Ballot.zero
    /// The highest ballot known to be chosen. Kept when something else is: losing it costs time, never safety.
    public var learned = Ballot.zero
    public var accepted: RootRecord?

    public init() {}

    /// What is left where it cannot be told what was promised. It has to be on disk, in place of what could not be trusted:
    /// damage that comes later may make that look sound again, and older than what was promised.
    public static var amnesiac: KeeperState {
        var state = KeeperState()
        state.isAmnesiac = true
        return state
    }

    public var highest: Ballot { max(promised, accepted?.ballot ?? .zero) }

    /// The journal keeps empty slots and amnesiac ones as well.
    static let version: UInt8 = 1

    /// The payload of a journal record; the journal adds length and checksum.
    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 768)
        writer.append(Self.version)
        writer.append(revision)
        writer.append(isAmnesiac)
        writer.append(epoch)
        promised.encode(into: &writer)
        released.encode(into: &writer)
        learned.encode(into: &writer)
        writer.append(optional: accepted) { $1.encode(into: &$0) }
        return writer.bytes
    }

    public init(encoded bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        guard try reader.integer(UInt8.self) == Self.version else {
            throw .invalid(what: "the version of a keeper's state (a newer lanfs wrote it?)")
        }
        revision = try reader.integer()
        isAmnesiac = try reader.bool()
        epoch = try reader.integer()
        promised = try Ballot(from: &reader)
        released = try Ballot(from: &reader)
        learned = try Ballot(from: &reader)
        accepted = try reader.optional { (reader) throws(DecodingError) in try RootRecord(from: &reader) }
        guard (accepted == nil) == (epoch == 0) else { throw .invalid(what: "a keeper's state") }
        try reader.finish()
    }
}

/// What reading one of the two journals from its start found.
public struct JournalScan: Equatable, Sendable {
    public enum Condition: Equatable, Sendable {
        /// Every record good, to the end.
        case clean
        /// Good records, then damage to the end: a write that never finished.
        case tornTail
        /// Damage with good records after it: rot.
        case rotten
        /// The file is not there or cannot be read.
        case missing
    }

    /// The good record with the highest revision.
    public var newest: KeeperState?
    public var condition: Condition

    public init(newest: KeeperState?, condition: Condition) {
        self.newest = newest
        self.condition = condition
    }
}

/// What a keeper starts from.
public enum KeeperRecovery: Equatable, Sendable {
    /// Neither journal was ever written: an empty slot.
    case empty
    case state(KeeperState)
    /// The journals cannot be trusted to hold all that was promised; from now on they hold `KeeperState.amnesiac`.
    case amnesiac

    /// A5: the highest good record of either journal, unless what is damaged might have been acknowledged.
    ///
    /// An acknowledged record is in both journals. So one clean journal has everything; and of two torn tails, neither
    /// was acknowledged. A torn tail next to a rotten journal still has its record there, if it was acknowledged. But
    /// where both are rotten, or the only journal left is damaged, something may be missing from both.
    public init(_ first: JournalScan, _ second: JournalScan) {
        let conditions = [first.condition, second.condition]
        let trusted =
            conditions.contains(.clean) || (conditions.contains(.tornTail) && !conditions.contains(.missing))
        guard trusted else {
            self = conditions == [.missing, .missing] ? .empty : .amnesiac
            return
        }
        let states = [first.newest, second.newest].compactMap { $0 }
        if let newest = states.max(by: { $0.revision < $1.revision }) {
            self = .state(newest)
        } else {
            self = .empty
        }
    }
}
