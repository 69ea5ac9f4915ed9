import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore
import Synchronization

/// The servers of an open volume, each with its link: at first those where the volume was looked for, then those that the
/// newest config names.
final class Servers: Sendable {
    /// What every connection needs.
    struct Setting: Sendable {
        let volume: VolumeID
        let key: VolumeKey
        let pins: ServerPins
        let eventLoop: any EventLoop
        let surroundings: Surroundings
        /// As in `Request.open`.
        var isTransfer = false
        let log: Logger
    }

    fileprivate struct State {
        var lanes: [ServerID: ServerLane] = [:]
        /// The newest chosen record, as far as it has been heard of.
        var newest: RootRecord?
        var placement = Placement()
        var report: (@Sendable (ServerLane, ServerLane.Report) -> Void)?
        var isClosed = false
        var isWatched = false
        /// People were told that the root cannot be moved.
        var lacksKeepers = false
    }

    let setting: Setting
    let begun = ContinuousClock.now
    /// Servers coming and going.
    let changes: Changes
    /// Where what waits for servers best waits.
    let executor: EventLoopExecutor
    private let state = Mutex(State())

    init(_ setting: Setting) {
        self.setting = setting
        executor = EventLoopExecutor(setting.eventLoop)
        changes = Changes(on: setting.eventLoop)
    }

    var eventLoop: any EventLoop { setting.eventLoop }
    /// In the order of their ids.
    var lanes: [ServerLane] { state.withLock { $0.lanes.values.sorted { $0.server < $1.server } } }
    var placement: Placement { state.withLock { $0.placement } }
    func lane(of server: ServerID) -> ServerLane? { state.withLock { $0.lanes[server] } }

    /// The server that is all of the volume, its only keeper included.
    var alone: ServerLane? { state.withLock { $0.placement.alone } }
    var isClosed: Bool { state.withLock { $0.isClosed } }
    var isReachable: Bool { lanes.contains { $0.connection != nil } }
    func names(of servers: [ServerID]) -> String {
        servers.map { lane(of: $0)?.link.name ?? fingerprint(of: $0.bytes) }.joined(separator: ", ")
    }
    var awayNames: String { lanes.filter { $0.connection == nil }.map(\.link.name).joined(separator: ", ") }
    /// Bytes that may be on their way before writers have to wait: the slowest server that is used decides.
    var window: Int {
        let lanes = lanes
        return (lanes.filter(\.isWilling).map(\.window).min() ?? lanes.map(\.window).min()) ?? .max
    }

    /// Who hears what becomes of blocks on their way; one.
    func reportUploads(_ report: @escaping @Sendable (ServerLane, ServerLane.Report) -> Void) {
        state.withLock { $0.report = report }
    }

    // MARK: Who they are

    /// A server where the volume may be.
    func add(_ place: VolumeServer) { state.withLock { _ = $0.add(place, self) } }

    /// Makes links to these, if there are none.
    func reach(_ servers: [ServerID]) {
        state.withLock { state in
            guard !state.isClosed else { return }
            for server in servers { _ = state.add(server, self) }
        }
    }

    /// The members as of `record`, which is chosen. A link to one that left is closed. Who they are changes rarely, and is all
    /// that the servers have to be told: nearly all commits end here.
    func follow(_ record: RootRecord) {
        let gone = state.withLock { state -> [ServerLane]? in
            guard !state.isClosed, state.newest.map({ record.isNewer(than: $0) }) ?? true else { return nil }
            let isSame = state.newest?.config == record.config && state.newest?.epoch == record.epoch
            state.newest = record
            guard !isSame else { return nil }
            for member in record.config.servers where member.state != .gone { _ = state.add(member.server, self) }
            state.placement = Placement(record.config, state.lanes)
            let gone = state.lanes.filter { id, _ in
                !record.config.servers.contains { $0.server == id && $0.state != .gone }
            }
            for id in gone.keys { state.lanes[id] = nil }
            return Array(gone.values)
        }
        guard let gone else { return }
        for lane in gone { lane.link.close() }
        introduce()
        changes.happened()
    }

    func close() {
        let lanes = state.withLock { state in
            state.isClosed = true
            return Array(state.lanes.values)
        }
        for lane in lanes { lane.link.close() }
        changes.happened()
    }

    /// From now on people are told of servers that come and go.
    func watch() { state.withLock { $0.isWatched = true } }

    fileprivate func watches(_ link: ServerLink) -> Bool { state.withLock { $0.isWatched && $0.lanes[link.server] != nil } }

    /// Where they are now: the next mount tries there first, without waiting for a broadcast's answers.
    func rememberAddresses() {
        for lane in lanes { rememberAddress(of: lane.link) }
    }

