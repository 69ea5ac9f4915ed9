import LanfsFileSystem
import SystemPackage

/// A file system as POSIX and Linux describe one, written without a look at the real thing: objects that point at each
/// other. Results and errors of every operation must be equal to it.
final class PosixModel {
    final class Node {
        let number: InodeNumber
        let type: InodeType
        var permissions: UInt16
        var user: UInt32
        var group: UInt32
        var names = 0
        var device: UInt32 = 0
        var accessed, modified, changed, created: Timestamp
        var data: [UInt8] = []
        var children: [[UInt8]: Node] = [:]
        var parent: Node?
        var isRemoved = false
        var extended: [[UInt8]: [UInt8]] = [:]

        init(_ number: InodeNumber, _ type: InodeType, _ permissions: UInt16, _ caller: Caller) {
            self.number = number
            self.type = type
            self.permissions = permissions
            user = caller.user
            group = caller.group
            (accessed, modified, changed, created) = (caller.now, caller.now, caller.now, caller.now)
        }

        var isDirectory: Bool { type == .directory }

        var attributes: Attributes {
            let subdirectories = children.values.count { $0.isDirectory }
            let links = isDirectory ? (isRemoved ? 0 : 2 + subdirectories) : names
            return Attributes(
                inode: number, type: type, permissions: permissions, linkCount: UInt32(links), user: user, group: group,
                device: device, size: UInt64(isDirectory ? children.count : data.count), allocated: 0,
                accessed: accessed, modified: modified, changed: changed, created: created)
        }

        func isInside(_ other: Node) -> Bool {
            var current: Node? = self
            while let node = current {
                if node === other { return true }
                current = node.parent === node ? nil : node.parent
            }
            return false
        }

        func touch(_ now: Timestamp) { (modified, changed) = (now, now) }
    }

    var nodes: [InodeNumber: Node] = [:]
    var open: Set<InodeNumber> = []

    init(_ caller: Caller) {
        let root = Node(rootInode, .directory, 0o755, caller)
        root.parent = root
        root.names = 1
        nodes[rootInode] = root
    }

    func node(_ number: InodeNumber) throws(Errno) -> Node {
        guard let node = nodes[number] else { throw .staleNFSFileHandle }
        return node
    }

    func directory(_ number: InodeNumber, living: Bool = false) throws(Errno) -> Node {
        let node = try node(number)
        if !node.isDirectory { throw .notDirectory }
        if living, node.isRemoved { throw .noSuchFileOrDirectory }
        return node
    }

    func file(_ number: InodeNumber) throws(Errno) -> Node {
        let node = try node(number)
        if node.isDirectory { throw .isDirectory }
        if node.type != .regular { throw .invalidArgument }
        return node
    }

    func valid(_ name: [UInt8]) throws(Errno) {
        if name.count > 255 { throw .fileNameTooLong }
        if name.isEmpty { throw .noSuchFileOrDirectory }
        if name == [46] || name == [46, 46] || name.contains(0) || name.contains(47) { throw .invalidArgument }
    }

    // MARK: Names

    func make(
        _ name: [UInt8], _ parent: InodeNumber, _ type: InodeType, _ permissions: UInt16, _ number: InodeNumber,
        _ caller: Caller, data: [UInt8] = [], device: UInt32 = 0
    ) throws(Errno) -> Attributes {
        let directory = try directory(parent, living: true)
        try valid(name)
        if directory.children[name] != nil { throw .fileExists }
        let node = Node(number, type, permissions, caller)
        if directory.permissions & 0o2000 != 0 {
            node.group = directory.group
            if type == .directory { node.permissions |= 0o2000 }
        }
        node.data = data
        node.device = device
        node.names = 1
        if type == .directory { node.parent = directory }
        directory.children[name] = node
        directory.touch(caller.now)
        nodes[number] = node
        return node.attributes
    }

    func makeUnnamed(
        _ parent: InodeNumber, _ permissions: UInt16, _ number: InodeNumber, _ caller: Caller
    ) throws(Errno) -> Attributes {
        let directory = try directory(parent, living: true)
        let node = Node(number, .regular, permissions, caller)
        if directory.permissions & 0o2000 != 0 { node.group = directory.group }
        nodes[number] = node
        open.insert(number)
        return node.attributes
    }

    func lookup(_ name: [UInt8], _ parent: InodeNumber) throws(Errno) -> Attributes {
        if name.count > 255 { throw .fileNameTooLong }
        let directory = try directory(parent)
        guard let child = directory.children[name] else { throw .noSuchFileOrDirectory }
        return child.attributes
    }

    func link(
        _ number: InodeNumber, _ name: [UInt8], _ parent: InodeNumber, _ caller: Caller
    ) throws(Errno) -> Attributes {
        let node = try node(number)
        if node.isDirectory { throw .notPermitted }
        let directory = try directory(parent, living: true)
        try valid(name)
        if directory.children[name] != nil { throw .fileExists }
        node.names += 1
        node.changed = caller.now
        directory.children[name] = node
        directory.touch(caller.now)
        return node.attributes
    }

    /// - Returns: names left.
    private func drop(_ node: Node, _ now: Timestamp) {
        node.changed = now
        node.names -= 1
        if node.isDirectory { node.isRemoved = true }
        if node.names == 0, !open.contains(node.number) { nodes[node.number] = nil }
    }

