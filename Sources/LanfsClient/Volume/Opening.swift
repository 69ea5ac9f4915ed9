import Glibc
import LanfsCrypto
import LanfsFileSystem
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore
import SystemPackage

/// How to reach a server that may keep a volume.
public struct VolumeServer: Sendable {
    public var server: ServerID
    public var name: String
    public var endpoints: [Endpoint]
    /// Bytes it offers; its weight when blocks are placed.
    public var capacity: UInt64
    /// Where else it may be now, asked when the connection is lost.
    public var resolve: @Sendable () async -> [Endpoint]

    public init(
        server: ServerID, name: String, endpoints: [Endpoint], capacity: UInt64,
        resolve: @escaping @Sendable () async -> [Endpoint]
    ) {
        self.server = server
        self.name = name
        self.endpoints = endpoints
        self.capacity = capacity
        self.resolve = resolve
    }
}

extension Volume {
    /// Servers that do not answer for so long are not waited for when a volume is opened.
    private static let patience = Duration.seconds(15)

    /// Opens the volume of `key`, of which any of `places` can tell, and makes it at the first when it does not exist and
    /// `create` says so (F5).
    public static func open(
        key: VolumeKey, at places: [VolumeServer], create: Bool, options: VolumeOptions, pins: ServerPins,
        directories: UserDirectories, surroundings: Surroundings = Surroundings(), group: any EventLoopGroup, log: Logger
    ) async throws(VolumeError) -> Volume {
        guard let id = VolumeID(key.volumeID) else { throw .damaged("the volume key's public half") }
        let servers = Servers(
            .init(
                volume: id, key: key, pins: pins, eventLoop: group.next(), surroundings: surroundings,
                isTransfer: options.isTransfer, log: log))
        do throws(VolumeError) {
            let memory = try rootMemory(of: id, directories)
            let blocks = BlockPool(servers: servers, timeout: options.timeout, log: log)
            let transport = KeeperWatch(log: log).watching(servers.transport(blocks))
            let incarnation = randomNumber()
            let signer = VolumeSigner(key: key.signingKey)
            let queries = RegisterQueries(
                volume: id, sender: incarnation, signer: signer, servers: servers, transport: transport)
            let deadline = ContinuousClock.now + (options.timeout ?? patience)
            let record = try await record(id, key, places, create: create, options, memory, queries, until: deadline)

            let newest = try await newest(from: record, key, options, memory, queries, until: deadline)
            let place = newest.place
            let register = RootRegister(
                proposer: Proposer(
                    id: incarnation, volume: id, epoch: place.epoch, keepers: place.keepers, signer: signer),
                queries: queries, log: log, eventLoop: servers.eventLoop, fetch: { await blocks.takeUp($0, key) })
            var chosen = newest.chosen
            if chosen == nil { chosen = await register.acquire() }
            guard let chosen else { throw .closed }
            let contents = try contents(of: chosen, key: key)
            try check(chosen, contents, against: memory.newest, options, signer, servers)
            servers.follow(chosen)

            let state = VolumeState(
                chain: CommitChain(record: chosen, contents: contents), session: Incarnation(incarnation),
                nodeMemory: options.memory / 4, frameMemory: options.memory / 4 * 3, readOnly: options.readOnly)
            let sign = options.readOnly ? nil : try lifeSign(of: incarnation, id, directories)
            let volume = Volume(
                id: id, key: key, incarnation: incarnation, lifeSign: sign, servers: servers, directories: directories,
                blocks: blocks, register: register, memory: memory,
                options: options, state: state, log: log)
            try await volume.start(chosen)
            return volume
        } catch {
            servers.close()
            throw error
        }
    }

    /// P4; or, on a person's word, from too few keepers (M3).
    private static func newest(
        from record: RootRecord, _ key: VolumeKey, _ options: VolumeOptions, _ memory: RootMemory,
        _ queries: RegisterQueries, until deadline: ContinuousClock.Instant
    ) async throws(VolumeError) -> RegisterQueries.Newest {
        // Who has it now, when those that were found first know less.
        queries.servers.reach(memory.servers)
        guard let confirm = options.recovery else {
            return try await queries.newestAnywhere(from: record, remembered: memory.newest, until: deadline)
        }
        let seal = try await queries.recover(
            from: record, remembered: memory.newest, confirm: confirm
        ) { (sealed, point) throws(VolumeError) in
            var contents = try contents(sealed, key: key)
            contents.recoveries.add(point)
            return FrameSeal.seal(contents.encoded, key: key.treeKey, index: 0)
        }
        guard let seal else {
            queries.servers.setting.log.notice("nothing was recovered by force: enough of the volume's keepers answer")
            return try await queries.newestAnywhere(from: record, remembered: memory.newest, until: deadline)
        }
        return try await queries.newest(from: seal, in: seal.epoch + 1, until: deadline)
    }

