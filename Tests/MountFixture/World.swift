import Glibc
import LanfsClient
import LanfsFileSystem
import SystemPackage

/// The state of the file system in memory and its operations, each whole.
struct World {
    struct Open {
        var inode: InodeNumber
        var flags: OpenFlags
    }
    struct Lock {
        var owner: UInt64
        var range: LockRange
    }

    var nodes: [InodeNumber: Node] = [:]
    var opens: [Handle: Open] = [:]
    var locks: [InodeNumber: [Lock]] = [:]
    /// Whole-file locks, by the open file.
    var fileLocks: [InodeNumber: [Handle: LockRange.Kind]] = [:]
    var nextInode: InodeNumber = 2
    var nextHandle: Handle = 1
    var nextCookie: UInt64 = 3

    init(now: Timestamp) {
        let attributes = Attributes(
            inode: rootInode, type: .directory, permissions: 0o777, linkCount: 2, user: getuid(), group: getgid(),
            device: 0, size: 0, allocated: 0, accessed: now, modified: now, changed: now, created: now)
        nodes[rootInode] = Node(attributes, parent: rootInode)
    }

    /// What the kernel holds beyond the root.
    var lookups: UInt64 { nodes.values.reduce(0) { $0 + ($1.attributes.inode == rootInode ? 0 : $1.lookups) } }

    // MARK: names

    func node(_ inode: InodeNumber) throws(Errno) -> Node {
        guard let node = nodes[inode] else { throw .staleNFSFileHandle }
        return node
    }

    func directory(_ inode: InodeNumber) throws(Errno) -> Node {
        let node = try node(inode)
        guard node.attributes.type == .directory else { throw .notDirectory }
        return node
    }

    func child(_ name: [UInt8], of parent: Node) throws(Errno) -> Node {
        guard let entry = parent.names[name] else { throw .noSuchFileOrDirectory }
        return try node(entry.inode)
    }

    private func check(_ name: [UInt8]) throws(Errno) {
        guard name.count <= 255 else { throw .fileNameTooLong }
    }

    func lookup(_ name: [UInt8], in parent: InodeNumber) throws(Errno) -> Attributes {
        try check(name)
        let node = try child(name, of: directory(parent))
        node.lookups += 1
        return node.attributes
    }

    mutating func forget(_ inode: InodeNumber, _ count: UInt64) {
        guard let node = nodes[inode] else { return }
        precondition(node.lookups >= count || inode == rootInode, "more lookups given back than there were")
        node.lookups -= min(count, node.lookups)
        drop(node)
    }

    private mutating func drop(_ node: Node) {
        if node.attributes.linkCount == 0, node.lookups == 0, node.opens == 0 {
            nodes[node.attributes.inode] = nil
        }
    }

    private func touch(_ node: Node, _ now: Timestamp) {
        node.attributes.modified = now
        node.attributes.changed = now
    }

    mutating func make(
        _ name: [UInt8]?, in parent: InodeNumber, type: InodeType, permissions: UInt16, device: UInt32 = 0,
        by caller: Caller
    ) throws(Errno) -> Node {
        let folder = try directory(parent)
        if let name {
            try check(name)
            guard folder.names[name] == nil else { throw .fileExists }
        }
        guard folder.attributes.linkCount > 0 else { throw .noSuchFileOrDirectory }
        let inherits = folder.attributes.permissions & 0o2000 != 0
        let attributes = Attributes(
            inode: nextInode, type: type, permissions: permissions | (inherits && type == .directory ? 0o2000 : 0),
            linkCount: name == nil ? 0 : type == .directory ? 2 : 1, user: caller.user,
            group: inherits ? folder.attributes.group : caller.group, device: device, size: 0, allocated: 0,
            accessed: caller.now, modified: caller.now, changed: caller.now, created: caller.now)
        let node = Node(attributes, parent: parent)
        nextInode += 1
        nodes[attributes.inode] = node
        node.lookups = 1
        guard let name else { return node }
        node.behaviour = Behaviour(name)
        add(name, node, to: folder, caller.now)
        return node
    }

    private mutating func add(_ name: [UInt8], _ node: Node, to folder: Node, _ now: Timestamp) {
        folder.add(name, node.attributes.inode, cookie: nextCookie)
        nextCookie += 1
        touch(folder, now)
        if node.attributes.type == .directory {
            folder.attributes.linkCount += 1
            node.parent = folder.attributes.inode
        }
    }

