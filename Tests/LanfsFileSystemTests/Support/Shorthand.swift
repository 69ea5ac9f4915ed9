import LanfsProtocol
import LanfsTree
import SystemPackage

@testable import LanfsFileSystem

/// Operations by their short names, each a transaction of its own.
extension Volume {
    func lookup(_ name: String, in parent: InodeNumber = rootInode) throws(Errno) -> Attributes {
        try read { (tree) throws(Interruption) in try tree.lookup(Array(name.utf8), in: parent) }
    }

    func attributes(_ inode: InodeNumber) throws(Errno) -> Attributes {
        try read { (tree) throws(Interruption) in try tree.attributes(of: inode) }
    }

    @discardableResult
    func create(
        _ name: String, in parent: InodeNumber = rootInode, permissions: UInt16 = 0o644
    ) throws(Errno) -> InodeNumber {
        let number = try nextNumber()
        return try run { (tree) throws(Interruption) in
            try tree.makeNode(
                Array(name.utf8), in: parent, type: .regular, permissions: permissions, inode: number, by: self.caller
            ).inode
        }
    }

    @discardableResult
    func makeDirectory(
        _ name: String, in parent: InodeNumber = rootInode, permissions: UInt16 = 0o755
    ) throws(Errno) -> InodeNumber {
        let number = try nextNumber()
        return try run { (tree) throws(Interruption) in
            try tree.makeDirectory(
                Array(name.utf8), in: parent, permissions: permissions, inode: number, by: self.caller
            ).inode
        }
    }

    @discardableResult
    func link(_ inode: InodeNumber, to name: String, in parent: InodeNumber = rootInode) throws(Errno) -> Attributes {
        try run { (tree) throws(Interruption) in
            try tree.link(inode, to: Array(name.utf8), in: parent, by: self.caller, incarnation: self.incarnation)
        }
    }

    @discardableResult
    func unlink(_ name: String, in parent: InodeNumber = rootInode) throws(Errno) -> Removal {
        try run { (tree) throws(Interruption) in
            try tree.unlink(
                Array(name.utf8), in: parent, by: self.caller, incarnation: self.incarnation,
                isOpen: self.open.contains)
        }
    }

    @discardableResult
    func removeDirectory(_ name: String, in parent: InodeNumber = rootInode) throws(Errno) -> Removal {
        try run { (tree) throws(Interruption) in
            try tree.removeDirectory(
                Array(name.utf8), in: parent, by: self.caller, incarnation: self.incarnation,
                isOpen: self.open.contains)
        }
    }

    @discardableResult
    func rename(
        _ name: String, in parent: InodeNumber = rootInode, to newName: String,
        under newParent: InodeNumber = rootInode,
        mode: RenameMode = .replace
    ) throws(Errno) -> Removal? {
        try run { (tree) throws(Interruption) in
            try tree.rename(
                Array(name.utf8), in: parent, to: Array(newName.utf8), in: newParent, mode: mode, by: self.caller,
                incarnation: self.incarnation, isOpen: self.open.contains)
        }
    }

    /// Until it is cut as asked, as a client does.
    @discardableResult
    func setAttributes(_ inode: InodeNumber, _ changes: AttributeChanges) throws(Errno) -> Attributes {
        while true {
            let (attributes, isComplete) = try run { (tree) throws(Interruption) in
                try tree.setAttributes(of: inode, to: changes, by: self.caller)
            }
            if isComplete { return attributes }
        }
    }

    @discardableResult
    func truncate(_ inode: InodeNumber, to size: UInt64) throws(Errno) -> Attributes {
        var changes = AttributeChanges()
        changes.size = size
        return try setAttributes(inode, changes)
    }

    func release(_ inode: InodeNumber) throws(Errno) {
        open.remove(inode)
        try run { (tree) throws(Interruption) in try tree.releaseOrphan(inode, of: self.incarnation) }
    }

    func reapAll() throws(Errno) {
        while try !run({ (tree) throws(Interruption) in try tree.reapTrimmed(limit: 100) }) {}
    }

    func names(_ directory: InodeNumber = rootInode) throws(Errno) -> [String] {
        try read { (tree) throws(Interruption) in try tree.entries(of: directory, limit: .max) }
            .map { String(decoding: $0.name, as: UTF8.self) }
    }
}

extension Transaction {
    /// Up to `limit` blocks that are counted, in id order.
    func blocks(limit: Int) throws(Interruption) -> [(block: BlockID, usage: BlockUsage)] {
        try collect(in: .all(.usage), limit: limit) { key, value in
            guard case .usage(let block)? = RecordKey(key), let usage = try? BlockUsage(decoding: value) else {
                return nil
            }
            return (block, usage)
        }
    }

    /// Up to `limit` runs of files, in the order of inodes and chunks.
    func extents(limit: Int) throws(Interruption) -> [(place: ExtentPlace, extent: Extent)] {
        try collect(in: .all(.extent), limit: limit) { key, value in runOfFile(key, value) }
    }
}
