import LanfsTree
import SystemPackage

extension Transaction {
    /// chmod, chown, utimensat, truncate. One look and one write, and what cutting the file takes.
    ///
    /// The kernel has checked who may, and has taken set-group-id off a chmod by one who is not of the group. Here a
    /// change of owner or group, and of the size by anyone but root, takes set-user-id and set-group-id off a file,
    /// unless the same call sets its permissions. A call that sets nothing is what is left of a chown that leaves both.
    ///
    /// - Returns: `isComplete` is `false` when a file of very many runs was cut only so far (`attributes.size` says how
    ///   far): call it again, in another transaction, until it is `true`.
    public mutating func setAttributes(
        of inode: InodeNumber, to changes: AttributeChanges, by caller: Caller
    ) throws(Interruption) -> (attributes: Attributes, isComplete: Bool) {
        var record = changes.size == nil ? try self.inode(inode) : try regularFile(inode)
        var isComplete = true
        if let size = changes.size {
            isComplete = try resize(&record, to: size)
            record.attributes.modified = caller.now
        }
        record.attributes.apply(changes, by: caller)
        store(record)
        return (record.attributes, isComplete)
    }
}

extension Attributes {
    fileprivate mutating func apply(_ changes: AttributeChanges, by caller: Caller) {
        let givesAway = changes.user != nil || changes.group != nil || changes == AttributeChanges()
        if givesAway || (changes.size != nil && caller.user != 0) { dropPrivileges() }
        if let permissions = changes.permissions { self.permissions = permissions & 0o7777 }
        if let user = changes.user { self.user = user }
        if let group = changes.group { self.group = group }
        if let accessed = changes.accessed { self.accessed = accessed }
        if let modified = changes.modified { self.modified = modified }
        changed = changes.changed ?? caller.now
    }

    /// A file that changes hands or contents must not go on running with its owner's rights. Set-group-id without the
    /// group's execute bit is no such right.
    mutating func dropPrivileges() {
        guard type != .directory else { return }
        permissions &= ~0o4000
        if permissions & 0o010 != 0 { permissions &= ~setGroupID }
    }
}