    private mutating func remove(_ name: [UInt8], from folder: Node, _ now: Timestamp) {
        guard let entry = folder.names.removeValue(forKey: name) else { return }
        folder.order.remove(at: folder.position(after: entry.cookie - 1))
        touch(folder, now)
        if let node = nodes[entry.inode], node.attributes.type == .directory { folder.attributes.linkCount -= 1 }
    }

    mutating func link(_ inode: InodeNumber, to name: [UInt8], in parent: InodeNumber, _ caller: Caller) throws(Errno)
        -> Attributes
    {
        let node = try node(inode)
        let folder = try directory(parent)
        try check(name)
        guard folder.names[name] == nil else { throw .fileExists }
        add(name, node, to: folder, caller.now)
        node.attributes.linkCount += 1
        node.attributes.changed = caller.now
        node.lookups += 1
        return node.attributes
    }

    mutating func unlink(_ name: [UInt8], in parent: InodeNumber, directory wanted: Bool, _ caller: Caller)
        throws(Errno)
    {
        let folder = try directory(parent)
        let node = try child(name, of: folder)
        if wanted {
            guard node.attributes.type == .directory else { throw .notDirectory }
            guard node.names.isEmpty else { throw .directoryNotEmpty }
        } else if node.attributes.type == .directory {
            throw .isDirectory
        }
        remove(name, from: folder, caller.now)
        node.attributes.linkCount = wanted ? 0 : node.attributes.linkCount - 1
        node.attributes.changed = caller.now
        drop(node)
    }

    mutating func rename(
        _ name: [UInt8], in parent: InodeNumber, to newName: [UInt8], in newParent: InodeNumber, _ mode: RenameMode,
        _ caller: Caller
    ) throws(Errno) {
        try check(newName)
        let source = try directory(parent)
        let target = try directory(newParent)
        let node = try child(name, of: source)
        let existing = target.names[newName].flatMap { nodes[$0.inode] }
        switch mode {
        case .exchange:
            guard let existing else { throw .noSuchFileOrDirectory }
            remove(name, from: source, caller.now)
            remove(newName, from: target, caller.now)
            add(newName, node, to: target, caller.now)
            add(name, existing, to: source, caller.now)
            existing.attributes.changed = caller.now
        case .noReplace where existing != nil:
            throw .fileExists
        case .replace, .noReplace:
            if let existing {
                if existing === node { return }
                let isDirectory = existing.attributes.type == .directory
                if isDirectory, node.attributes.type != .directory { throw .isDirectory }
                if !isDirectory, node.attributes.type == .directory { throw .notDirectory }
                try unlink(newName, in: newParent, directory: isDirectory, caller)
            }
            remove(name, from: source, caller.now)
            add(newName, node, to: target, caller.now)
        }
        node.attributes.changed = caller.now
    }

    // MARK: attributes

    func set(_ inode: InodeNumber, _ changes: AttributeChanges, _ caller: Caller) throws(Errno) -> Attributes {
        let node = try node(inode)
        if let permissions = changes.permissions { node.attributes.permissions = permissions }
        if let user = changes.user { node.attributes.user = user }
        if let group = changes.group { node.attributes.group = group }
        if changes.user != nil || changes.group != nil { node.attributes.permissions &= ~0o6000 }
        if let size = changes.size {
            guard let size = Int(exactly: size), size < 1 << 50 else { throw .fileTooLarge }
            node.content.resize(to: size)
            updateSize(node)
            node.attributes.modified = caller.now
        }
        if let accessed = changes.accessed { node.attributes.accessed = accessed }
        if let modified = changes.modified { node.attributes.modified = modified }
        node.attributes.changed = caller.now
        return node.attributes
    }

    func updateSize(_ node: Node) {
        node.attributes.size = UInt64(node.content.size)
        node.attributes.allocated = UInt64(node.content.allocated)
    }

    // MARK: open files

    mutating func open(_ node: Node, _ flags: OpenFlags, _ now: Timestamp) -> OpenFile {
        if flags.contains(.truncate) {
            node.content.resize(to: 0)
            updateSize(node)
            touch(node, now)
        }
        defer { nextHandle += 1 }
        node.opens += 1
        opens[nextHandle] = Open(inode: node.attributes.inode, flags: flags)
        return OpenFile(handle: nextHandle, keepCache: !flags.contains(.truncate), isDirect: false)
    }

    func opened(_ handle: Handle) throws(Errno) -> Node {
        guard let open = opens[handle] else { throw .badFileDescriptor }
        return try node(open.inode)
    }

