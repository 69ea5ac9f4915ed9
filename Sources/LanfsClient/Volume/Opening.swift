import Glibc
import LanfsCrypto
import LanfsFileSystem
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore
import SystemPackage

/// How to reach the server that keeps a volume.
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
    /// Opens the volume of `key` at `server`, and makes it there when it does not exist and `create` says so (F5).
    public static func open(
        key: VolumeKey, at server: VolumeServer, create: Bool, options: VolumeOptions, pins: ServerPins,
        directories: UserDirectories, group: any EventLoopGroup, log: Logger
    ) async throws(VolumeError) -> Volume {
        guard let id = VolumeID(key.volumeID) else { throw .damaged("the volume key's public half") }
        let link = link(to: server, volume: id, key: key, pins: pins, group: group)
        do throws(VolumeError) {
            let memory = try rootMemory(of: id, directories)
            let blocks = BlockPool(link: link, timeout: options.timeout)
            let transport = transport(over: link, blocks)
            let incarnation = randomNumber()
            let queries = RegisterQueries(
                volume: id, sender: incarnation, signer: VolumeSigner(key: key.signingKey), transport: transport)
            try await waitUntilConnected(link, options)
            let known = try await queries.anyRecord(of: server.server)
            let isNew = known == nil
            guard !isNew || create else { throw .unknownVolume(id) }
            guard !isNew || memory.newest == nil else {
                throw .rolledBack("the server says that it has never seen the volume")
            }
            let record: RootRecord
            if let known { record = known } else { record = try await queries.create(firstRecord(of: id, key, at: server, incarnation)) }

            let signer = VolumeSigner(key: key.signingKey)
            let register = RootRegister(
                proposer: Proposer(
                    id: incarnation, volume: id, epoch: record.epoch, keepers: record.config.keepers, signer: signer),
                log: log, eventLoop: link.eventLoop, transport: transport)
            var chosen = try await queries.chosenRecord(near: record)
            if chosen == nil { chosen = await register.acquire() }
            guard let chosen else { throw .closed }
            try check(chosen, against: memory, signer)

            let state = VolumeState(
                chain: CommitChain(record: chosen, contents: try contents(of: chosen, key: key)),
                nodeMemory: options.memory / 4, frameMemory: options.memory / 4 * 3, readOnly: options.readOnly)
            let sign = options.readOnly ? nil : try lifeSign(of: incarnation, id, directories)
            let volume = Volume(
                id: id, key: key, incarnation: incarnation, lifeSign: sign, link: link, pins: pins, directories: directories,
                blocks: blocks, register: register, memory: memory,
                options: options, state: state, log: log)
            try await volume.start(chosen, queries)
            return volume
        } catch {
            link.close()
            throw error
        }
    }

    private func start(_ record: RootRecord, _ queries: RegisterQueries) async throws(VolumeError) {
        Task(executorPreference: executor) { [weak self, register] in
            for await event in register.events { self?.note(event) }
        }
        try await load(record)
        try await refreshRoom()
        rememberAddress()
        if !options.readOnly {
            try await takeUpSetAside()
            await releaseDeadSessions()
        }
        watchServer()
        followRoot(queries)
        if !options.readOnly { auditDaily() }
        if record.sequence == 0, !options.readOnly { try await formatIfEmpty() }
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

    /// The next mount tries here first, without waiting for a broadcast's answers.
    private func rememberAddress() {
        guard let endpoint = link.current.flatMap({ Endpoint($0.address, defaultPort: 0) }) else { return }
        do {
            try pins.keep([endpoint], of: link.server)
        } catch {
            log.warning("\(error)")
        }
    }

    /// Commits everything, gives the lease back and disconnects. What cannot be saved within `patience` is set aside on
    /// this machine.
    ///
    /// - Returns: where unsaved work was kept; `nil` when everything is saved.
    public func close(patience: Duration = .seconds(20)) async throws(VolumeError) -> FilePath? {
        // Without a connection there is nothing to wait for: unmounting works at once.
        let patience = link.current == nil ? .milliseconds(200) : patience
        let isSaved = await patiently(upTo: patience, on: nil) {
            await self.releaseOwnOrphans()
            return await self.save()
        }
        defer { abandon() }
        if case .success? = isSaved {
            if link.current != nil {
                _ = await patiently(upTo: .seconds(2), on: nil) {
                    await self.tidyUpAtTheEnd()
                    await self.register.releaseAndWait()
                }
            }
            endLifeSign()
            return nil
        }
        return try await setAside()
    }

    /// One line when the server goes away, one when it is back.
    private func watchServer() {
        Task { [weak self, link, log] in
            var awaySince: ContinuousClock.Instant?
            for await state in link.states() {
                guard self != nil else { return }
                switch state {
                case .connected:
                    if let since = awaySince {
                        log.notice("the server \(link.name) is back after \((ContinuousClock.now - since).components.seconds) s")
                    }
                    awaySince = nil
                case .disconnected(let since, let failure) where awaySince == nil:
                    awaySince = since
                    log.warning(
                        "the server \(link.name) is away; what is cached is still answered, the rest waits for it",
                        metadata: failure.map { ["reason": "\($0)"] } ?? [:])
                case .refused(let error): log.error("\(error)")
                case .disconnected, .closed: break
                }
            }
        }
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
        link.close()
    }

    /// F1.
    func remember(_ record: RootRecord) {
        guard memory.note(RollbackMemory(record, VolumeSigner(key: key.signingKey)), at: link.server) else { return }
        // Not on the event loop, which this may run on.
        Task.detached { [memory, log] in
            do {
                try memory.save()
            } catch {
                log.warning("\(error)")
            }
        }
    }

    private static func check(
        _ record: RootRecord, against memory: RootMemory, _ signer: VolumeSigner
    ) throws(VolumeError) {
        guard let newest = memory.newest else { return }
        switch newest.judge(record, signer) {
        case .same, .child, .newer: return
        case .rolledBack:
            throw .rolledBack("it shows commit \(record.sequence), and commit \(newest.sequence) was seen here before")
        case .forked: throw .rolledBack("its commit \(record.sequence) is not the one that was seen here before")
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
        of id: VolumeID, _ key: VolumeKey, at server: VolumeServer, _ incarnation: UInt128
    ) -> RootRecord {
        let contents = RootContents(transaction: TransactionID(incarnation: incarnation, number: 0))
        let config = VolumeConfig(
            version: 1, servers: [Member(server: server.server, weight: Member.weight(capacity: server.capacity))],
            keepers: Keepers([server.server]), replicas: 2)
        let ballot = Ballot(counter: 1, proposer: incarnation)
        return RootRecord(
            creating: id, config: config,
            contents: FrameSeal.seal(contents.encoded, key: key.treeKey, index: 0), ballot: ballot
        ).signed(ballot: ballot, VolumeSigner(key: key.signingKey))
    }

    // MARK: The way to the server

    private static func link(
        to server: VolumeServer, volume: VolumeID, key: VolumeKey, pins: ServerPins, group: any EventLoopGroup
    ) -> ServerLink {
        let configuration = ServerLink.Configuration(
            server: server.server, name: server.name, endpoints: server.endpoints, resolve: server.resolve,
            onConnect: { (connection) async throws(NetworkError) in
                let proof = key.signingKey.sign(sessionProof(handshakeHash: connection.handshakeHash))
                let reply = try await connection.call(.open(volume: volume, proof: proof))
                if case .refused(let refusal) = reply.response {
                    throw .refused(server: connection.address, reason: refusal.detail)
                }
            })
        return ServerLink(configuration, pins: pins, group: group)
    }

    private static func transport(over link: ServerLink, _ blocks: BlockPool) -> RootRegister.Transport {
        { _, request, completion in
            if case .accept = request.body { return blocks.commit(request, completion) }
            link.call(.register(request)) { completion(RootRegister.Answer($0)) }
        }
    }

    private static func waitUntilConnected(_ link: ServerLink, _ options: VolumeOptions) async throws(VolumeError) {
        do throws(NetworkError) {
            _ = try await link.connection(wait: options.timeout ?? .seconds(15))
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
