import LanfsProtocol
import SystemPackage

extension KeeperJournal {
    /// What two journals together prove about the last acknowledged state (A5).
    public enum Recovery: Equatable, Sendable {
        /// Nothing was ever acknowledged.
        case empty
        /// The newest state; everything acknowledged is in it.
        case state([UInt8])
        /// It cannot be told what was acknowledged: this keeper must never vote again (A5, A6).
        case amnesiac(reason: String)
    }

    /// Reads both journals and decides; changes nothing.
    ///
    /// - Throws: when a file is there and cannot be opened: that says nothing about its content.
    public static func recover(
        _ folders: (FilePath, FilePath), volume: VolumeID, hash: BlockHash, isProven: StateProof = { _ in true }
    ) throws(StoreError) -> Recovery {
        decide(
            try JournalReading(folders.0, volume: volume, hash: hash, isProven: isProven),
            try JournalReading(folders.1, volume: volume, hash: hash, isProven: isProven))
    }

    /// The blocks of the records with these sequence numbers, as the two journals have them.
    static func carried(
        _ readings: (JournalReading, JournalReading), after settled: UInt64, upTo newest: UInt64
    ) -> [CarriedBlock] {
        var blocks: [BlockID: CarriedBlock] = [:]
        for record in readings.0.records + readings.1.records
        where record.sequence > settled && record.sequence <= newest {
            for block in record.entry.blocks { blocks[block.id] = block }
        }
        return Array(blocks.values)
    }

    /// A state is acknowledged when it is whole in both. So the newest whole record of either is at least what was
    /// acknowledged last, unless that one rotted. A bad tail alone cannot tell "torn, never acknowledged" from
    /// "rotten"; the other journal can: if it goes no further, the append was torn.
    static func decide(_ first: JournalReading, _ second: JournalReading) -> Recovery {
        if first.isMissing, second.isMissing { return .empty }
        let (best, other) =
            (first.newest?.sequence ?? 0) >= (second.newest?.sequence ?? 0) ? (first, second) : (second, first)
        guard let newest = best.newest else {
            // The very first append, torn in both, or files made and never used. One journal gone and the other without
            // a sound record proves nothing.
            guard !first.isMissing, !second.isMissing else {
                let left = first.isMissing ? second : first
                return left.hasBadTail
                    ? .amnesiac(reason: "one journal is missing and the other is unreadable") : .empty
            }
            if first.hasLostRecords || second.hasLostRecords {
                return .amnesiac(reason: "neither journal has a sound record")
            }
            return .empty
        }
        guard newest.entry.state != KeeperState.amnesiac.encoded else {
            return .amnesiac(reason: "an earlier start found that they cannot be trusted")
        }
        // No journal counts this far. Going on from such numbers they could wrap, and the next acknowledged state would
        // look older than this one.
        guard max(newest.sequence, newest.generation) <= UInt64.max / 2 else {
            return .amnesiac(reason: "the newest record has a number that cannot be")
        }
        guard best.hasBadTail else { return .state(newest.entry.state) }
        if other.isMissing { return .amnesiac(reason: "one journal is missing and the end of the other is damaged") }
        if other.newest?.sequence == newest.sequence { return .state(newest.entry.state) }
        return .amnesiac(reason: "the end of one journal is damaged and the other lacks what came before it")
    }
}
