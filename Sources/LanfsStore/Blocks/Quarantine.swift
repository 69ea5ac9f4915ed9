/// Freed blocks in the order they were freed, 4 bytes each (G7).
///
/// Blocks are kept in batches that span 1/32 of the quarantine time; a batch is due when its *youngest* has waited long
/// enough. The block's index entry carries its batch's generation, so a member that was taken out of quarantine (or its
/// entry used for another block) is recognised and skipped instead of being searched for.
struct Quarantine {
    struct Batch {
        var generation: UInt16
        var state: BlockIndex.State
        var opened: UInt64
        var youngest: UInt64
        var members: [UInt32]
    }

    private let span: UInt64
    private(set) var batches: [Batch] = []
    private var nextGeneration: UInt16 = 0

    /// `duration` in seconds.
    init(duration: UInt64) {
        span = max(1, duration / 32)
    }

    /// The generation to write into the entry. Times must not fall from call to call of one state.
    mutating func add(_ number: UInt32, _ state: BlockIndex.State, at time: UInt64) -> UInt16 {
        if let last = batches.lastIndex(where: { $0.state == state }),
            time < batches[last].opened &+ span || batches.count > Int(BlockIndex.generationLimit) / 2
        {
            batches[last].members.append(number)
            batches[last].youngest = max(batches[last].youngest, time)
            return batches[last].generation
        }
        repeat {
            nextGeneration = (nextGeneration + 1) & BlockIndex.generationLimit
        } while batches.contains { $0.generation == nextGeneration }
        batches.append(
            Batch(generation: nextGeneration, state: state, opened: time, youngest: time, members: [number]))
        return nextGeneration
    }

    /// When the batch was freed, for the record; the youngest's time, so that a restart never shortens the wait.
    func time(ofGeneration generation: UInt16) -> UInt64? {
        batches.first { $0.generation == generation }?.youngest
    }

    /// Takes up to `limit` members of the oldest batch that `due` accepts.
    mutating func take(limit: Int, where due: (Batch) -> Bool) -> (members: [UInt32], batch: Batch)? {
        guard let index = batches.firstIndex(where: due) else { return nil }
        let batch = batches[index]
        let members = Array(batch.members.suffix(limit))
        if members.count == batch.members.count {
            batches.remove(at: index)
        } else {
            batches[index].members.removeLast(members.count)
        }
        return (members, batch)
    }
}
