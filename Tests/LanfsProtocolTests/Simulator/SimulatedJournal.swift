@testable import LanfsProtocol

/// One of a keeper's two journals: records that reach the disk some time after they were written, and rot there.
struct SimulatedJournal {
    private struct Entry {
        var state: KeeperState
        var onDiskAt: Int64
        var isGood = true
    }

    private var entries: [Entry] = []

    /// Returns when the record is on disk; writes reach it in order.
    mutating func append(_ state: KeeperState, now: Int64, taking delay: Int64) -> Int64 {
        let onDiskAt = max(entries.last?.onDiskAt ?? 0, now + delay)
        // Only the newest few matter to a scan.
        if entries.count > 8 { entries.removeFirst(4) }
        entries.append(Entry(state: state, onDiskAt: onDiskAt))
        return onDiskAt
    }

    /// Bit rot in the newest record on disk.
    mutating func rotNewest(now: Int64) {
        if let index = entries.lastIndex(where: { $0.onDiskAt <= now }) { entries[index].isGood = false }
    }

    /// Bit rot in a record that has a good one after it.
    mutating func rotOlder(now: Int64) -> Bool {
        let onDisk = entries.indices.filter { entries[$0].onDiskAt <= now }
        guard onDisk.count >= 2 else { return false }
        entries[onDisk[0]].isGood = false
        return true
    }

    /// A power cut: what had not reached the disk is lost, or its first record is torn.
    mutating func cut(now: Int64, tears: Bool) {
        guard let index = entries.firstIndex(where: { $0.onDiskAt > now }) else { return }
        if tears {
            entries[index].isGood = false
            entries[index].onDiskAt = now
            entries.removeSubrange((index + 1)...)
        } else {
            entries.removeSubrange(index...)
        }
    }

    func scan() -> JournalScan {
        let newest = entries.last { $0.isGood }?.state
        guard let bad = entries.firstIndex(where: { !$0.isGood }) else {
            return JournalScan(newest: newest, condition: .clean)
        }
        let goodAfterwards = entries[bad...].contains { $0.isGood }
        return JournalScan(newest: newest, condition: goodAfterwards ? .rotten : .tornTail)
    }

    /// What recovery does before the first answer: a new file that holds what was recovered.
    mutating func restart(with state: KeeperState, now: Int64) {
        entries = [Entry(state: state, onDiskAt: now)]
    }
}