    mutating func release(_ handle: Handle) {
        guard let open = opens.removeValue(forKey: handle), let node = nodes[open.inode] else { return }
        fileLocks[open.inode]?[handle] = nil
        node.opens -= 1
        drop(node)
    }

    func write(_ handle: Handle, _ offset: UInt64, _ data: UnsafeRawBufferPointer, _ now: Timestamp) throws(Errno)
        -> Int
    {
        let node = try opened(handle)
        guard let offset = Int(exactly: offset), offset < 1 << 50 else { throw .fileTooLarge }
        node.content.write(data, at: offset)
        updateSize(node)
        touch(node, now)
        return data.count
    }

    func allocate(_ handle: Handle, _ mode: Int32, _ offset: UInt64, _ length: UInt64, _ now: Timestamp) throws(Errno) {
        let keepSize: Int32 = 1
        let punchHole: Int32 = 2
        let zeroRange: Int32 = 16
        let node = try opened(handle)
        let start = Int(clamping: offset)
        let end = start + Int(clamping: length)
        switch mode & ~keepSize {
        case 0: break
        case punchHole, zeroRange: node.content.zero(from: start, to: min(end, node.content.size))
        default: throw .notSupported
        }
        if mode & keepSize == 0, end > node.content.size { node.content.resize(to: end) }
        updateSize(node)
        touch(node, now)
    }

    func list(_ handle: Handle, _ offset: UInt64, _ limit: Int, _ withAttributes: Bool) throws(Errno) -> [ListedEntry] {
        let folder = try opened(handle)
        var listed: [ListedEntry] = []
        for (cookie, name, inode) in [
            (UInt64(1), Array(".".utf8), folder.attributes.inode), (2, Array("..".utf8), folder.parent),
        ] where cookie > offset && listed.count < limit {
            listed.append(
                ListedEntry(
                    entry: DirectoryEntry(name: name, inode: inode, type: .directory), nextOffset: cookie,
                    attributes: nil))
        }
        for (cookie, name) in folder.order[folder.position(after: max(offset, 2))...] {
            guard listed.count < limit else { break }
            let node = try child(name, of: folder)
            if withAttributes { node.lookups += 1 }
            listed.append(
                ListedEntry(
                    entry: DirectoryEntry(name: name, inode: node.attributes.inode, type: node.attributes.type),
                    nextOffset: cookie, attributes: withAttributes ? node.attributes : nil))
        }
        return listed
    }

    // MARK: locks

    private func conflict(_ inode: InodeNumber, _ owner: UInt64, _ range: LockRange) -> LockRange? {
        locks[inode]?.first {
            $0.owner != owner && $0.range.start <= range.end && range.start <= $0.range.end
                && ($0.range.kind == .exclusive || range.kind == .exclusive)
        }?.range
    }

    func testLock(_ handle: Handle, _ owner: UInt64, _ range: LockRange) throws(Errno) -> LockRange? {
        conflict(try opened(handle).attributes.inode, owner, range)
    }

    mutating func setLock(_ handle: Handle, _ owner: UInt64, _ range: LockRange) throws(Errno) {
        let inode = try opened(handle).attributes.inode
        if range.kind != .unlock, conflict(inode, owner, range) != nil { throw .resourceTemporarilyUnavailable }
        var kept: [Lock] = []
        for lock in locks[inode] ?? [] {
            guard lock.owner == owner, lock.range.start <= range.end, range.start <= lock.range.end else {
                kept.append(lock)
                continue
            }
            // What sticks out on either side stays.
            if lock.range.start < range.start {
                var left = lock
                left.range.end = range.start - 1
                kept.append(left)
            }
            if lock.range.end > range.end {
                var right = lock
                right.range.start = range.end + 1
                kept.append(right)
            }
        }
        if range.kind != .unlock { kept.append(Lock(owner: owner, range: range)) }
        locks[inode] = kept
    }

    mutating func dropLocks(_ handle: Handle, _ owner: UInt64) throws(Errno) {
        let inode = try opened(handle).attributes.inode
        locks[inode]?.removeAll { $0.owner == owner }
    }

    mutating func setFileLock(_ handle: Handle, _ kind: LockRange.Kind) throws(Errno) {
        let inode = try opened(handle).attributes.inode
        let others = (fileLocks[inode] ?? [:]).filter { $0.key != handle }
        if kind != .unlock, others.values.contains(where: { $0 == .exclusive || kind == .exclusive }) {
            throw .resourceTemporarilyUnavailable
        }
        fileLocks[inode, default: [:]][handle] = kind == .unlock ? nil : kind
    }
}
