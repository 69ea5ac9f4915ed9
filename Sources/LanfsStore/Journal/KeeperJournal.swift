import LanfsProtocol
import SystemPackage

/// A keeper's memory of one volume's register: every state is on disk in two journals before anybody hears of it (A5).
///
/// A state replaces the one before; `append` returns when both journals have it, written in parallel. Callers at the
/// same time share one write of the newest state. With a state go the small blocks it needs, which then need no flush of
/// their own: they stay in the journals until the segments have them.
public final class KeeperJournal: Sendable {
    /// Bytes of one state.
    public static let stateLimit = 15 * JournalSlot.payloadSize
    /// Pages of one record.
    static let partsLimit =
        (stateLimit + Limits.carriedSize + JournalEntry.overhead(blocks: Limits.carriedBlocks)) / JournalSlot.payloadSize + 1

    /// Brings the blocks to disk in the segments. `mayBeGone`: a crash may have taken them from there.
    public typealias Settle = @Sendable (_ blocks: [CarriedBlock], _ mayBeGone: Bool) throws(StoreError) -> Void

    /// What was there when it was opened; never `.amnesiac`.
    public let recovered: Recovery
    private let folders: (FilePath, FilePath)
    private let settleBlocks: Settle
    private let queue: Monitor<Queue>
    private let writer: Monitor<JournalWriter>

    private struct Queue {
        var submitted: UInt64 = 0
        var durable: UInt64 = 0
        /// The newest state not written yet, and the blocks that came with it and those it replaced.
        var pending: [UInt8]?
        var blocks: [CarriedBlock] = []
        var isBusy = false
        var failure: StoreError?
    }

    /// A state on its way to disk.
    public struct Ticket: Sendable {
        fileprivate var number: UInt64
    }

    /// Opens both journals, or makes them, and brings both to the recovered state.
    ///
    /// - Parameters:
    ///   - mayBeNew: false when the volume is known to have had journals: then finding none is amnesia.
    ///   - settle: called here for blocks that only the journals may have, and later from `append`.
    /// - Throws: `StoreError.amnesiac`; disk errors.
    public init(
        folders: (FilePath, FilePath), volume: VolumeID, mayBeNew: Bool = true, hash: @escaping BlockHash,
        settle: @escaping Settle
    ) throws(StoreError) {
        self.folders = folders
        settleBlocks = settle
        let readings = (
            try JournalReading(folders.0, volume: volume, hash: hash),
            try JournalReading(folders.1, volume: volume, hash: hash)
        )
        recovered = KeeperJournal.decide(readings.0, readings.1)
        if case .amnesiac(var reason) = recovered {
            // The vote is lost; blocks in records that are whole need not be.
            do throws(StoreError) {
                try settle(KeeperJournal.carried(readings, after: 0, upTo: .max), true)
            } catch {
                reason += "; blocks in it cannot be saved: \(error)"
            }
            throw .amnesiac(path: folders.0, reason: reason)
        }
        if !mayBeNew, recovered == .empty, readings.0.isMissing || readings.1.isMissing {
            throw .amnesiac(path: folders.0, reason: "the journals are gone")
        }

        let newest = KeeperJournal.isBehind(readings.0, readings.1) ? readings.1.newest : readings.0.newest
        // Before anything in the journals changes: nobody else has them.
        let carried = newest.map { KeeperJournal.carried(readings, after: $0.entry.settled, upTo: $0.sequence) } ?? []
        if !carried.isEmpty { try settle(carried, true) }
        try KeeperJournal.agree(readings, on: newest, folders: folders, volume: volume, hash: hash)
        let journals = (try JournalFolder(folders.0), try JournalFolder(folders.1))
        writer = Monitor(
            JournalWriter(journals, after: newest, volume: volume, hash: hash, settle: settle))
        queue = Monitor(Queue())
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

    private static func isBehind(_ first: JournalReading, _ second: JournalReading) -> Bool {
        (first.newest?.sequence ?? 0) < (second.newest?.sequence ?? 0)
    }

    /// Puts the state on disk, and with it the blocks, which the store has taken in before (not flushed); durable in both
    /// journals on return.
    ///
    /// - Throws: a disk error; from then on every call does, and the keeper must not answer.
    public func append(_ state: [UInt8], carrying blocks: [CarriedBlock] = []) throws(StoreError) {
        try wait(submit(state, carrying: blocks))
    }

    /// Brings what the journals carry to the segments and says so in them, ahead of need: no append then waits for it, and
    /// the next start asks for nothing that was freed since.
    public func settle() throws(StoreError) {
        if let failure = queue.withLock({ $0.failure }) { throw failure }
        guard let due = writer.withLock({ $0.due }) else { return }
        try settleBlocks(due.blocks, false)
        do throws(StoreError) {
            try writer.withLock { (writer) throws(StoreError) in try writer.noteSettled(due) }
        } catch {
            queue.update { $0.failure = error }
            throw error
        }
    }

    /// The first half of `append`, which does not block: call it under the lock that made the state, so that states are
    /// submitted in the order in which they replace each other.
    public func submit(_ state: [UInt8], carrying blocks: [CarriedBlock] = []) throws(StoreError) -> Ticket {
        guard state.count <= KeeperJournal.stateLimit else {
            throw .tooLong(length: state.count, limit: KeeperJournal.stateLimit)
        }
        return try queue.withLock { (queue) throws(StoreError) in
            let blocks = queue.blocks + blocks
            let length = blocks.reduce(0) { $0 + $1.bytes.count }
            guard length <= Limits.carriedSize, blocks.count <= Limits.carriedBlocks else {
                throw .tooLong(length: length, limit: Limits.carriedSize)
            }
            queue.submitted += 1
            queue.pending = state
            queue.blocks = blocks
            return Ticket(number: queue.submitted)
        }
    }

    /// The second half: returns when this state, or one that replaced it, is on disk.
    public func wait(_ ticket: Ticket) throws(StoreError) {
        enum Turn {
            case done
            case failed(StoreError)
            case write([UInt8], [CarriedBlock], UInt64)
        }
        let turn: Turn = queue.await { queue in
            if let failure = queue.failure { return .failed(failure) }
            if queue.durable >= ticket.number { return .done }
            guard !queue.isBusy, let state = queue.pending else { return nil }
            defer { queue.blocks = [] }
            queue.isBusy = true
            queue.pending = nil
            return .write(state, queue.blocks, queue.submitted)
        }
        switch turn {
        case .done: return
        case .failed(let failure): throw failure
        case .write(let state, let blocks, let number):
            do throws(StoreError) {
                try writer.withLock { (writer) throws(StoreError) in try writer.write(state, blocks) }
            } catch {
                // What is on the disk now is unknown: only a new start, which reads it, may go on.
                queue.update { queue in
                    queue.isBusy = false
                    queue.failure = error
                }
                throw error
            }
            queue.update { queue in
                queue.isBusy = false
                queue.durable = number
            }
        }
    }
}
