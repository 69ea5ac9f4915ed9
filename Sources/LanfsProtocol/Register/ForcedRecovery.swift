/// M3: too few keepers are left to agree, and a person says so (`--recover-force`): the next epoch is opened from one that
/// is left. What the others had beyond its value is not in the volume any more; ``RecoveryHistory`` tells it from what is.
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

    /// - Parameter id: drawn at random.
    public func point(id: UInt64, _ verifier: some RecordVerifier) -> RecoveryPoint {
        RecoveryPoint(id: id, of: base, verifier)
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
