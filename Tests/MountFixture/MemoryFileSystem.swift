import Glibc
import LanfsClient
import LanfsFileSystem
import Synchronization
import SystemPackage

/// A complete file system in memory, to mount in tests and measurements.
public final class MemoryFileSystem: FileSystemOperations, @unchecked Sendable {
    // Sendable: the world, and the nodes it refers to, are only touched with the lock held.
    private let world: Locked<World>
    private let gate = Atomic<Bool>(false)
    /// Every answer comes from a task, after a while.
    private let delayed: Bool
    private let requests = Atomic<Int>(0)

    public init(delayed: Bool = false) {
        self.delayed = delayed
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        world = Locked(World(now: Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))))
    }

    // MARK: for tests

    /// Lets what is stuck go on.
    public func openGate() { gate.store(true, ordering: .releasing) }
    public func closeGate() { gate.store(false, ordering: .releasing) }
    public var lookups: UInt64 { world.withLock { $0.lookups } }
    public var openFiles: Int { world.withLock { $0.opens.count } }
    public var inodes: Int { world.withLock { $0.nodes.count } }
    public var lockCount: Int {
        world.withLock { world in
            world.locks.values.reduce(0) { $0 + $1.count } + world.fileLocks.values.reduce(0) { $0 + $1.count }
        }
    }
    /// Directories with their names, for whoever wants to invalidate all of them.
    public var allEntries: [(parent: InodeNumber, name: [UInt8])] {
        world.withLock { world in
            world.nodes.flatMap { parent, node in node.names.keys.map { (parent, $0) } }
        }
    }
    public func inode(of name: String) -> InodeNumber? {
        world.withLock { $0.nodes[rootInode]?.names[Array(name.utf8)]?.inode }
    }
    /// As another client would: behind the kernel's back.
    public func changeBehindTheKernel(_ name: String, to text: String, mode: UInt16? = nil) {
        world.withLock { world in
            guard let inode = world.nodes[rootInode]?.names[Array(name.utf8)]?.inode, let node = world.nodes[inode]
            else { return }
            node.content.resize(to: 0)
            var text = text
            text.withUTF8 { node.content.write(UnsafeRawBufferPointer($0), at: 0) }
            world.updateSize(node)
            node.attributes.modified.seconds += 1
            if let mode { node.attributes.permissions = mode }
        }
    }
    public func makeBehindTheKernel(_ name: String) {
        world.withLock { world in
            let caller = Caller(user: 0, group: 0, umask: 0, now: Timestamp(seconds: 1, nanoseconds: 0))
            let node = try? world.make(
                Array(name.utf8), in: rootInode, type: .regular, permissions: 0o644, by: caller)
            node?.lookups = 0
        }
    }
    public func removeBehindTheKernel(_ name: String) {
        world.withLock { world in
            _ = try? world.unlink(
                Array(name.utf8), in: rootInode, directory: false,
                Caller(user: 0, group: 0, umask: 0, now: Timestamp(seconds: 1, nanoseconds: 0)))
        }
    }

    // MARK: answers

    private func answer<Value: Sendable>(
        _ body: @escaping @Sendable (inout World) throws(Errno) -> Value
    ) -> Outcome<Value> {
        guard delayed else {
            switch run(body) {
            case .success(let value): return .done(value)
            case .failure(let error): return .failed(error)
            }
        }
        return .later { [self] in
            await Task.yield()
            return run(body)
        }
    }

    private func run<Value>(_ body: (inout World) throws(Errno) -> Value) -> Result<Value, Errno> {
        world.withLock { world in
            do throws(Errno) { return .success(try body(&world)) } catch { return .failure(error) }
        }
    }

    /// Waits until the gate is open; false when cancelled before.
    private func passGate(deaf: Bool = false) async -> Bool {
        if deaf {
            await Task.detached { [self] in
                while !gate.load(ordering: .acquiring) { try? await Task.sleep(for: .milliseconds(2)) }
            }.value
            return true
        }
        while !gate.load(ordering: .acquiring) {
            do { try await Task.sleep(for: .milliseconds(2)) } catch { return false }
        }
        return true
    }

    private func behaviour(_ handle: Handle) -> Behaviour {
        world.withLock { world in (try? world.opened(handle))?.behaviour ?? .ordinary }
    }

    private func gated<Value: Sendable>(
        _ body: @escaping @Sendable (inout World) throws(Errno) -> Value, deaf: Bool = false
    ) -> Outcome<Value> {
        .later { [self] in
            guard await passGate(deaf: deaf) else { return .failure(.interrupted) }
            return run(body)
        }
    }

    // MARK: names

    public func lookup(_ name: [UInt8], in parent: InodeNumber, by thread: Int32) -> Outcome<Attributes> {
        answer { world throws(Errno) in try world.lookup(name, in: parent) }
    }

    public func forget(_ inode: InodeNumber, lookups: UInt64) {
        world.withLock { $0.forget(inode, lookups) }
    }

    public func attributes(of inode: InodeNumber) -> Outcome<Attributes> {
        answer { world throws(Errno) in try world.node(inode).attributes }
    }

    /// Nobody else is there.
    public func hasOldPages(_ inode: InodeNumber) -> Bool { false }
    public var isShared: Bool { false }

    public func setAttributes(
        of inode: InodeNumber, to changes: AttributeChanges, byName: Bool, by caller: Caller
    ) -> Outcome<Attributes> {
        answer { world throws(Errno) in try world.set(inode, changes, caller) }
    }

    public func readLink(_ inode: InodeNumber) -> Outcome<[UInt8]> {
        answer { world throws(Errno) in try world.node(inode).target }
    }

    public func makeSymlink(_ name: [UInt8], in parent: InodeNumber, to target: [UInt8], by caller: Caller)
        -> Outcome<Attributes>
    {
        answer { world throws(Errno) in
            let node = try world.make(name, in: parent, type: .symlink, permissions: 0o777, by: caller)
            node.target = target
            node.attributes.size = UInt64(target.count)
            return node.attributes
        }
    }

    public func makeNode(
        _ name: [UInt8], in parent: InodeNumber, type: InodeType, permissions: UInt16, device: UInt32, by caller: Caller
    ) -> Outcome<Attributes> {
        answer { world throws(Errno) in
            try world.make(name, in: parent, type: type, permissions: permissions, device: device, by: caller)
                .attributes
        }
    }

    public func makeDirectory(_ name: [UInt8], in parent: InodeNumber, permissions: UInt16, by caller: Caller)
        -> Outcome<Attributes>
    {
        answer { world throws(Errno) in
            try world.make(name, in: parent, type: .directory, permissions: permissions, by: caller).attributes
        }
    }

    public func link(_ inode: InodeNumber, to name: [UInt8], in parent: InodeNumber, by caller: Caller)
        -> Outcome<Attributes>
    {
        answer { world throws(Errno) in try world.link(inode, to: name, in: parent, caller) }
    }

    public func unlink(_ name: [UInt8], in parent: InodeNumber, by caller: Caller) -> Outcome<Void> {
        answer { world throws(Errno) in try world.unlink(name, in: parent, directory: false, caller) }
    }

    public func removeDirectory(_ name: [UInt8], in parent: InodeNumber, by caller: Caller) -> Outcome<Void> {
        answer { world throws(Errno) in try world.unlink(name, in: parent, directory: true, caller) }
    }

    public func rename(
        _ name: [UInt8], in parent: InodeNumber, to newName: [UInt8], in newParent: InodeNumber, mode: RenameMode,
        by caller: Caller
    ) -> Outcome<Void> {
        answer { world throws(Errno) in try world.rename(name, in: parent, to: newName, in: newParent, mode, caller) }
    }

    // MARK: files

    public func create(
        _ name: [UInt8], in parent: InodeNumber, permissions: UInt16, flags: OpenFlags, by caller: Caller
    ) -> Outcome<(Attributes, OpenFile)> {
        answer { world throws(Errno) in
            if !flags.contains(.exclusive), let node = try? world.child(name, of: world.directory(parent)) {
                node.lookups += 1
                let file = world.open(node, flags, caller.now)
                return (node.attributes, file)
            }
            let node = try world.make(name, in: parent, type: .regular, permissions: permissions, by: caller)
            let file = world.open(node, flags, caller.now)
            return (node.attributes, file)
        }
    }

    public func createUnnamed(in parent: InodeNumber, permissions: UInt16, flags: OpenFlags, by caller: Caller)
        -> Outcome<(Attributes, OpenFile)>
    {
        answer { world throws(Errno) in
            let node = try world.make(nil, in: parent, type: .regular, permissions: permissions, by: caller)
            let file = world.open(node, flags, caller.now)
            return (node.attributes, file)
        }
    }

    public func open(_ inode: InodeNumber, flags: OpenFlags, by caller: Caller) -> Outcome<OpenFile> {
        let body: @Sendable (inout World) throws(Errno) -> OpenFile = { world throws(Errno) in
            world.open(try world.node(inode), flags, caller.now)
        }
        let behaviour = world.withLock { world in (try? world.node(inode))?.behaviour }
        return behaviour == .deafOpen ? gated(body, deaf: true) : answer(body)
    }

    public func flush(_ handle: Handle, lockOwner: UInt64) -> Outcome<Void> {
        if behaviour(handle) == .stuckClose {
            return gated { world throws(Errno) in try world.dropLocks(handle, lockOwner) }
        }
        return answer { world throws(Errno) in try world.dropLocks(handle, lockOwner) }
    }

    public func release(_ handle: Handle) { world.withLock { $0.release(handle) } }

    public func read(_ handle: Handle, offset: UInt64, count: Int) -> Outcome<FileBytes> {
        let body: @Sendable (inout World) throws(Errno) -> FileBytes = { world throws(Errno) in
            FileBytes(pieces: try world.opened(handle).content.read(at: Int(clamping: offset), count: count))
        }
        switch behaviour(handle) {
        case .stuckRead: return gated(body)
        case .deafRead: return gated(body, deaf: true)
        default: return answer(body)
        }
    }

    public func write(
        _ handle: Handle, offset: UInt64, appends: Bool, data: UnsafeRawBufferPointer, by caller: Caller
    ) -> Outcome<Int> {
        let isStuck = behaviour(handle) == .stuckWrite
        guard delayed || isStuck else {
            switch run({ world throws(Errno) in try world.write(handle, offset, data, caller.now) }) {
            case .success(let count): return .done(count)
            case .failure(let error): return .failed(error)
            }
        }
        let copy = Array(data)
        let body: @Sendable (inout World) throws(Errno) -> Int = { world throws(Errno) in
            let result = copy.withUnsafeBytes { bytes in
                Result { () throws(Errno) in try world.write(handle, offset, bytes, caller.now) }
            }
            return try result.get()
        }
        return isStuck ? gated(body) : answer(body)
    }

    public func sync(_ handle: Handle, dataOnly: Bool) -> Outcome<Void> {
        answer { world throws(Errno) in _ = try world.opened(handle) }
    }

    public func allocate(_ handle: Handle, mode: Int32, offset: UInt64, length: UInt64, by caller: Caller)
        -> Outcome<Void>
    {
        answer { world throws(Errno) in try world.allocate(handle, mode, offset, length, caller.now) }
    }

    public func seek(_ handle: Handle, offset: UInt64, whence: Int32) -> Outcome<UInt64> {
        answer { world throws(Errno) in
            let content = try world.opened(handle).content
            let seekData: Int32 = 3
            guard let place = content.seek(from: Int(clamping: offset), data: whence == seekData) else {
                throw .noSuchAddressOrDevice
            }
            return UInt64(place)
        }
    }

    public func copyRange(
        from source: Handle, offset: UInt64, to target: Handle, offset targetOffset: UInt64, count: UInt64,
        by caller: Caller
    ) -> Outcome<Int> {
        answer { world throws(Errno) in
            let slices = try world.opened(source).content.read(at: Int(clamping: offset), count: Int(clamping: count))
            var position = targetOffset
            for slice in slices {
                let result = slice.withUnsafeBytes { bytes in
                    Result { () throws(Errno) in try world.write(target, position, bytes, caller.now) }
                }
                position += UInt64(try result.get())
            }
            return Int(position - targetOffset)
        }
    }

    // MARK: directories

    public func openDirectory(_ inode: InodeNumber) -> Outcome<Handle> {
        answer { world throws(Errno) in
            world.open(try world.directory(inode), .read, Timestamp(seconds: 0, nanoseconds: 0)).handle
        }
    }

    public func readDirectory(_ handle: Handle, offset: UInt64, limit: Int, attributes: Bool) -> Outcome<[ListedEntry]>
    {
        let body: @Sendable (inout World) throws(Errno) -> [ListedEntry] = { world throws(Errno) in
            try world.list(handle, offset, limit, attributes)
        }
        return behaviour(handle) == .stuckFolder ? gated(body) : answer(body)
    }

    public func releaseDirectory(_ handle: Handle) { world.withLock { $0.release(handle) } }

    public func syncDirectory(_ handle: Handle) -> Outcome<Void> {
        answer { world throws(Errno) in _ = try world.opened(handle) }
    }

    public func save() async -> Result<Void, Errno> { .success(()) }

    public func usage() -> Outcome<VolumeUsage> {
        answer { world throws(Errno) in
            VolumeUsage(capacity: 1 << 40, free: 1 << 39, files: UInt64(world.nodes.count))
        }
    }

    // MARK: extended attributes

    public func setExtendedAttribute(
        _ name: [UInt8], of inode: InodeNumber, to value: [UInt8], flags: Int32, by caller: Caller
    ) -> Outcome<Void> {
        answer { world throws(Errno) in
            let node = try world.node(inode)
            let create: Int32 = 1
            let replace: Int32 = 2
            if flags & create != 0, node.extended[name] != nil { throw .fileExists }
            if flags & replace != 0, node.extended[name] == nil { throw .noExtendedAttribute }
            node.extended[name] = value
            node.attributes.changed = caller.now
        }
    }

    public func extendedAttribute(_ name: [UInt8], of inode: InodeNumber) -> Outcome<[UInt8]> {
        answer { world throws(Errno) in
            guard let value = try world.node(inode).extended[name] else { throw .noExtendedAttribute }
            return value
        }
    }

    public func extendedAttributes(of inode: InodeNumber) -> Outcome<[[UInt8]]> {
        answer { world throws(Errno) in
            try world.node(inode).extended.keys.sorted { $0.lexicographicallyPrecedes($1) }
        }
    }

    public func removeExtendedAttribute(_ name: [UInt8], of inode: InodeNumber, by caller: Caller) -> Outcome<Void> {
        answer { world throws(Errno) in
            guard try world.node(inode).extended.removeValue(forKey: name) != nil else { throw .noExtendedAttribute }
        }
    }

    // MARK: locks

    public func testLock(_ handle: Handle, owner: UInt64, range: LockRange) -> Outcome<LockRange?> {
        answer { world throws(Errno) in try world.testLock(handle, owner, range) }
    }

    public func setLock(_ handle: Handle, owner: UInt64, range: LockRange, wait: Bool) -> Outcome<Void> {
        locking(wait: wait) { world throws(Errno) in try world.setLock(handle, owner, range) }
    }

    public func setWholeFileLock(_ handle: Handle, owner: UInt64, kind: LockRange.Kind, wait: Bool) -> Outcome<Void> {
        locking(wait: wait) { world throws(Errno) in try world.setFileLock(handle, kind) }
    }

    private func locking(
        wait: Bool, _ body: @escaping @Sendable (inout World) throws(Errno) -> Void
    ) -> Outcome<Void> {
        guard wait else { return answer(body) }
        if !delayed {
            switch run(body) {
            case .success: return .done(())
            case .failure(.resourceTemporarilyUnavailable): break
            case .failure(let error): return .failed(error)
            }
        }
        return .later { [self] in
            while true {
                if Task.isCancelled { return .failure(.interrupted) }
                let result = run(body)
                guard case .failure(.resourceTemporarilyUnavailable) = result else { return result }
                try? await Task.sleep(for: .milliseconds(2))
            }
        }
    }
}

extension Errno {
    /// What Linux says where others say ENOATTR.
    static let noExtendedAttribute = Errno(rawValue: Glibc.ENODATA)
}
