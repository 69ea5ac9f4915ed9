import LanfsFileSystem
import LanfsProtocol
import LanfsTree

/// What a recovery by force left behind (M3): the roots of servers that come back are pinned, and the audit and the dead lists
/// leave alone what those may reach that have not come back. `RecoveryWatch` and `RecoveryHold` decide.
extension Volume {
    /// While servers may still come back with a root that is not in the volume, asks those that are there what they have.
    func lookWhoComesBack() async throws(VolumeError) {
        guard let recovery = current({ $0.chain.contents.recoveries.newest }),
            try await recoveryWatch(of: recovery)?.isOver != true
        else { return }
        try await acquireLease()
        var standings: [ServerID: RegisterQueries.Standing] = [:]
        for server in recoveryMembers where servers.lane(of: server)?.connection != nil {
            standings[server] = await register.queries.standing(of: server)
        }
        try await takeNote(of: standings)
    }

    /// Before any of these records gives way: pins what is not in the volume, and notes who was seen.
    func takeNote(of shown: [ServerID: RegisterQueries.Standing]) async throws(VolumeError) {
        // Without a recovery there is one chain of roots, and these are in it.
        guard let recovery = current({ $0.chain.contents.recoveries.newest }) else { return }
        var standings: [ServerID: RecoveryWatch.Standing] = [:]
        var records: [(ServerID, RootRecord)] = []
        for (server, standing) in shown.sorted(by: { $0.key < $1.key }) {
            switch standing {
            case .record(let record, let epoch):
                records.append((server, record))
                // It may be the root of another volume by now for all that its epoch says: only its own contents tell.
                let isFollower = try open(record).recoveries.points.contains { $0.id == recovery.id }
                standings[server] = isFollower
                    ? .followed : .behind([record.config(in: epoch).keepers, record.newestConfig.keepers])
            case .empty: standings[server] = .empty
            case .amnesiac: standings[server] = .followed  // it has no vote (A5)
            }
        }
        try await keepLeftBehind(records)
        let known = try await recoveryWatch(of: recovery)
        var watch = known ?? RecoveryWatch(awaiting: recoveryMembers)
        guard !watch.isOver else { return }
        watch.note(standings, members: recoveryMembers)
        guard watch != known else { return }
        try await acquireLease()
        let recoveries = current { $0.chain.contents.recoveries }
        guard recoveries.newest == recovery else { throw .busy }
        // After the pins, or with them: never before.
        try await runToEnd { [watch] (state) throws(Pause) in
            try state.changeUncounted { (transaction) throws(Interruption) in
                transaction.setRecoveryWatch(watch, of: recovery.id)
                try transaction.forgetRecoveries(except: recoveries)
            }
        }
        if case .failure(let errno) = await commitHousekeeping() { throw .failed(errno) }
    }

    private var recoveryMembers: [ServerID] {
        current { $0.chain.record.newestConfig }.servers.filter { $0.state != .gone }.map(\.server)
    }

