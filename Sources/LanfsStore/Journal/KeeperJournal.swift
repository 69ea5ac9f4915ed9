import LanfsProtocol
import SystemPackage

/// A keeper's memory of one volume's register: every state is on disk in two journals before anybody hears of it (A5).
///
/// A state replaces the one before; `append` returns when both journals have it, written in parallel. Callers at the
/// same time share one write of the newest state.
public final class KeeperJournal: Sendable {
    /// Bytes of one state.
    public static let payloadLimit = 15 * JournalSlot.payloadSize

    /// What was there when it was opened; never `.amnesiac`.
    public let recovered: Recovery
    private let folders: (FilePath, FilePath)
    private let queue: Monitor<Queue>
    private let writer: Monitor<JournalWriter>

    private struct Queue {
        var submitted: UInt64 = 0
        var durable: UInt64 = 0
        /// The newest state not written yet.
        var pending: [UInt8]?
        var isBusy = false
        var failure: StoreError?
    }

    /// A state on its way to disk.
    public struct Ticket: Sendable {
        fileprivate var number: UInt64
    }

    /// Opens both journals, or makes them, and brings both to the recovered state.
    ///
    /// - Parameter mayBeNew: false when the volume is known to have had journals: then finding none is amnesia.
    /// - Throws: `StoreError.amnesiac`; disk errors.
    public init(
        folders: (FilePath, FilePath), volume: VolumeID, mayBeNew: Bool = true, hash: @escaping BlockHash
    ) throws(StoreError) {
        self.folders = folders
        let readings = (
            try JournalReading(folders.0, volume: volume, hash: hash),
            try JournalReading(folders.1, volume: volume, hash: hash)
        )
        recovered = KeeperJournal.decide(readings.0, readings.1)
        if case .amnesiac(let reason) = recovered { throw .amnesiac(path: folders.0, reason: reason) }
        if !mayBeNew, recovered == .empty, readings.0.isMissing || readings.1.isMissing {
            throw .amnesiac(path: folders.0, reason: "the journals are gone")
        }

        let newest = KeeperJournal.isBehind(readings.0, readings.1) ? readings.1.newest : readings.0.newest
        try KeeperJournal.agree(readings, on: newest, folders: folders, volume: volume, hash: hash)
        // The next generation goes to the file that does not hold the newest record.
        let journals = (try JournalFolder(folders.0), try JournalFolder(folders.1))
        writer = Monitor(
            try JournalWriter(
                journals, generation: newest.map { $0.generation &+ 1 } ?? 1,
                sequence: newest.map { $0.sequence &+ 1 } ?? 1, volume: volume, hash: hash))
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

    /// Puts the state on disk; durable in both journals on return.
    ///
    /// - Throws: a disk error; from then on every call does, and the keeper must not answer.
    public func append(_ payload: [UInt8]) throws(StoreError) {
        try wait(submit(payload))
    }

    /// The first half of `append`, which does not block: call it under the lock that made the state, so that states are
    /// submitted in the order in which they replace each other.
    public func submit(_ payload: [UInt8]) throws(StoreError) -> Ticket {
        guard payload.count <= KeeperJournal.payloadLimit else {
            throw .tooLong(length: payload.count, limit: KeeperJournal.payloadLimit)
        }
        return queue.withLock { queue in
            queue.submitted += 1
            queue.pending = payload
            return Ticket(number: queue.submitted)
        }
    }

    /// The second half: returns when this state, or one that replaced it, is on disk.
    public func wait(_ ticket: Ticket) throws(StoreError) {
        enum Turn {
            case done
            case failed(StoreError)
            case write([UInt8], UInt64)
        }
        let turn: Turn = queue.await { queue in
            if let failure = queue.failure { return .failed(failure) }
            if queue.durable >= ticket.number { return .done }
            guard !queue.isBusy, let payload = queue.pending else { return nil }
            queue.isBusy = true
            queue.pending = nil
            return .write(payload, queue.submitted)
        }
        switch turn {
        case .done: return
        case .failed(let failure): throw failure
        case .write(let payload, let number):
            do throws(StoreError) {
                try writer.withLock { (writer) throws(StoreError) in try writer.write(payload) }
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