    /// Any record of the volume; a new volume's first.
    private static func record(
        _ id: VolumeID, _ key: VolumeKey, _ places: [VolumeServer], create: Bool, _ options: VolumeOptions,
        _ memory: RootMemory, _ queries: RegisterQueries, until deadline: ContinuousClock.Instant
    ) async throws(VolumeError) -> RootRecord {
        guard let first = places.first else { throw .noServer }
        for place in places { queries.servers.add(place) }
        if let known = try await anyRecord(of: places.map(\.server), queries, until: deadline) { return known }
        guard create else { throw .unknownVolume(id) }
        guard memory.newest == nil else { throw .rolledBack("the server says that it has never seen the volume") }
        return try await queries.create(firstRecord(of: id, key, at: first, options, queries.sender))
    }

    /// What one server tells of a volume.
    private enum Hint: Sendable {
        case record(RootRecord)
        /// It keeps no record, and these are the servers of the volume, as far as it knows.
        case members([ServerID])
        case failed(VolumeError)
    }

    /// The first record that any of these shows, or any that they know of; `nil` when all that answer have none.
    private static func anyRecord(
        of places: [ServerID], _ queries: RegisterQueries, until deadline: ContinuousClock.Instant
    ) async throws(VolumeError) -> RootRecord? {
        let outcome = await withTaskGroup(of: Hint.self) { group in
            for place in places { group.addTask { await hint(of: place, queries, until: deadline) } }
            var asked = Set(places)
            var failure: VolumeError?
            var isUnknown = false
            for await hint in group {
                switch hint {
                case .record(let record):
                    group.cancelAll()
                    return Result<RootRecord?, VolumeError>.success(record)
                case .members(let members):
                    isUnknown = true
                    for member in members where asked.insert(member).inserted {
                        queries.servers.reach([member])
                        group.addTask { await Self.hint(of: member, queries, until: deadline) }
                    }
                case .failed(let error): failure = failure ?? error
                }
            }
            if !isUnknown, let failure { return .failure(failure) }
            return .success(nil)
        }
        return try outcome.get()
    }

    private static func hint(
        of place: ServerID, _ queries: RegisterQueries, until deadline: ContinuousClock.Instant
    ) async -> Hint {
        do throws(VolumeError) {
            guard let lane = queries.servers.lane(of: place) else { return .members([]) }
            try await waitUntilConnected(lane, until: deadline)
            if let record = try await queries.anyRecord(of: place) { return .record(record) }
            guard let reply = try? await lane.connection?.call(.status), case .status(let status) = reply.response else {
                return .members([])
            }
            return .members(status.membership?.members.map(\.server) ?? [])
        } catch {
            return .failed(error)
        }
    }

    private func start(_ record: RootRecord) async throws(VolumeError) {
        Task(executorPreference: executor) { [weak self, register] in
            for await event in register.events { self?.note(event) }
        }
        try await load(record)
        // What others have closed by now is to be seen (L4); for one that died with the lease nobody waits until it runs out.
        _ = try? await refreshRoot(within: .seconds(2))
        if let name = options.snapshot { try await show(snapshot: name) }
        try await refreshRoom()
        servers.rememberAddresses()
        if !options.readOnly {
            let path = SetAside.path(of: id, directories)
            if try SetAside.isThere(path) { try await takeUpInTime() }
            // With too few servers to write, reading must not wait for it.
            _ = await patiently(upTo: .seconds(10), on: nil) { await self.releaseDeadSessions() }
            if let copies = options.replicas { await keepCopies(copies) }
        }
        servers.watch()
        followRoot()
        if !options.readOnly {
            auditDaily()
            tendMembershipNowAndThen()
        }
        if record.sequence == 0, !options.readOnly { try await formatIfEmpty() }
    }

    /// What an earlier session could not save; with too few servers to write, reading must not wait for it for ever. Nobody
    /// writes before it is done.
    private func takeUpInTime() async throws(VolumeError) {
        let outcome = await patiently(upTo: .seconds(30), on: nil) { () async -> Result<Void, VolumeError> in
            do throws(VolumeError) {
                try await self.acquireLease()
                return .success(try await self.redoSetAside())
            } catch {
                self.log.error("work that an earlier session set aside is not saved yet: \(error)")
                return .failure(error)
            }
        }
        guard let outcome else {
            return log.warning(
                "changes wait until work of an earlier session is saved, for which too few servers can be reached. What is stored can be read")
        }
        try outcome.get()
    }

