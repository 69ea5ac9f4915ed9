import LanfsProtocol
import SystemPackage

/// A keeper's memory of one volume's register: every state is on disk in two journals before anybody hears of it (A5).
///
/// A state replaces the one before; `append` returns when both journals have it, written in parallel. Callers at the same
/// time share one write of the newest state.
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

        // A new generation, in the file that does not hold the newest record: whatever follows that one stays untouched
        // until the same state is safe elsewhere.
        var generation = max(readings.0.highestGeneration, readings.1.highestGeneration) &+ 1
        let newest = [readings.0.newest, readings.1.newest].compactMap(\.self).max { $0.sequence < $1.sequence }
        if let newest, newest.generation % 2 == generation % 2 { generation &+= 1 }
        let journals = (try JournalFolder(folders.0), try JournalFolder(folders.1))
        var writer = try JournalWriter(
            journals, generation: generation, sequence: newest.map { $0.sequence &+ 1 } ?? 1, volume: volume, hash: hash)
        if case .state(let payload) = recovered { try writer.write(payload) }
        self.writer = Monitor(writer)
        queue = Monitor(Queue())
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
            case done, failed(StoreError), write([UInt8], UInt64)
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
