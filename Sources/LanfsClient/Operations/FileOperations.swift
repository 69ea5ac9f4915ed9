import LanfsFileSystem
import LanfsProtocol
import SystemPackage

extension Volume {
    public func create(
        _ name: [UInt8], in parent: InodeNumber, permissions: UInt16, flags: OpenFlags, by caller: Caller
    ) -> Outcome<(Attributes, OpenFile)> {
        let create = { @Sendable (state: inout VolumeState) throws(Pause) -> (Attributes, OpenFile) in
            let inode = try state.takeInodeNumber()
            let (attributes, isNew) = try state.execute(by: caller) { (transaction) throws(Interruption) in
                let made = try transaction.create(
                    name, in: parent, permissions: permissions, exclusive: flags.contains(.exclusive), inode: inode,
                    by: caller)
                let operation = Operation.makeNode(
                    Place(name, in: parent), .regular, permissions: permissions, device: 0, inode)
                return (made, made.isNew ? operation : nil)
            }
            // A plain O_CREAT that lost a race opens the winner's file (protocol.md section 7). The kernel takes it for new and asks
            // nobody whether the caller may: who could not be sure of that is sent back, and opens what is there.
            guard isNew || caller.thread == nil || flags.areGranted(to: caller, on: attributes) else {
                throw .failed(.staleNFSFileHandle)
            }
            let opened = try isNew ? attributes : state.emptyIfAsked(attributes, flags, by: caller)
            if isNew { self.committer.noteName(self) }
            return (state.countLookup(opened), state.open(opened.inode, flags))
        }
        let createOrSendBack = { @Sendable (state: inout VolumeState) throws(Pause) -> (Attributes, OpenFile) in
            do throws(Pause) {
                return try create(&state)
            } catch .failed(.staleNFSFileHandle) {
                state.renamedElsewhere.noteSentBack(caller.thread)
                throw .failed(.staleNFSFileHandle)
            }
        }
        // Nobody asked to be the only one: what is closed is saved then.
        guard flags.contains(.exclusive) else { return perform(createOrSendBack) }
        return performExclusively(
            undo: { attributes, file in
                self.release(file.handle)
                self.forget(attributes.inode, lookups: 1)
            }, create)
    }

    public func createUnnamed(
        in parent: InodeNumber, permissions: UInt16, flags: OpenFlags, by caller: Caller
    ) -> Outcome<(Attributes, OpenFile)> {
        perform { [incarnation = orphanage] (state) throws(Pause) in
            let inode = try state.takeInodeNumber()
            let attributes = try state.execute(by: caller) { (transaction) throws(Interruption) in
                let made = try transaction.createUnnamed(
                    in: parent, permissions: permissions, inode: inode, by: caller, incarnation: incarnation)
                return (made, .makeUnnamed(in: parent, permissions: permissions, inode))
            }
            return (state.countLookup(attributes), state.open(inode, flags))
        }
    }

    public func open(_ inode: InodeNumber, flags: OpenFlags, by caller: Caller) -> Outcome<OpenFile> {
        let open = { @Sendable (state: inout VolumeState) throws(Pause) -> OpenFile in
            if state.renamedElsewhere.mayBeMistaken(inode, caller.thread) { throw .failed(.staleNFSFileHandle) }
            let attributes = try state.read { (transaction) throws(Interruption) in
                try transaction.attributes(of: inode)
            }
            guard attributes.type == .regular else {
                throw .failed(attributes.type == .directory ? .isDirectory : .noSuchAddressOrDevice)
            }
            if flags.contains(.write), state.readOnly { throw .failed(.readOnlyFileSystem) }
            _ = try state.emptyIfAsked(attributes, flags, by: caller)
            return state.open(inode, flags)
        }
        // Sent back, it was shown the newest names a moment ago. On a root that is newer again they may be gone already, and an open
        // that always comes too late fails.
        return current { $0.renamedElsewhere.isReturning(caller.thread) } ? perform(open) : performOnNewest(open)
    }

    /// L4: others may read, or could soon as far as one knows, so what is closed or unlocked has to be in a chosen root before that
    /// is answered: however long that takes, for their leases do not wait.
    public var isShared: Bool { !register.isSolo }

    /// For them. Who was overtaken by another client hears of it: what was written through the handle is in a copy (L6).
    func savedForReaders(_ handle: Handle) async -> Result<Void, Errno> {
        let outcome = await save()
        if case .success = outcome, current({ $0.handles.isExpired(handle) }) { return .failure(.staleNFSFileHandle) }
        return outcome
    }

