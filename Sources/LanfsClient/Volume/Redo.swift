import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage

/// L6: the root that another client made, and on it what is acknowledged here, as far as it is done again. Until it is all
/// there, nobody sees it.
struct Redo {
    var tree: Tree
    var pending: [Key: [UInt8]?] = [:]
    let chain: CommitChain
    var execution: Reexecution
    /// The next entry of the log.
    var next = 0
    /// Inode numbers that are left.
    var numbers: Range<InodeNumber>
    /// Of the state that it starts from.
    let revision: UInt64

    mutating func change<Value>(
        _ nodes: NodeCache, _ body: (inout Transaction) throws(Interruption) -> Value
    ) throws(Pause) -> Value {
        try tree.change(nodes, &pending, body)
    }
}

extension VolumeState {
    /// Entries done again under one lock.
    private static let redoneAtOnce = 128

    mutating func beginRedo(
        on contents: RootContents, _ changes: [Change], _ chain: CommitChain, _ execution: Reexecution
    ) throws(Pause) {
        var tree = Tree(root: contents.tree)
        do throws(MissingNode) {
            try tree.apply(changes, nodes: nodes)
        } catch {
            throw .node(error)
        }
        redo = Redo(tree: tree, chain: chain, execution: execution, numbers: inodeNumbers, revision: revision)
    }

    /// Changes what is done again. It has one owner meanwhile, so that its tree changes in place.
    private mutating func withRedo<Value>(
        _ body: (inout Redo, borrowing VolumeState) throws(Pause) -> Value
    ) throws(Pause) -> Value {
        guard var redo else { throw .failed(.canceled) }
        self.redo = nil
        defer { self.redo = redo }
        return try body(&redo, self)
    }

    /// Does some operations again, in order. Returns whether there are more.
    mutating func redoSome() throws(Pause) -> Bool {
        try withRedo { (redo, state) throws(Pause) in
            for _ in 0..<Self.redoneAtOnce {
                guard redo.next < state.log.entries.count else { return false }
                let entry = state.log.entries[redo.next]
                let (execution, handles) = (redo.execution, state.handles)
                let step = try redo.change(state.nodes) { (transaction) throws(Interruption) in
                    try execution.run(entry, in: &transaction, isOpen: handles.isOpen)
                }
                redo.execution.note(step)
                redo.next += 1
            }
            return true
        }
    }

    /// Whatever has a name here gets one there.
    mutating func copyUnnamed() throws(Pause) {
        try withRedo { (redo, state) throws(Pause) in
            let source = Transaction(reading: state.tree, nodes: state.nodes)
            let execution = redo.execution
            let unnamed = try redo.change(state.nodes) { (transaction) throws(Interruption) in
                try transaction.keepConflicts(of: source)
                return try execution.unnamed(in: transaction, from: source)
            }
            redo.execution.copy(unnamed)
        }
    }

    /// Gives a file that nobody else changed what was written to it and is sealed.
    mutating func redoContents(of inode: InodeNumber, _ chunks: [Range<UInt64>]) throws(Pause) {
        try withRedo { (redo, state) throws(Pause) in
            let source = Transaction(reading: state.tree, nodes: state.nodes)
            try redo.change(state.nodes) { (transaction) throws(Interruption) in
                for range in chunks { try transaction.carry(range, of: inode, from: source) }
            }
        }
    }

    /// Makes what a whole other inode is copied to. Returns its number when it has contents that are to follow.
    mutating func redoAsCopy(
        of inode: InodeNumber, beside place: Place, by caller: Caller
    ) throws(Pause) -> InodeNumber? {
        let number = operations
        return try withRedo { (redo, state) throws(Pause) in
            // The reserve is for this.
            guard let copy = redo.numbers.first else { throw .failed(.noSpace) }
            let source = Transaction(reading: state.tree, nodes: state.nodes)
            let execution = redo.execution
            let made = try redo.change(state.nodes) { (transaction) throws(Interruption) in
                try execution.makeCopy(of: inode, beside: place, as: copy, from: source, by: caller, in: &transaction)
            }
            redo.execution.note(copy: made, copy, number: number, by: caller)
            redo.numbers = copy + 1..<redo.numbers.upperBound
            if case .makeNode(_, .regular, _, _, _)? = made.first { return copy }
            return nil
        }
    }

