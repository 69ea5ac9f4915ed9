import LanfsTree
import SystemPackage

extension Transaction {
    /// rename(2), renameat2(2) with RENAME_NOREPLACE and RENAME_EXCHANGE.
    ///
    /// Four looks for a file that stays in its directory, five when it moves; two or more when something is replaced
    /// (see ``unlink(_:in:by:incarnation:isOpen:)``); one for each ancestor of the new parent when a directory moves
    /// (T3).
    ///
    /// - Returns: what became of the inode that was replaced.
    /// - Throws: `EINVAL` when a directory would move into itself or below, `EEXIST`, `ENOTDIR`, `EISDIR`,
    ///   `ENOTEMPTY`, `EMLINK`.
    public mutating func rename(
        _ name: [UInt8], in parent: InodeNumber, to newName: [UInt8], in newParent: InodeNumber, mode: RenameMode,
        by caller: Caller, incarnation: Incarnation, isOpen: (InodeNumber) -> Bool
    ) throws(Interruption) -> Removal? {
        var move = Move(
            parent: parent, name: name, newParent: newParent, newName: newName, isExchange: mode == .exchange,
            from: try directory(parent), to: parent == newParent ? nil : try directory(newParent))
        try checkName(name)
        try checkName(newName)
        guard let source = try entry(name, in: parent) else { throw .failed(.noSuchFileOrDirectory) }
        guard (move.to ?? move.from).attributes.linkCount > 0 else { throw .failed(.noSuchFileOrDirectory) }
        let target = try entry(newName, in: newParent)
        switch (mode, target) {
        case (.noReplace, .some): throw .failed(.fileExists)
        case (.exchange, .none): throw .failed(.noSuchFileOrDirectory)
        default: break
        }
        // Two names of one file: POSIX says that nothing happens.
        if source.inode == target?.inode { return nil }

        try requireNoLoop(move, source, target)
        if let target, mode != .exchange { try requireReplaceable(target, by: source) }
        let removal = try place(&move, source, target, by: caller, incarnation, isOpen)
        try storeParents(&move, source, target, at: caller.now)
        return removal
    }

    private struct Move {
        let parent: InodeNumber
        let name: [UInt8]
        let newParent: InodeNumber
        let newName: [UInt8]
        let isExchange: Bool
        var from: InodeRecord
        /// `nil` when both are the same directory.
        var to: InodeRecord?
    }

    /// A directory must not become its own ancestor. Reads the whole chain, so that a re-execution after somebody
    /// else's move finds the loop (T3).
    private func requireNoLoop(_ move: Move, _ source: EntryRecord, _ target: EntryRecord?) throws(Interruption) {
        guard move.parent != move.newParent else { return }
        if source.type == .directory, try isAncestor(source.inode, of: move.newParent) {
            throw .failed(.invalidArgument)
        }
        if move.isExchange, let target, target.type == .directory, try isAncestor(target.inode, of: move.parent) {
            throw .failed(.invalidArgument)
        }
    }

    private func requireReplaceable(_ target: EntryRecord, by source: EntryRecord) throws(Interruption) {
        switch (source.type == .directory, target.type == .directory) {
        case (true, true): try requireEmpty(target.inode)
        case (true, false): throw .failed(.notDirectory)
        case (false, true): throw .failed(.isDirectory)
        case (false, false): break
        }
    }

    /// Moves the names, and what the inodes behind them know of it.
    private mutating func place(
        _ move: inout Move, _ source: EntryRecord, _ target: EntryRecord?, by caller: Caller,
        _ incarnation: Incarnation, _ isOpen: (InodeNumber) -> Bool
    ) throws(Interruption) -> Removal? {
        try touchMoved(source, to: move.newParent, at: caller.now)
        store(source, as: move.newName, in: move.newParent)
        guard let target else {
            remove(.entry(parent: move.parent, name: move.name))
            return nil
        }
        if move.isExchange {
            try touchMoved(target, to: move.parent, at: caller.now)
            store(target, as: move.name, in: move.parent)
            return nil
        }
        remove(.entry(parent: move.parent, name: move.name))
        return try dropName(of: try inode(target.inode), at: caller.now, incarnation, isOpen)
    }

    private mutating func touchMoved(
        _ entry: EntryRecord, to parent: InodeNumber, at now: Timestamp
    ) throws(Interruption) {
        var record = try inode(entry.inode)
        record.attributes.changed = now
        if entry.type == .directory { record.parent = parent }
        store(record)
    }

    private mutating func storeParents(
        _ move: inout Move, _ source: EntryRecord, _ target: EntryRecord?, at now: Timestamp
    ) throws(Interruption) {
        let sourceLinks: Int64 = source.type == .directory ? 1 : 0
        let targetLinks: Int64 = target?.type == .directory ? 1 : 0
        let gained = sourceLinks - targetLinks
        let lost = move.isExchange ? gained : sourceLinks
        let newNames: Int64 = target == nil ? 1 : 0
        let goneNames: Int64 = move.isExchange ? 0 : 1

        if var to = move.to {
            guard gained <= 0 || to.attributes.linkCount < FileSystemLimits.links,
                lost >= 0 || move.from.attributes.linkCount < FileSystemLimits.links
            else { throw .failed(.tooManyLinks) }
            to.changeNames(entries: newNames, subdirectories: gained, at: now)
            move.from.changeNames(entries: -goneNames, subdirectories: -lost, at: now)
            store(to)
        } else {
            move.from.changeNames(entries: newNames - goneNames, subdirectories: gained - lost, at: now)
        }
        store(move.from)
    }

    /// Whether `directory` is `descendant` or somewhere above it.
    private func isAncestor(_ directory: InodeNumber, of descendant: InodeNumber) throws(Interruption) -> Bool {
        var current = descendant
        // A chain that meets its own past is damage; Brent's hare and tortoise find that in time.
        var tortoise = current
        var steps = 0
        var turn = 2
        while current != directory {
            if current == rootInode { return false }
            current = try self.directory(current).parent
            guard current != tortoise else { throw .failed(.ioError) }
            steps += 1
            if steps == turn {
                tortoise = current
                turn *= 2
            }
        }
        return true
    }
}
