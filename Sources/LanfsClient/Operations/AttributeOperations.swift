import LanfsFileSystem
import SystemPackage

extension Volume {
    public func attributes(of inode: InodeNumber) -> Outcome<Attributes> {
        perform { (state) throws(Pause) in
            state.withUnsavedSize(
                try state.read(of: inode) { (transaction) throws(Interruption) in try transaction.attributes(of: inode) })
        }
    }

    public func setAttributes(
        of inode: InodeNumber, to changes: AttributeChanges, byName: Bool, by caller: Caller
    ) -> Outcome<Attributes> {
        perform { (state) throws(Pause) in
            // Whose bytes are cut off is to be certain.
            if byName, changes.size != nil {
                try state.requireWritable()
                if state.renamedElsewhere.mayBeMistaken(inode, caller.thread) { throw .failed(.staleNFSFileHandle) }
            }
            return try state.setAttributes(of: inode, to: changes, by: caller)
        }
    }

    public func hasOldPages(_ inode: InodeNumber) -> Bool { current { $0.changedElsewhere[inode] != nil } }

    public func readLink(_ inode: InodeNumber) -> Outcome<[UInt8]> {
        perform { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in try transaction.readLink(inode) }
        }
    }

    /// What is known will do: whoever shows how full disks are asks again and again.
    public func usage() -> Outcome<VolumeUsage> {
        performOnKnown { (state) throws(Pause) in
            let superblock = try state.read { (transaction) throws(Interruption) in try transaction.superblock() }
            return VolumeUsage(capacity: state.room.capacity, free: state.room.left, files: superblock.files)
        }
    }

    public func setExtendedAttribute(
        _ name: [UInt8], of inode: InodeNumber, to value: [UInt8], flags: Int32, by caller: Caller
    ) -> Outcome<Void> {
        let mode: ExtendedAttributeMode =
            flags & KernelConstant.attributeCreate != 0
            ? .create : flags & KernelConstant.attributeReplace != 0 ? .replace : .any
        return perform { (state) throws(Pause) in
            try state.execute(by: caller) { (transaction) throws(Interruption) in
                try transaction.setExtendedAttribute(name, of: inode, to: value, mode: mode, by: caller)
                return ((), .setExtendedAttribute(name, inode, value: value))
            }
        }
    }

    public func extendedAttribute(_ name: [UInt8], of inode: InodeNumber) -> Outcome<[UInt8]> {
        perform { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in
                try transaction.extendedAttribute(name, of: inode)
            }
        }
    }

    public func extendedAttributes(of inode: InodeNumber) -> Outcome<[[UInt8]]> {
        perform { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in try transaction.extendedAttributes(of: inode) }
        }
    }

    public func removeExtendedAttribute(
        _ name: [UInt8], of inode: InodeNumber, by caller: Caller
    ) -> Outcome<Void> {
        perform { (state) throws(Pause) in
            try state.execute(by: caller) { (transaction) throws(Interruption) in
                try transaction.removeExtendedAttribute(name, of: inode, by: caller)
                return ((), .removeExtendedAttribute(name, inode))
            }
        }
    }
}

extension VolumeState {
    /// A new size also cuts what is unsaved. Files of very many runs are cut in several transactions.
    mutating func setAttributes(
        of inode: InodeNumber, to changes: AttributeChanges, by caller: Caller
    ) throws(Pause) -> Attributes {
        while true {
            let before = changes.size == nil && changes.modified == nil ? nil : try versionBefore(changing: inode)
            let (attributes, isComplete) = try execute(by: caller, before: before) {
                (transaction) throws(Interruption) in
                (try transaction.setAttributes(of: inode, to: changes, by: caller), .setAttributes(inode, changes))
            }
            if changes.size != nil { cutDirty(of: inode, to: attributes.size) }
            if isComplete { return withUnsavedSize(attributes) }
        }
    }
}