    /// Pins the roots that are not in the volume's chain: after this a chosen root names them.
    private func keepLeftBehind(_ shown: [(server: ServerID, record: RootRecord)]) async throws(VolumeError) {
        let signer = VolumeSigner(key: key.signingKey)
        let recoveries = current { $0.chain.contents.recoveries }
        var left: [(server: ServerID, root: PinnedRoot)] = []
        for (server, record) in shown
        where recoveries.relation(to: RollbackMemory(record, try open(record).recoveries, signer)) != .sameSide {
            left.append((server, PinnedRoot(record, record.hash(signer))))
        }
        let roots = left.map(\.root)
        let isKnown = try await runToEnd { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in
                var isKnown: [Bool] = []
                for root in roots { isKnown.append(try transaction.knows(root)) }
                return isKnown
            }
        }
        let new = zip(left, isKnown).filter { !$1 }.map(\.0)
        guard !new.isEmpty else { return }
        try await acquireLease()
        let newRoots = new.map(\.root)
        try await runToEnd { (state) throws(Pause) in
            try state.changeUncounted { (transaction) throws(Interruption) in
                for root in newRoots { try transaction.pin(root) }
            }
        }
        if case .failure(let errno) = await commitHousekeeping() { throw .failed(errno) }
        // It was dropped where the lease was lost meanwhile.
        let pinned = try await pinnedRoots().map(\.hash)
        guard newRoots.allSatisfy({ pinned.contains($0.hash) }) else { throw .busy }
        for (server, root) in new {
            log.warning(
                "the server \(servers.names(of: [server])) comes back with commit \(root.record.sequence), which is not in the volume since a recovery by force: that went on without it. It is kept as the snapshot \(root.name)")
        }
    }

    func recoveryWatch(of recovery: RecoveryPoint) async throws(VolumeError) -> RecoveryWatch? {
        try await runToEnd { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in try transaction.recoveryWatch(of: recovery.id) }
        }
    }

    func pinnedRoots() async throws(VolumeError) -> [PinnedRoot] {
        try await runToEnd { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in try transaction.pinnedRoots() }
        }
    }

    /// What a root keeps besides what it reaches itself.
    func whatElseIsKept(by root: AuditedRoot) async throws(VolumeError) -> (hold: RecoveryHold, pinned: [AuditedRoot]) {
        let (hold, pins) = try await runToEnd { (state) throws(Pause) in
            let transaction = Transaction(reading: root.tree, nodes: state.nodes)
            do throws(Interruption) {
                return (try transaction.recoveryHold(after: root.contents.recoveries), try transaction.pinnedRoots())
            } catch {
                throw Pause(error)
            }
        }
        var pinned: [AuditedRoot] = []
        for pin in pins { pinned.append(try await self.root(of: pin, within: .seconds(30))) }
        return (hold, pinned)
    }

    /// All that is needed to read a pinned root.
    ///
    /// - Parameter patience: for servers that are away.
    private func root(of pin: PinnedRoot, within patience: Duration?) async throws(VolumeError) -> AuditedRoot {
        do throws(VolumeError) {
            let contents = try open(pin.record)
            let (changes, blocks) = try await changes(since: contents, within: patience)
            while true {
                let outcome = attempt { (state) throws(Pause) in
                    var tree = Tree(root: contents.tree)
                    do throws(MissingNode) {
                        try tree.apply(changes, nodes: state.nodes)
                    } catch {
                        throw .node(error)
                    }
                    return tree
                }
                switch outcome {
                case .success(let tree):
                    return AuditedRoot(
                        record: pin.record, contents: contents, changeBlocks: blocks.map(\.block), tree: tree, patience: patience)
                case .failure(.node(let missing)):
                    let node = try await fetchNode(missing, within: patience)
                    update { $0.nodes.insert(missing.ref, node) }
                case .failure: throw .closed
                }
            }
        } catch .network(.deadlineExceeded) {
            throw .snapshotAway(pin.name)
        }
    }
}

// MARK: Snapshots, as people see them

extension Volume {
    /// From now on the volume is what it was at a pinned root.
    func show(snapshot name: String) async throws(VolumeError) {
        let root = try await self.root(of: try await pinnedRoot(named: name), within: nil)
        update { state in
            state.tree = root.tree
            state.showsSnapshot = true
        }
    }

    /// Keeps a snapshot no longer: what only it reaches goes with the audits that follow.
    public func dropSnapshot(_ name: String) async throws(VolumeError) {
        try await acquireLease()
        let pin = try await pinnedRoot(named: name)
        // It would be pinned again, and nothing is freed before.
        if let recovery = current({ $0.chain.contents.recoveries.newest }) {
            let awaited = try await recoveryWatch(of: recovery)?.awaited ?? []
            guard awaited.isEmpty else { throw .recoveryOpen(awaited: servers.names(of: awaited)) }
        }
        var redone: Int
        repeat {
            redone = try await runToEnd { (state) throws(Pause) in
                try state.changeWhenWritable { (transaction) throws(Interruption) in try transaction.unpin(pin) }
                return state.redone
            }
            if case .failure(let errno) = await save() { throw .failed(errno) }
        } while current { $0.redone } != redone
    }

    private func pinnedRoot(named name: String) async throws(VolumeError) -> PinnedRoot {
        let pins = try await pinnedRoots()
        guard let pin = pins.first(where: { $0.name == name }) else { throw .noSnapshot(name, known: pins.map(\.name)) }
        return pin
    }
}