    /// A block with chunks of a copy, from `first` on.
    mutating func redo(
        _ block: SealedBlock, _ lengths: [Int], to copy: InodeNumber, from first: UInt64
    ) throws(Pause) {
        try withRedo { (redo, state) throws(Pause) in
            let made = redo.chain.record.sequence
            try redo.change(state.nodes) { (transaction) throws(Interruption) in
                try transaction.registerBlock(
                    block.id, length: UInt32(block.bytes.readableBytes), kind: .data, made: made)
                try transaction.putRun(
                    copy, firstChunk: first, count: UInt32(lengths.count), frames: block.run(first: 0, count: lengths.count),
                    lastLength: UInt32(lengths.last ?? 0))
            }
        }
    }

    /// From here on that is the state. Returns what the kernel may remember otherwise; `nil`, with nothing done, when more
    /// was changed meanwhile.
    ///
    /// - Parameters:
    ///   - lockRecords: of its tree.
    ///   - isOwn: it is the root from before, and no other client's.
    mutating func finishRedo(_ lockRecords: LockTable.Records, isOwn: Bool) throws(Pause) -> Set<InodeNumber>? {
        guard let redo, redo.revision == revision else {
            self.redo = nil
            return nil
        }
        if isOwn { locks.rebase(on: lockRecords) } else { try replaceLocks(with: lockRecords) }
        self.redo = nil
        tree = redo.tree
        pending = redo.pending
        chain = redo.chain
        log = redo.execution.log
        inodeNumbers = redo.numbers
        prepared = nil
        // It was planned for another root.
        membership = nil
        keepDirty(redo.execution.carried)
        for inode in redo.execution.copied { expire(inode) }
        hasDropped = false
        redone += 1
        if redo.execution.isContested { contests += 1 }
        loads += 1
        tellings += 1
        return noteAllForeign()
    }

    /// Files whose locks are lost there count as changed by whoever may have them now.
    mutating func noteLostLocks() throws(Pause) {
        let records = try lockRecordsOfRedo()
        let lost: Set<InodeNumber>
        do throws(LockDamage) {
            lost = try locks.lost(in: records)
        } catch {
            throw .failed(.ioError)
        }
        try withRedo { (redo, _) throws(Pause) in redo.execution.countAsChanged(lost) }
    }

    func lockRecordsOfRedo() throws(Pause) -> LockTable.Records {
        guard let redo else { throw .failed(.canceled) }
        do throws(Interruption) {
            return try Transaction(reading: redo.tree, nodes: nodes).lockRecords()
        } catch {
            throw Pause(error)
        }
    }

    /// Blocks that what is done again refers to, among them those that no chosen root ever has.
    func blocksNamedByRedo() throws(Pause) -> [BlockID] {
        guard let redo else { throw .failed(.canceled) }
        var named: Set<BlockID> = []
        for (key, value) in redo.pending {
            guard let value else { continue }
            do throws(DecodingError) {
                if let block = try blockReferred(by: key, value) { named.insert(block) }
            } catch {
                throw .failed(.ioError)
            }
        }
        return named.sorted()
    }

    /// Those that nothing in the tree refers to.
    func unnamed(among blocks: [BlockID]) throws(Pause) -> [BlockID] {
        var unnamed: [BlockID] = []
        for block in blocks {
            let usage = try read { (transaction) throws(Interruption) in try transaction.usage(of: block) }
            if usage.map({ $0.live == 0 }) ?? true { unnamed.append(block) }
        }
        return unnamed
    }

    /// Whoever has it open here is told, and keeps no lock on it.
    private mutating func expire(_ inode: InodeNumber) {
        expireHandles(of: inode)
        locks.forget(inode)
    }

    /// Drops all unsaved data but these chunks: the rest was being rewritten, or is in copies.
    private mutating func keepDirty(_ kept: [InodeNumber: [Range<UInt64>]]) {
        for (inode, file) in dirty {
            let ranges = kept[inode] ?? []
            for chunk in file.order where !ranges.contains(where: { $0.contains(chunk) }) {
                discardDirty(of: inode, chunks: chunk..<chunk + 1)
            }
        }
    }

    /// What was prepared is in the chain of roots.
    mutating func noteCommitted(through operations: UInt64) {
        committedOperations = max(committedOperations, operations)
        log.forget(through: operations)
        prepared = nil
        madeAnew = 0
    }
}
