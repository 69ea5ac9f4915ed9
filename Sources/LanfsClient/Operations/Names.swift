import LanfsFileSystem
import LanfsTree
import SystemPackage

extension Volume {
    public func lookup(_ name: [UInt8], in parent: InodeNumber, by thread: Int32) -> Outcome<Attributes> {
        let find = { @Sendable (state: inout VolumeState) throws(Pause) -> Attributes in
            let attributes = try state.read { (transaction) throws(Interruption) in
                try transaction.lookup(name, in: parent)
            }
            state.renamedElsewhere.noteLookup(of: attributes.inode, by: thread)
            return state.countLookup(attributes)
        }
        // Sent back because a name had become another's.
        if current({ $0.renamedElsewhere.isReturning(thread) }) { return performOnNewest(find) }
        let outcome = perform(find)
        // Somebody may have made it just now. A name that is there leads to an inode, and opening that asks for the newest root.
        if case .failed(.noSuchFileOrDirectory) = outcome { return performOnNewest(find) }
        return outcome
    }

    public func forget(_ inode: InodeNumber, lookups: UInt64) {
        update { $0.forget(inode, lookups) }
    }

    public func makeSymlink(
        _ name: [UInt8], in parent: InodeNumber, to target: [UInt8], by caller: Caller
    ) -> Outcome<Attributes> {
        make(by: caller) { (transaction, inode) throws(Interruption) in
            let made = try transaction.makeSymlink(name, in: parent, to: target, inode: inode, by: caller)
            return (made, .makeSymlink(Place(name, in: parent), target: target, inode))
        }
    }

    public func makeNode(
        _ name: [UInt8], in parent: InodeNumber, type: InodeType, permissions: UInt16, device: UInt32, by caller: Caller
    ) -> Outcome<Attributes> {
        make(by: caller) { (transaction, inode) throws(Interruption) in
            let made = try transaction.makeNode(
                name, in: parent, type: type, permissions: permissions, device: device, inode: inode, by: caller)
            return (made, .makeNode(Place(name, in: parent), type, permissions: permissions, device: device, inode))
        }
    }

    public func makeDirectory(
        _ name: [UInt8], in parent: InodeNumber, permissions: UInt16, by caller: Caller
    ) -> Outcome<Attributes> {
        make(by: caller) { (transaction, inode) throws(Interruption) in
            let made = try transaction.makeDirectory(
                name, in: parent, permissions: permissions, inode: inode, by: caller)
            return (made, .makeDirectory(Place(name, in: parent), permissions: permissions, inode))
        }
    }

    /// A new inode, which the kernel then knows.
    private func make(
        by caller: Caller,
        _ body: @escaping @Sendable (inout Transaction, InodeNumber) throws(Interruption) -> (Attributes, Operation?)
    ) -> Outcome<Attributes> {
        performExclusively(undo: { self.forget($0.inode, lookups: 1) }) { (state) throws(Pause) in
            let inode = try state.takeInodeNumber()
            let attributes = try state.execute(by: caller) { (transaction) throws(Interruption) in
                try body(&transaction, inode)
            }
            return state.countLookup(attributes)
        }
    }

    public func link(
        _ inode: InodeNumber, to name: [UInt8], in parent: InodeNumber, by caller: Caller
    ) -> Outcome<Attributes> {
        performExclusively(undo: { self.forget($0.inode, lookups: 1) }) { [incarnation = orphanage] (state) throws(Pause) in
            let attributes = try state.execute(by: caller) { (transaction) throws(Interruption) in
                let linked = try transaction.link(inode, to: name, in: parent, by: caller, incarnation: incarnation)
                return (linked, .link(inode, Place(name, in: parent)))
            }
            return state.countLookup(state.withUnsavedSize(attributes))
        }
    }