    /// L4: who opens the file next, on another machine, sees what was written before this returns; where no other session may
    /// read nobody can tell, and nobody waits.
    public func flush(_ handle: Handle, lockOwner: UInt64) -> Outcome<Void> {
        _ = attention.note()
        let result = attempt { [session = orphanage] (state) throws(Pause) in
            guard let file = state.handles.files[handle] else { throw .failed(.badFileDescriptor) }
            state.noteUse(of: handle, file)
            // POSIX: closing any descriptor of a file gives up the process's locks on it.
            let owner = FileLockOwner(session: session, number: lockOwner)
            let place = LockTable.Place(space: .range, inode: file.inode)
            if state.locks.holds(owner, at: place) { state.handles.forgetRangeOwner(lockOwner, of: file.inode) }
            let isUnlocked = state.unlock(0...UInt64.max, of: owner, at: place)
            guard file.flags.contains(.write) else { return (unlocks: isUnlocked, saves: false) }
            if let failure = state.failure { throw .failed(failure) }
            if state.handles.isExpired(handle) { throw .failed(.staleNFSFileHandle) }
            return (unlocks: isUnlocked, saves: state.hasUnsavedWork)
        }
        tellOfGrants()
        switch result {
        case .success((let unlocks, true)) where isShared:
            return .later({
                let outcome = await self.savedForReaders(handle)
                if unlocks { _ = await self.othersTold() }
                return outcome
            }, on: executor)
        case .success((true, _)): return .later({ await self.othersTold() }, on: executor)
        case .success: return .done(())
        case .failure(.failed(let errno)): return .failed(errno)
        case .failure: return .failed(.ioError)
        }
    }

    public func release(_ handle: Handle) {
        let (orphan, isUnlocked) = update { [session = orphanage] state -> (InodeNumber?, Bool) in
            var isUnlocked = false
            if let file = state.handles.files[handle] {
                // Those of an open file: of flock(2), and fcntl(2)'s F_OFD_SETLK.
                let places = file.wholeLockOwner.map { [($0, FileLockSpace.whole)] } ?? []
                for (owner, space) in places + file.rangeOwners.map({ ($0, .range) }) {
                    let isLate = state.unlock(
                        0...UInt64.max, of: FileLockOwner(session: session, number: owner),
                        at: LockTable.Place(space: space, inode: file.inode))
                    if isLate { isUnlocked = true }
                }
            }
            guard let inode = state.handles.close(handle) else { return (nil, isUnlocked) }
            state.ghosts[inode] = nil
            state.noteClosed(inode)
            return (inode, isUnlocked)
        }
        if isUnlocked { tellOthers() } else { tellOfGrants() }
        // The last close of a file that has no name any more ends it.
        if let orphan { releaseIfOrphan(orphan) }
    }

    public func read(_ handle: Handle, offset: UInt64, count: Int) -> Outcome<FileBytes> {
        let ahead = update { state -> (InodeNumber, Range<UInt64>)? in
            guard let file = state.handles.files[handle] else { return nil }
            state.noteUse(of: handle, file)
            var range: Range<UInt64> = 0..<0
            state.handles.update(handle) { file in
                range = file.readAhead.next(after: offset..<offset + UInt64(count), size: .max)
            }
            return (file.inode, range)
        }
        guard let (inode, range) = ahead else { return .failed(.badFileDescriptor) }
        let outcome = perform { (state) throws(Pause) in try state.bytes(of: inode, offset: offset, count: count) }
        readAhead(range, of: inode)
        return outcome
    }

    public func write(
        _ handle: Handle, offset: UInt64, appends: Bool, data: UnsafeRawBufferPointer, by caller: Caller
    ) -> Outcome<Int> {
        let count = data.count
        _ = attention.note()
        let result = attempt { (state) throws(Pause) in
            try state.write(data, through: handle, offset: offset, appends: appends, by: caller)
        }
        if appends { tellOfMovedEnds() }
        switch result {
        case .success(false): return .done(count)
        case .success(true): return .later({ await self.saved(count) }, on: executor)
        case .failure(.failed(let errno)): return .failed(errno)
        case .failure(let pause):
            let copy = Array(data)
            return .later {
                let isSynchronous = await self.resume({ (state) throws(Pause) in
                    var outcome: Result<Bool, Pause> = .success(false)
                    copy.withUnsafeBytes { data in
                        outcome = Result { () throws(Pause) in
                            try state.write(data, through: handle, offset: offset, appends: appends, by: caller)
                        }
                    }
                    return try outcome.get()
                }, after: pause)
                if appends { self.tellOfMovedEnds() }
                switch isSynchronous {
                case .success(false): return .success(count)
                case .success(true): return await self.saved(count)
                case .failure(let errno): return .failure(errno)
                }
            }
        }
    }

