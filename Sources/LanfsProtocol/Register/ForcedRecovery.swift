/// M3: too few keepers are left to agree, and a person says so (`--recover-force`): the next epoch is opened from one that
/// is left. What the others had beyond its value is not in the volume any more; ``RecoveryPoint`` tells it from what is.
public struct ForcedRecovery: Equatable, Sendable {
    /// A keeper of the epoch that answers, and what it accepted last.
    public struct Survivor: Sendable {
        public var server: ServerID
        public var record: RootRecord

        public init(server: ServerID, record: RootRecord) {
            self.server = server
            self.record = record
        }
    }

    /// Enough answer: nothing has to be forced.
    public static func isNeeded(_ survivors: [Survivor], of keepers: Keepers) -> Bool { survivors.count < keepers.quorum }

    /// The only keeper of the next epoch.
    public let server: ServerID
    /// What it goes on from: the newest that any survivor accepted, as in P1. Where all had to agree, everything that was
    /// ever chosen is at or before it.
    public let base: RootRecord
    private let epoch: UInt64
    private let config: VolumeConfig

    /// `nil` without a survivor, or where its keepers were just being moved: then it is for the next epoch's to go on.
    public init?(from survivors: [Survivor], in epoch: UInt64) {
        guard let newest = survivors.max(by: { $1.record.isNewer(than: $0.record) }), epoch < .max - 1,
            !newest.record.isSealed(in: epoch)
        else { return nil }
        server = newest.server
        base = newest.record
        self.epoch = epoch
        var config = base.config(in: epoch)
        // Nothing new is placed where nobody answers; a person takes them back, or drains them, when it is known which.
        for index in config.servers.indices {
            let member = config.servers[index]
            guard config.keepers.members.contains(member.server), [.active, .lost].contains(member.state),
                !survivors.contains(where: { $0.server == member.server })
            else { continue }
            config.servers[index].state = .draining
        }
        config.version += 1
        self.config = config
    }

    public func point(_ verifier: some RecordVerifier) -> RecoveryPoint {
        RecoveryPoint(epoch: epoch, sequence: base.sequence, mark: RecoveryPoint.mark(of: base, verifier))
    }

    /// The seal that no quorum chose: to be sent as `.recover` for epoch + 1.
    ///
    /// - Parameter contents: those of `base`, with the point in them.
    public func seal(contents: [UInt8], ballot: Ballot, _ signer: some RecordSigner) -> RootRecord {
        base.child(
            RootChange(contents: contents, gcEpoch: base.gcEpoch, config: config, sealedNext: Keepers([server])),
            epoch: epoch, ballot: ballot, signer: signer)
    }
}

/// Where the newest forced recovery of a volume went on from. In the sealed contents of each root since.
public struct RecoveryPoint: Equatable, Sendable {
    /// The last one before it.
    public var epoch: UInt64
    public var sequence: UInt64
    /// The beginning of that root's hash.
    public var mark: UInt64

    public init(epoch: UInt64, sequence: UInt64, mark: UInt64) {
        self.epoch = epoch
        self.sequence = sequence
        self.mark = mark
    }

    static func mark(of record: RootRecord, _ verifier: some RecordVerifier) -> UInt64 { record.hash(verifier).mark }

    /// Whether a record that another keeper had is not among the ancestors of the roots since: it was left behind.
    public func leavesBehind(_ record: RootRecord, _ verifier: some RecordVerifier) -> Bool {
        leavesBehind(epoch: record.epochInForce, sequence: record.sequence, mark: Self.mark(of: record, verifier))
    }

    func leavesBehind(epoch: UInt64, sequence: UInt64, mark: UInt64) -> Bool {
        epoch <= self.epoch && (sequence > self.sequence || sequence == self.sequence && mark != self.mark)
    }
}

extension RecordHash {
    fileprivate var mark: UInt64 { bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
}

extension RollbackMemory {
    /// F1, where keepers were lost: whether what is remembered was left behind by the recovery. `judge` cannot tell that when
    /// the volume has gone on by more than one commit.
    public func isLeftBehind(by point: RecoveryPoint) -> Bool {
        point.leavesBehind(epoch: epoch, sequence: sequence, mark: hash.mark)
    }
}

extension RootContents {
    private enum Tag {
        static let epoch: UInt16 = 1, sequence: UInt16 = 2, mark: UInt16 = 3
    }

    public var recovery: RecoveryPoint? {
        get {
            guard self[counter: Tag.epoch] > 0 else { return nil }
            return RecoveryPoint(
                epoch: self[counter: Tag.epoch], sequence: self[counter: Tag.sequence], mark: self[counter: Tag.mark])
        }
        set {
            self[counter: Tag.epoch] = newValue?.epoch ?? 0
            self[counter: Tag.sequence] = newValue?.sequence ?? 0
            self[counter: Tag.mark] = newValue?.mark ?? 0
        }
    }
}
