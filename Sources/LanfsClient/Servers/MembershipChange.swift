import LanfsProtocol

/// Other servers (M1), or other keepers (M2): made by an ordinary commit, never both by one.
enum MembershipChange: Equatable, Sendable {
    case servers(VolumeConfig)
    /// Seals the epoch. `version`: of the config that they were chosen by.
    case keepers(Keepers, version: UInt64)
}

extension PreparedCommit {
    /// What is proposed on `base`. A change of membership is dropped when another one came first: it is planned anew.
    func change(_ sealed: [UInt8], on base: RootRecord) -> RootChange {
        var change = RootChange(contents: sealed, gcEpoch: gcEpoch)
        let config = base.newestConfig
        switch membership {
        case .servers(let next) where next.version == config.version + 1 && next.keepers == config.keepers:
            change.config = next
        case .keepers(let next, config.version): change.sealedNext = next
        default: break
        }
        return change
    }
}

extension RootRecord {
    /// Nothing but the keepers is different from `base`.
    func isMoved(from base: RootRecord) -> Bool { epoch > base.epoch && contents == base.contents }
}