    fileprivate func rememberAddress(of link: ServerLink) {
        guard let endpoint = link.current.flatMap({ Endpoint($0.address, defaultPort: 0) }) else { return }
        do {
            try setting.pins.keep([endpoint], of: link.server)
        } catch {
            setting.log.warning("\(error)")
        }
    }

    fileprivate func heard(of lane: ServerLane, _ report: ServerLane.Report) {
        state.withLock { $0.report }?(lane, report)
        if case .moved = report {
            changes.happened()
            noteKeepers()
            introduce(lane)
        }
    }

    /// One line when changes have to wait for keepers, one when they go on. Connections that are just being made, or made
    /// again, are no news.
    private func noteKeepers() {
        if state.withLock({ $0.lacksKeepers }) {
            tellOfKeepers()
        } else {
            eventLoop.scheduleTask(in: .seconds(2)) { [weak self] in self?.tellOfKeepers() }
        }
    }

    private func tellOfKeepers() {
        let watched = state.withLock { state in
            state.isWatched && !state.isClosed && !state.placement.isAlone ? state.newest?.newestConfig.keepers : nil
        }
        guard let keepers = watched else { return }
        let away = keepers.members.filter { lane(of: $0)?.connection == nil }
        let lacks = keepers.members.count - away.count < keepers.quorum
        let isNews = state.withLock { state in
            defer { state.lacksKeepers = lacks }
            return state.lacksKeepers != lacks
        }
        guard isNews else { return }
        if lacks {
            setting.log.warning(
                "changes wait: \(keepers.quorum) of the \(keepers.members.count) servers that keep the volume's root have to agree, and too few can be reached. What is stored can be read. Start those that are away; if they are lost for good, 'lanfs mount --recover-force' goes on without them",
                metadata: ["away": "\(names(of: away))"])
        } else {
            setting.log.notice("changes are saved again: enough of the servers that keep the volume's root are there")
        }
    }

    /// Every connection begins with the proof of the volume's key.
    func opened(_ connection: RPCConnection) async throws(NetworkError) {
        let proof = setting.key.signingKey.sign(sessionProof(handshakeHash: connection.handshakeHash))
        let reply = try await connection.call(
            .open(volume: setting.volume, proof: proof, isTransfer: setting.isTransfer))
        if case .refused(let refusal) = reply.response {
            throw .refused(server: connection.address, reason: refusal.detail)
        }
    }

    // MARK: Introducing them to each other

    /// Tells all who the others are and where.
    private func introduce() {
        let lanes = lanes
        let endpoints = endpoints(of: lanes)
        for lane in lanes { introduce(endpoints, to: lane) }
    }

    /// A server came: it hears where the others are, and they where it is now.
    private func introduce(_ newcomer: ServerLane) {
        guard newcomer.connection != nil else { return }
        let others = lanes.filter { $0 !== newcomer }
        introduce(endpoints(of: others), to: newcomer)
        let its = endpoints(of: [newcomer])
        for lane in others { introduce(its, to: lane) }
    }

    /// Without an answer that matters.
    private func introduce(_ endpoints: [MemberEndpoints], to lane: ServerLane) {
        guard let connection = lane.connection, let record = state.withLock({ $0.newest }), record.config.servers.count > 1 else {
            return
        }
        connection.call(.introduce(record: record, endpoints: endpoints)) { _ in }
    }

    private func endpoints(of lanes: [ServerLane]) -> [MemberEndpoints] {
        lanes.map { lane in
            MemberEndpoints(
                server: lane.server,
                addresses: lane.link.current.map { [$0.address] } ?? setting.pins.endpoints(of: lane.server).map(\.description))
        }
    }

    // MARK: The register

    /// Whether enough keepers are there, as far as one knows, to say which root is the newest.
    func canAskKeepers(of record: RootRecord) -> Bool {
        let keepers = record.newestConfig.keepers
        return keepers.members.count { lane(of: $0)?.connection.map { !$0.isQuiet } ?? false } >= keepers.quorum
    }

    /// How the register's messages reach the keepers.
    func transport(_ blocks: BlockPool) -> RootRegister.Transport {
        { [self] server, request, completion in
            if let alone, alone.server == server {
                if case .accept = request.body { return blocks.commit(request, on: alone, completion) }
                return alone.link.call(.register(request)) { completion(RootRegister.Answer($0)) }
            }
            // It is asked again, and the others go on meanwhile.
            guard let lane = lane(of: server), let connection = lane.connection else { return completion(.lost) }
            if case .accept(let record, _) = request.body, let carried = blocks.carried(with: record) {
                return blocks.vote(request, with: carried, on: lane, completion)
            }
            connection.call(.register(request)) { completion(RootRegister.Answer($0)) }
        }
    }

