/// What a recovery by force (M3) takes from the collection of garbage. The volume went on from a root that is older than
/// what others may have: from then on what dies here may live there, in a root of which nobody here knows yet, or which
/// is kept as a snapshot.
///
/// What was made by a client that knew the recovery can be in no root that was left behind: it is freed as always (G8).
/// Of everything older the dead lists are not believed: it is left to the audit, which marks what the pinned roots reach
/// (G4). And while somebody may still come back with a root, the audit sweeps nothing: what that root reaches besides is
/// as good as unreached until then.
public struct RecoveryHold: Equatable, Sendable {
    /// The newest commit that both sides have; `nil` while nothing is held back.
    private let shared: UInt64?
    /// A server may still come back with a root that is not in the volume.
    public let isOpen: Bool

    /// - Parameters:
    ///   - recovery: the newest; those before it are older, so what they hold back is held back with it.
    ///   - isOpen: as ``RecoveryWatch`` says; true while there is none.
    public init(recovery: UInt64?, isOpen: Bool, pinsRoots: Bool) {
        self.isOpen = isOpen && recovery != nil
        shared = self.isOpen || pinsRoots ? recovery : nil
    }

    public var isInForce: Bool { shared != nil }

    /// G8: whether a dead block may be freed at once.
    ///
    /// - Parameter made: the newest commit that was known to the client that made the block; 0 when that is not known.
    public func allowsFreeing(made: UInt64) -> Bool { shared.map { made > $0 } ?? true }

    /// G5.
    public var allowsSweeping: Bool { !isOpen }
}