    public func unlink(_ name: [UInt8], in parent: InodeNumber, by caller: Caller) -> Outcome<Void> {
        performExclusively { [incarnation = orphanage] (state) throws(Pause) in
            let (handles, names) = (state.handles, state.renamedElsewhere)
            let removal = try state.execute(by: caller) { (transaction) throws(Interruption) in
                let place = Place(name, in: parent)
                let found = try transaction.find(place)
                if let found, names.mayBeUnseen(found.inode, by: caller.thread) {
                    try transaction.requireOwner(found.inode, in: parent, caller)
                }
                let removal = try transaction.unlink(
                    name, in: parent, by: caller, incarnation: incarnation, isOpen: handles.isOpen)
                return (removal, found.map { .unlink(place, $0) })
            }
            state.note(removal)
        }
    }

    public func removeDirectory(_ name: [UInt8], in parent: InodeNumber, by caller: Caller) -> Outcome<Void> {
        performExclusively { [incarnation = orphanage] (state) throws(Pause) in
            let (handles, names) = (state.handles, state.renamedElsewhere)
            let removal = try state.execute(by: caller) { (transaction) throws(Interruption) in
                let place = Place(name, in: parent)
                let found = try transaction.find(place)
                if let found, names.mayBeUnseen(found.inode, by: caller.thread) {
                    try transaction.requireOwner(found.inode, in: parent, caller)
                }
                let removal = try transaction.removeDirectory(
                    name, in: parent, by: caller, incarnation: incarnation, isOpen: handles.isOpen)
                return (removal, found.map { .removeDirectory(place, $0) })
            }
            state.note(removal)
        }
    }

    public func rename(
        _ name: [UInt8], in parent: InodeNumber, to newName: [UInt8], in newParent: InodeNumber, mode: RenameMode,
        by caller: Caller
    ) -> Outcome<Void> {
        performExclusively { [incarnation = orphanage] (state) throws(Pause) in
            let (handles, names) = (state.handles, state.renamedElsewhere)
            let removal = try state.execute(by: caller) { (transaction) throws(Interruption) in
                let (source, target) = (Place(name, in: parent), Place(newName, in: newParent))
                let (moved, replaced) = (try transaction.find(source), try transaction.find(target))
                let taken = [(moved, parent), (mode == .noReplace || replaced?.inode == moved?.inode ? nil : replaced, newParent)]
                for case (let found?, let place) in taken where names.mayBeUnseen(found.inode, by: caller.thread) {
                    try transaction.requireOwner(found.inode, in: place, caller)
                }
                let removal = try transaction.rename(
                    name, in: parent, to: newName, in: newParent, mode: mode, by: caller, incarnation: incarnation,
                    isOpen: handles.isOpen)
                return (removal, moved.map { .rename(source, $0, to: target, replaced, mode) })
            }
            if let removal { state.note(removal) }
        }
    }
}

extension VolumeState {
    mutating func changeWhenWritable<Value>(
        _ body: (inout Transaction) throws(Interruption) -> Value
    ) throws(Pause) -> Value {
        try requireWritable()
        return try change(body)
    }

    mutating func countLookup(_ attributes: Attributes) -> Attributes {
        lookups[attributes.inode, default: 0] += 1
        return withUnsavedSize(attributes)
    }

    mutating func forget(_ inode: InodeNumber, _ count: UInt64) {
        guard let known = lookups[inode] else { return }
        lookups[inode] = known > count ? known - count : nil
        // It has no pages of it either.
        if known <= count { changedElsewhere.forget(inode) }
    }

    /// Unsaved data of a file that is gone is of no use to anybody.
    mutating func note(_ removal: Removal) {
        if removal.isGone { discardDirty(of: removal.inode, chunks: 0..<UInt64.max) }
    }

    /// What is allocated, unsaved data included.
    func withUnsavedSize(_ attributes: Attributes) -> Attributes {
        guard let file = dirty[attributes.inode] else { return attributes }
        var attributes = attributes
        attributes.allocated = max(attributes.allocated, UInt64(file.byteCount))
        return attributes
    }
}