    /// Returns once `count` of these are connected, or at `deadline`.
    func connect(_ count: Int, of servers: [ServerID], until deadline: ContinuousClock.Instant) async {
        while ContinuousClock.now < deadline {
            let changes = changes.count
            if servers.count(where: { lane(of: $0)?.connection != nil }) >= count { return }
            await self.changes.next(after: changes, until: deadline)
        }
    }
}

extension Servers.State {
    mutating func add(_ server: ServerID, _ servers: Servers) -> ServerLane {
        let surroundings = servers.setting.surroundings
        return add(
            VolumeServer(
                server: server, name: fingerprint(of: server.bytes), endpoints: servers.setting.pins.endpoints(of: server),
                capacity: 0, resolve: { await surroundings.resolve(server) }),
            servers)
    }

    mutating func add(_ place: VolumeServer, _ servers: Servers) -> ServerLane {
        if let lane = lanes[place.server] { return lane }
        let configuration = ServerLink.Configuration(
            server: place.server, name: place.name, endpoints: place.endpoints, resolve: place.resolve,
            onConnect: { [weak servers] (connection) async throws(NetworkError) in try await servers?.opened(connection) })
        let link = ServerLink(configuration, pins: servers.setting.pins, group: servers.eventLoop)
        let lane = ServerLane(link: link, executor: servers.executor) { [weak servers] in servers?.heard(of: $0, $1) }
        lanes[place.server] = lane
        let log = servers.setting.log
        Task { [weak servers, link] in
            var awaySince: ContinuousClock.Instant?
            // What is over within a moment is no news, like the first attempts to reach a server that was just taken in.
            var telling: Task<Bool, Never>?
            defer { telling?.cancel() }
            for await state in link.states() {
                guard let servers else { return }
                guard servers.watches(link) else { continue }
                switch state {
                case .connected:
                    servers.rememberAddress(of: link)
                    telling?.cancel()
                    if let since = awaySince, await telling?.value ?? false {
                        log.notice("the server \(link.name) is back after \((ContinuousClock.now - since).components.seconds) s")
                    }
                    awaySince = nil
                // Without a failure it is only being connected to.
                case .disconnected(let since, let failure?) where awaySince == nil:
                    awaySince = since
                    let rest =
                        servers.alone == nil
                        ? "the others go on without it" : "what is cached is still answered, the rest waits for it"
                    telling = Task {
                        guard (try? await Task.sleep(for: .seconds(1))) != nil else { return false }
                        log.warning("the server \(link.name) is away; \(rest)", metadata: ["reason": "\(failure)"])
                        return true
                    }
                case .refused(let error): log.error("\(error)")
                case .disconnected, .closed: break
                }
            }
        }
        return lane
    }
}

extension Servers {
    /// Which servers get new blocks.
    struct Placement: Sendable {
        private var ranks: BlockPlacement?
        private var active: [ServerID: ServerLane] = [:]
        /// All that are not gone, for readers.
        private(set) var members: [ServerLane] = []
        /// W (B2).
        private(set) var required = 1
        /// The keepers, where they are those that store blocks and few enough for each of them to get every small one.
        private(set) var voters: [ServerLane] = []
        private(set) var alone: ServerLane?

        fileprivate init() {}

        fileprivate init(_ config: VolumeConfig, _ lanes: [ServerID: ServerLane]) {
            let ranks = BlockPlacement(config)
            self.ranks = ranks
            for member in config.servers where member.takesBlocks {
                active[member.server] = lanes[member.server]
            }
            members = config.servers.filter { $0.state != .gone }.compactMap { lanes[$0.server] }
            required = max(1, config.requiredCopies)
            let keepers = config.keepers.members.compactMap { active[$0] }
            if keepers.count == config.keepers.members.count, keepers.count == active.count, keepers.count <= Int(config.replicas) + 1 {
                voters = keepers
            }
            if members.count == 1, let only = members.first, config.keepers.members == [only.server] { alone = only }
        }

        var isAlone: Bool { alone != nil }
        /// Those that take new blocks.
        var stores: some Collection<ServerLane> { active.values }
        func isActive(_ server: ServerID) -> Bool { active[server] != nil }

        /// Every server that takes new blocks, first choice first.
        func ranking(of block: BlockID) -> [ServerLane] {
            if let alone, isActive(alone.server) { return [alone] }
            return ranks?.ranking(of: block).compactMap { active[$0] } ?? []
        }

        /// Where a reader looks: at the R first in rank, the likeliest to answer soon first, then at all others (B4).
        func readers(of block: BlockID) -> [ServerLane] {
            let ranking = ranking(of: block)
            let first = ranking.prefix(ranks?.replicas ?? 1).sorted { $0.expectedAnswer < $1.expectedAnswer }
            let rest = ranking.dropFirst(first.count)
            return first + rest + members.filter { !isActive($0.server) }
        }
    }
}
