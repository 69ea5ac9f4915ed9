import LanfsProtocol
import SystemPackage

/// A keeper's memory of one volume's register: every state is on disk in two journals before anybody hears of it (A5).
///
/// A state replaces the one before; `append` returns when both journals have it, written in parallel. With a state go the
/// small blocks it needs, which then need no flush of their own: they stay in the journals until the segments have them.
public final class KeeperJournal: Sendable {
    /// Bytes of one state.
    public static let stateLimit = 15 * JournalSlot.payloadSize
    /// Pages of one record.
    static let partsLimit =
        (stateLimit + Limits.carriedSize + JournalEntry.overhead(blocks: Limits.carriedBlocks)) / JournalSlot.payloadSize + 1

    /// Brings the blocks to disk in the segments. `mayBeGone`: a crash may have taken them from there.
    public typealias Settle = @Sendable (_ blocks: [CarriedBlock], _ mayBeGone: Bool) throws(StoreError) -> Void

    /// Says of a state found on disk whether it may have been acknowledged.
    public typealias StateProof = (_ state: [UInt8]) -> Bool

    /// What was there when it was opened; never `.amnesiac`.
    public let recovered: Recovery
    private let folders: (FilePath, FilePath)
    private let settleBlocks: Settle
    private let writer: Monitor<JournalWriter>

    /// Opens both journals, or makes them, and brings both to the recovered state.
    ///
    /// - Parameters:
    ///   - mayBeNew: false when the volume is known to have had journals: then finding none is amnesia.
    ///   - isProven: whether a state may have been acknowledged at all. One that cannot was being written when the crash
    ///     came (`append`'s `meanwhile`), and counts as torn.
    ///   - settle: called here for blocks that only the journals may have, and later from `append`.
    /// - Throws: `StoreError.amnesiac`, and both journals say so from now on; disk errors.
    public init(
        folders: (FilePath, FilePath), volume: VolumeID, mayBeNew: Bool = true, hash: @escaping BlockHash,
        isProven: StateProof = { _ in true }, settle: @escaping Settle
    ) throws(StoreError) {
        self.folders = folders
        settleBlocks = settle
        let readings = (
            try JournalReading(folders.0, volume: volume, hash: hash, isProven: isProven),
            try JournalReading(folders.1, volume: volume, hash: hash, isProven: isProven)
        )
        var found = KeeperJournal.decide(readings.0, readings.1)
        if !mayBeNew, found == .empty, readings.0.isMissing || readings.1.isMissing {
            found = .amnesiac(reason: "the journals are gone")
        }
        recovered = found
        if case .amnesiac(let reason) = found {
            throw .amnesiac(
                path: folders.0, reason: KeeperJournal.giveUp(readings, reason, folders, volume, hash, settle))
        }

        let newest = KeeperJournal.isBehind(readings.0, readings.1) ? readings.1.newest : readings.0.newest
        // Before anything in the journals changes: nobody else has them.
        let carried = newest.map { KeeperJournal.carried(readings, after: $0.entry.settled, upTo: $0.sequence) } ?? []
        if !carried.isEmpty { try settle(carried, true) }
        try KeeperJournal.agree(readings, on: newest, folders: folders, volume: volume, hash: hash)
        writer = Monitor(
            JournalWriter(try JournalPair(folders), after: newest, volume: volume, hash: hash, settle: settle))
    }

    /// Leaves both journals with the newest record and without traces of torn appends: the next crash must find two
    /// that agree on what was acknowledged. First the one that lags or is damaged, because until it is made anew only
    /// the other can tell the state; at every step in between `decide` says the same as before.
    private static func agree(
        _ readings: (JournalReading, JournalReading), on newest: JournalReading.Record?, folders: (FilePath, FilePath),
        volume: VolumeID, hash: BlockHash
    ) throws(StoreError) {
        let disagree = readings.0.newest != readings.1.newest
        if !disagree, !readings.0.needsRebuild, !readings.1.needsRebuild { return }
        let order = isBehind(readings.0, readings.1) ? [folders.0, folders.1] : [folders.1, folders.0]
        for folder in order { try JournalFolder.rebuild(folder, with: newest, volume: volume, hash: hash) }
    }

    /// Leaves both journals with nothing but that the keeper is amnesiac (A5). Were it found out anew at each start, more damage
    /// could one day make an older state look like the last one acknowledged. Blocks in records that are whole are saved
    /// before; where that fails all stays as it is. At every step in between `decide` says amnesiac.
    ///
    /// - Returns: the reason, and what else went wrong.
    private static func giveUp(
        _ readings: (JournalReading, JournalReading), _ reason: String, _ folders: (FilePath, FilePath), _ volume: VolumeID,
        _ hash: BlockHash, _ settle: Settle
    ) -> String {
        let blocks = carried(readings, after: 0, upTo: .max)
        do throws(StoreError) {
            if !blocks.isEmpty { try settle(blocks, true) }
        } catch {
            return "\(reason); blocks in it cannot be saved: \(error)"
        }
        let newest = max(readings.0.newest?.sequence ?? 0, readings.1.newest?.sequence ?? 0)
        // A number that cannot be (see `decide`) does not wrap to one that can.
        let sequence = newest == .max ? newest : newest + 1
        // In file 0, where no first append stands: should it rot in both, nobody takes this for a slot that was never used.
        let record = JournalReading.Record(
            generation: 0, sequence: sequence,
            entry: JournalEntry(state: KeeperState.amnesiac.encoded, settled: sequence))
        do throws(StoreError) {
            for folder in [folders.0, folders.1] {
                try JournalFolder.rebuild(folder, with: record, volume: volume, hash: hash)
            }
        } catch {
            return "\(reason); it cannot be written down: \(error)"
        }
        return reason
    }

    private static func isBehind(_ first: JournalReading, _ second: JournalReading) -> Bool {
        (first.newest?.sequence ?? 0) < (second.newest?.sequence ?? 0)
    }

    /// Puts the state on disk, and with it the blocks, which the store has taken in before (not flushed); durable in both
    /// journals on return.
    ///
    /// - Parameter meanwhile: runs once, while the disks write; not when nothing is written.
    /// - Throws: `tooLong`, with nothing done; or a disk error: from then on every call does, and the keeper must not answer.
    public func append(
        _ state: [UInt8], carrying blocks: [CarriedBlock] = [], meanwhile: () -> Void = {}
    ) throws(StoreError) {
        guard state.count <= KeeperJournal.stateLimit else {
            throw .tooLong(length: state.count, limit: KeeperJournal.stateLimit)
        }
        let length = blocks.reduce(0) { $0 + $1.bytes.count }
        guard length <= Limits.carriedSize, blocks.count <= Limits.carriedBlocks else {
            throw .tooLong(length: length, limit: Limits.carriedSize)
        }
        try writer.withLock { (writer) throws(StoreError) in try writer.append(state, blocks, meanwhile) }
    }

    /// Brings what the journals carry to the segments and says so in them, ahead of need: no append then waits for it, and
    /// the next start asks for nothing that was freed since.
    public func settle() throws(StoreError) {
        guard let due = try writer.withLock({ (writer) throws(StoreError) in try writer.due }) else { return }
        try settleBlocks(due.blocks, false)
        try writer.withLock { (writer) throws(StoreError) in try writer.noteSettled(due) }
    }
}