    /// A volume whose creator died between its first record and its first commit has no root directory yet.
    private func formatIfEmpty() async throws(VolumeError) {
        let caller = Caller(user: getuid(), group: getgid(), umask: 0, now: .now)
        try await runToEnd { (state) throws(Pause) in
            guard state.tree.isEmpty else { return }
            try state.changeWhenWritable { (transaction) throws(Interruption) in
                try transaction.format(permissions: 0o755, by: caller)
            }
        }
        if case .failure(let errno) = await save() { throw .failed(errno) }
    }

    /// Commits everything, gives the lease back and disconnects. What cannot be saved within `patience` is set aside on
    /// this machine.
    ///
    /// - Returns: what was kept here instead; `nil` when everything is saved.
    public func close(patience: Duration = .seconds(20)) async throws(VolumeError) -> KeptWork? {
        // Without a connection there is nothing to wait for: unmounting works at once.
        let patience = !servers.isReachable ? .milliseconds(200) : patience
        let isSaved = await patiently(upTo: patience, on: nil) {
            await self.releaseOwnOrphans()
            await self.releaseOwnLocks()
            return await self.save()
        }
        defer { abandon() }
        if case .success? = isSaved {
            if servers.isReachable {
                _ = await patiently(upTo: .seconds(2), on: nil) { await self.tidyUpAtTheEnd() }
                // A server that hangs must not make the next client wait for the lease to run out.
                _ = await patiently(upTo: .seconds(2), on: nil) { await self.register.releaseAndWait() }
            }
            endLifeSign()
            return nil
        }
        guard let path = try await setAside() else { return nil }
        let reason =
            if case .failure(.noSpace)? = isSaved {
                "the servers are full"
            } else if !servers.isReachable {
                "no server can be reached"
            } else {
                "too few servers took it within \(patience.components.seconds) s"
            }
        return KeptWork(path: path, reason: reason)
    }

    /// Disconnects without saving.
    public func abandon() {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        register.close()
        do {
            try memory.save()
        } catch {
            log.warning("\(error)")
        }
        // The release is on its way; the goodbye goes after it.
        servers.close()
    }

    /// F1; and who the servers are.
    func remember(_ record: RootRecord) {
        servers.follow(record)
        watch.follow(record)
        let members = record.config.servers.filter { $0.state != .gone }.map(\.server)
        let recoveries = current { $0.chain.contents.recoveries }
        guard memory.note(RollbackMemory(record, recoveries, VolumeSigner(key: key.signingKey)), at: members) else { return }
        // Not on the event loop, which this may run on.
        Task.detached { [memory, log] in
            do {
                try memory.save()
            } catch {
                log.warning("\(error)")
            }
        }
    }

    private static func rootMemory(
        of id: VolumeID, _ directories: UserDirectories
    ) throws(VolumeError) -> RootMemory {
        do throws(LocalFileError) {
            return try RootMemory(volume: id, directories: directories)
        } catch {
            throw .local(error)
        }
    }

    private static func lifeSign(
        of incarnation: UInt128, _ id: VolumeID, _ directories: UserDirectories
    ) throws(VolumeError) -> LifeSign {
        do throws(LocalFileError) {
            return try LocalSessions(volume: id, directories: directories).begin(Incarnation(incarnation))
        } catch {
            throw .local(error)
        }
    }

    private static func firstRecord(
        of id: VolumeID, _ key: VolumeKey, at server: VolumeServer, _ options: VolumeOptions, _ incarnation: UInt128
    ) -> RootRecord {
        let contents = RootContents(transaction: TransactionID(incarnation: incarnation, number: 0))
        let config = VolumeConfig(
            version: 1, servers: [Member(server: server.server, weight: Member.weight(capacity: server.capacity))],
            keepers: Keepers([server.server]), replicas: UInt8(clamping: options.replicas ?? 2))
        let ballot = Ballot(counter: 1, proposer: incarnation)
        return RootRecord(
            creating: id, config: config,
            contents: FrameSeal.seal(contents.encoded, key: key.treeKey, index: 0), ballot: ballot
        ).signed(ballot: ballot, VolumeSigner(key: key.signingKey))
    }

    private static func waitUntilConnected(
        _ lane: ServerLane, until deadline: ContinuousClock.Instant
    ) async throws(VolumeError) {
        do throws(NetworkError) {
            _ = try await lane.link.connection(wait: deadline - .now)
        } catch {
            throw .network(error)
        }
    }

    private static func randomNumber() -> UInt128 {
        randomBytes(16).reduce(0) { $0 << 8 | UInt128($1) }
    }
}

extension Timestamp {
    /// The wall clock, as files are stamped with it; nothing that keeps data safe depends on it.
    public static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }
}