    func unlink(_ name: [UInt8], _ parent: InodeNumber, _ caller: Caller) throws(Errno) {
        let directory = try directory(parent)
        try valid(name)
        guard let node = directory.children[name] else { throw .noSuchFileOrDirectory }
        if node.isDirectory { throw .isDirectory }
        directory.children[name] = nil
        directory.touch(caller.now)
        drop(node, caller.now)
    }

    func removeDirectory(_ name: [UInt8], _ parent: InodeNumber, _ caller: Caller) throws(Errno) {
        let directory = try directory(parent)
        try valid(name)
        guard let node = directory.children[name] else { throw .noSuchFileOrDirectory }
        if !node.isDirectory { throw .notDirectory }
        if !node.children.isEmpty { throw .directoryNotEmpty }
        directory.children[name] = nil
        directory.touch(caller.now)
        drop(node, caller.now)
    }

    func close(_ number: InodeNumber) {
        open.remove(number)
        if let node = nodes[number], node.names == 0 { nodes[number] = nil }
    }

    func rename(
        _ name: [UInt8], _ parent: InodeNumber, _ newName: [UInt8], _ newParent: InodeNumber, _ mode: RenameMode,
        _ caller: Caller
    ) throws(Errno) {
        let from = try directory(parent)
        let to = try directory(newParent)
        try valid(name)
        try valid(newName)
        guard let source = from.children[name] else { throw .noSuchFileOrDirectory }
        if to.isRemoved { throw .noSuchFileOrDirectory }
        let target = to.children[newName]
        if mode == .noReplace, target != nil { throw .fileExists }
        if mode == .exchange, target == nil { throw .noSuchFileOrDirectory }
        if source === target { return }
        if source.isDirectory, to.isInside(source) { throw .invalidArgument }
        if mode == .exchange, let target {
            if target.isDirectory, from.isInside(target) { throw .invalidArgument }
            from.children[name] = target
            to.children[newName] = source
            if target.isDirectory { target.parent = from }
            target.changed = caller.now
        } else {
            if let target {
                if source.isDirectory, !target.isDirectory { throw .notDirectory }
                if !source.isDirectory, target.isDirectory { throw .isDirectory }
                if target.isDirectory, !target.children.isEmpty { throw .directoryNotEmpty }
                drop(target, caller.now)
            }
            from.children[name] = nil
            to.children[newName] = source
        }
        if source.isDirectory { source.parent = to }
        source.changed = caller.now
        from.touch(caller.now)
        to.touch(caller.now)
    }

    // MARK: Attributes and contents

    private func dropPrivileges(_ node: Node) {
        if node.isDirectory { return }
        node.permissions &= 0o3777
        if node.permissions & 0o2010 == 0o2010 { node.permissions &= 0o1777 }
    }

    func setAttributes(
        _ number: InodeNumber, _ changes: AttributeChanges, _ caller: Caller
    ) throws(Errno) -> Attributes {
        let node = changes.size == nil ? try node(number) : try file(number)
        if let size = changes.size {
            let size = Int(size)
            if size < node.data.count { node.data.removeLast(node.data.count - size) }
            node.data += [UInt8](repeating: 0, count: size - node.data.count)
            node.modified = caller.now
            if caller.user != 0 { dropPrivileges(node) }
        }
        if changes.user != nil || changes.group != nil || changes == AttributeChanges() { dropPrivileges(node) }
        node.permissions = changes.permissions ?? node.permissions
        node.user = changes.user ?? node.user
        node.group = changes.group ?? node.group
        node.accessed = changes.accessed ?? node.accessed
        node.modified = changes.modified ?? node.modified
        node.changed = changes.changed ?? caller.now
        return node.attributes
    }

    func write(_ number: InodeNumber, _ offset: Int, _ bytes: [UInt8], _ caller: Caller) throws(Errno) -> Attributes {
        let node = try file(number)
        if bytes.isEmpty { return node.attributes }
        let end = offset + bytes.count
        if node.data.count < end { node.data += [UInt8](repeating: 0, count: end - node.data.count) }
        node.data.replaceSubrange(offset..<end, with: bytes)
        node.touch(caller.now)
        if caller.user != 0 { dropPrivileges(node) }
        return node.attributes
    }

    func setExtended(
        _ name: [UInt8], _ number: InodeNumber, _ value: [UInt8], _ mode: ExtendedAttributeMode, _ caller: Caller
    ) throws(Errno) {
        let node = try node(number)
        if mode == .create, node.extended[name] != nil { throw .fileExists }
        if mode == .replace, node.extended[name] == nil { throw .noData }
        node.extended[name] = value
        node.changed = caller.now
    }

    func removeExtended(_ name: [UInt8], _ number: InodeNumber, _ caller: Caller) throws(Errno) {
        let node = try node(number)
        if node.extended.removeValue(forKey: name) == nil { throw .noData }
        node.changed = caller.now
    }

    func extended(_ name: [UInt8], _ number: InodeNumber) throws(Errno) -> [UInt8] {
        guard let value = try node(number).extended[name] else { throw .noData }
        return value
    }
}