    /// The kernel keeps what it appended where it took the end to be.
    private func tellOfMovedEnds() {
        let moved = update { state in
            defer { state.movedEnds = [] }
            if !state.movedEnds.isEmpty { state.tellings += 1 }
            return state.movedEnds
        }
        if !moved.isEmpty { tell(moved) }
    }

    private func saved(_ count: Int) async -> Result<Int, Errno> { await save().ofWhatIsDone.map { count } }

    public func sync(_ handle: Handle, dataOnly: Bool) -> Outcome<Void> {
        if current({ $0.handles.isExpired(handle) }) { return .failed(.staleNFSFileHandle) }
        let outcome = syncAll()
        guard case .later = outcome else { return outcome }
        return .later({ await self.savedForReaders(handle) }, on: executor)
    }

    public func syncDirectory(_ handle: Handle) -> Outcome<Void> { syncAll() }

    /// The whole prefix of operations is saved, not this file alone: order survives a crash (protocol.md section 4).
    public func syncAll() -> Outcome<Void> {
        let (isSaved, failure) = update { ($0.committedOperations >= $0.operations, $0.failure) }
        if let failure { return .failed(failure) }
        return isSaved ? .done(()) : .later({ await self.save() }, on: executor)
    }

    /// Returns once everything acknowledged until now is in a chosen root and every block of it on disk.
    public func save() async -> Result<Void, Errno> {
        let (operations, committed) = update { ($0.operations, $0.committedOperations) }
        guard operations > committed else { return .success(()) }
        let outcome = await patiently(upTo: options.timeout, on: executor) {
            await self.committer.wait(for: operations, of: self)
        }
        // Given up: the data stays, and the next commit tries again.
        return outcome ?? .failure(Task.isCancelled ? .interrupted : .ioError)
    }

    public func copyRange(
        from source: Handle, offset: UInt64, to target: Handle, offset targetOffset: UInt64, count: UInt64,
        by caller: Caller
    ) -> Outcome<Int> {
        // A short count is a valid answer; the caller comes back for the rest.
        let count = Int(min(count, 1 << 20))
        let copied = perform { (state) throws(Pause) in
            guard let from = state.handles.files[source], state.handles.files[target] != nil else {
                throw .failed(.badFileDescriptor)
            }
            let data = try state.bytes(of: from.inode, offset: offset, count: count).joined
            var outcome: Result<Bool, Pause> = .success(false)
            data.withUnsafeBytes { data in
                outcome = Result { () throws(Pause) in
                    try state.write(data, through: target, offset: targetOffset, by: caller)
                }
            }
            return (count: data.count, isSynchronous: try outcome.get())
        }
        if case .done(let copied) = copied, !copied.isSynchronous { return .done(copied.count) }
        return copied.followed(on: executor) { $0.isSynchronous ? await self.saved($0.count) : .success($0.count) }
    }
}

extension OpenFlags {
    /// Whether the owner opens a file as its mode lets the owner do, in whatever folder.
    fileprivate func areGranted(to caller: Caller, on file: Attributes) -> Bool {
        let wanted: UInt16 = (contains(.read) ? 0o400 : 0) | (contains(.write) || contains(.truncate) ? 0o200 : 0)
        return file.type == .regular && file.user == caller.user && file.permissions & wanted == wanted
    }
}

extension VolumeState {
    fileprivate mutating func emptyIfAsked(
        _ attributes: Attributes, _ flags: OpenFlags, by caller: Caller
    ) throws(Pause) -> Attributes {
        // POSIX: the times of the content move also when there was none.
        guard flags.contains(.truncate), attributes.type == .regular else { return attributes }
        var changes = AttributeChanges()
        changes.size = 0
        return try setAttributes(of: attributes.inode, to: changes, by: caller)
    }

    /// Returns whether the descriptor wants every write on disk before it returns (O_SYNC).
    fileprivate mutating func write(
        _ data: UnsafeRawBufferPointer, through handle: Handle, offset: UInt64, appends: Bool = false, by caller: Caller
    ) throws(Pause) -> Bool {
        guard let file = handles.files[handle], file.flags.contains(.write) else { throw .failed(.badFileDescriptor) }
        var place = offset
        if appends {
            // Only with the lease is it the newest end.
            try requireWritable()
            place = try read { (transaction) throws(Interruption) in try transaction.attributes(of: file.inode).size }
        }
        try write(data, to: file.inode, offset: place, by: caller)
        if place != offset { movedEnds.insert(file.inode) }
        return file.flags.contains(.synchronous)
    }
}
extension Volume: FileSystemOperations {}
