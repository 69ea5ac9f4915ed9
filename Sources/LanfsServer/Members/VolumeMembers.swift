import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import LanfsStore
import Logging
import NIOCore
import Synchronization
import SystemPackage

/// The shell around `MemberCore` for one volume: knows the members, keeps a connection to each, carries out what the
/// core decides, and answers what the others ask (LanfsProtocol/Repair/README.md says what it promises).
///
/// Nothing happens, and nothing is paid, while this server is the only member. The lock is held for computing only;
/// what waits for the disk runs on `DiskThreads`, and the core is never called on an event loop.
final class VolumeMembers: Sendable {
    struct Copy: Hashable {
        var block: BlockID
        var target: ServerID
    }

    /// A copy from another member that is not on disk yet.
    struct Arrival {
        let order: CopyOrder
        let outcome: CopyOutcome
        let answer: @Sendable (CopyOutcome) -> Void
    }

    struct State {
        var book: MemberBook
        /// As it is on disk.
        var savedBook: MemberBook
        /// `nil`: there is nobody else.
        var core: MemberCore?
        var links: [ServerID: ServerLink] = [:]
        /// Why they last turned this server away, so that the log says it once.
        var refusals: [ServerID: String] = [:]
        /// Copies that the core has not taken back.
        var copies: Set<Copy> = []
        var arrived: [Arrival] = []
        /// A thread waits for the disk, for those before.
        var isSettling = false
        var swept: SweptBlocks
        var isSweptSaved = true
        var lastSave = Duration.zero
        var news = MemberNews()
        var meter = RepairMeter()
        var ticker: Task<Void, Never>?
        var isStopped = false
    }

    let volume: VolumeID
    let blocks: BlockStore
    let context: MemberContext
    let state: Mutex<State>
    private let bookFile: FollowingFile
    private let sweptFile: FollowingFile
    private let origin = ContinuousClock.now

    /// Reads what an earlier process knew. Blocks.
    init(_ volume: VolumeID, blocks: BlockStore, context: MemberContext) {
        self.volume = volume
        self.blocks = blocks
        self.context = context
        bookFile = FollowingFile(blocks.folder.appending("members"), logger: context.logger)
        sweptFile = FollowingFile(blocks.folder.appending("swept"), logger: context.logger)
        var book = MemberBook()
        // A day at least, however short quarantine is: somebody may be away for longer than that.
        var swept = SweptBlocks(memory: max(context.quarantine, .seconds(24 * 3600)))
        do throws(DecodingError) {
            if let file = bookFile.read(limit: MemberBook.sizeLimit) { book = try MemberBook(encoded: file) }
            if let file = sweptFile.read(limit: 16 << 20) { try swept.restore(encoded: file, now: .zero) }
        } catch {
            // Clients and the other members say it again; what was swept comes back at worst as garbage.
            context.logger.warning("damaged, starting anew: \(error)", metadata: ["volume": "\(volume)"])
        }
        state = Mutex(State(book: book, savedBook: book, swept: swept))
    }

    var now: Duration { origin.duration(to: .now) }

    // MARK: Who is a member

    /// Connects to whoever is known, if this server listens already.
    func start() { follow([]) }

    /// Takes the record and the addresses that a client or another member sent; false if the record is not the volume's.
    /// Blocks.
    func introduced(_ record: RootRecord, _ endpoints: [MemberEndpoints]) -> Bool {
        guard learn(record) else { return false }
        let fresh = state.withLock { state in endpoints.filter { state.book.note($0.addresses, of: $0.server) } }
        if !fresh.isEmpty { follow(fresh) }
        return true
    }

    /// Takes a record that anybody may have sent; false if it is not the volume's. Blocks.
    func learn(_ record: RootRecord) -> Bool {
        // An older one changes nothing, whoever signed it; without any, it decides who gets in.
        let isNewer = state.withLock { $0.book.isOlder(than: record) }
        if record.volume != volume { return false }
        if isNewer {
            guard record.isSigned(for: volume, RegisterVerifier()) else { return false }
            chosen(record)
        }
        return true
    }

    /// Takes a record of the own keeper or one whose signature is checked. Blocks.
    func chosen(_ record: RootRecord) {
        if state.withLock({ $0.book.take(record) }) { follow([]) }
    }

    /// Whether it is to be listened to.
    func isMember(_ server: ServerID) -> Bool { state.withLock { $0.book.isMember(server) } }

    /// Makes links, core and file what the book says.
    private func follow(_ found: [MemberEndpoints]) {
        let now = now
        let (old, effects) = state.withLock { state -> ([ServerLink], [MemberCore.Effect]) in
            guard !state.isStopped, context.own.known != nil else { return ([], []) }
            let others = state.book.others(of: context.server)
            let old = state.links.filter { !others.contains($0.key) }
            for server in old.keys { state.links[server] = nil }
            for server in others where state.links[server] == nil { state.links[server] = link(server, state.book) }
            return (Array(old.values), adjust(&state, isAlone: others.isEmpty, now))
        }
        for link in old { link.close() }
        for known in found {
            let endpoints = known.addresses.compactMap { Endpoint($0, defaultPort: 0) }
            state.withLock { $0.links[known.server] }?.found(at: endpoints)
        }
        saveBook()
        perform(effects)
    }

    private func adjust(_ state: inout State, isAlone: Bool, _ now: Duration) -> [MemberCore.Effect] {
        guard let config = state.book.config, !isAlone else {
            state.core = nil
            state.copies = []
            state.ticker?.cancel()
            state.ticker = nil
            return []
        }
        if state.core != nil { return state.core?.reconfigure(config, now: now) ?? [] }
        state.core = MemberCore(
            server: context.server, incarnation: .random(in: 0...UInt128.max), config: config,
            options: context.options, now: now)
        state.news = MemberNews()
        state.ticker = Task { [weak self, interval = context.options.timing.heartbeat] in
            repeat { self?.tick() } while (try? await Task.sleep(for: interval)) != nil && self != nil
        }
        return []
    }

    // MARK: Connections

    private func link(_ server: ServerID, _ book: MemberBook) -> ServerLink {
        let search = MemberSearch(server, of: volume, context)
        let endpoints = (book.addresses[server] ?? []).compactMap { Endpoint($0, defaultPort: 0) }
        let configuration = ServerLink.Configuration(
            server: server, endpoints: endpoints, resolve: { await search.run() },
            onConnect: { [weak self] connection throws(NetworkError) in try await self?.greet(connection) })
        return ServerLink(configuration, pins: context.pins, group: context.group)
    }

    private func greet(_ connection: RPCConnection) async throws(NetworkError) {
        guard let record = state.withLock({ $0.book.record }) else { return }
        let answer = try await connection.call(.member(volume: volume, record: record)).response
        if case .refused(let refusal) = answer {
            let error = NetworkError.refused(server: fingerprint(of: connection.server.bytes), reason: refusal.detail)
            let isNews = state.withLock {
                $0.refusals.updateValue(refusal.detail, forKey: connection.server) != refusal.detail
            }
            if isNews { context.logger.warning("\(error)", metadata: ["volume": "\(volume)"]) }
            throw error
        }
        state.withLock { $0.refusals[connection.server] = nil }
        context.threads.flush { [weak self] in self?.reached(connection) }
        // One that was set up anew knows nobody, and nobody else need come by.
        let others = state.withLock { $0.book.endpoints }.filter { $0.server != context.server }
        let endpoints = others + [MemberEndpoints(server: context.server, addresses: context.own.known ?? [])]
        _ = try await connection.call(.introduce(record: record, endpoints: endpoints))
    }

    /// It has connected to this server, so it can be reached: there is no reason to wait any longer.
    func cameBy(_ server: ServerID) { state.withLock { $0.links[server] }?.found(at: []) }

    /// Where it is, it is looked for first the next time.
    private func reached(_ connection: RPCConnection) {
        if state.withLock({ $0.book.note([connection.address], of: connection.server) }) { saveBook() }
    }

    private func saveBook() {
        bookFile.follow {
            state.withLock { state in
                guard state.book != state.savedBook else { return nil }
                state.savedBook = state.book
                return state.book.encoded
            }
        }
    }

    /// Asks over the connection there is; `answered` runs on a worker, with `nil` when there was none or it broke.
    func ask(
        _ message: MemberMessage, payload: ByteBuffer? = nil, of member: ServerID,
        _ answered: @escaping @Sendable (Reply?) -> Void
    ) {
        let threads = context.threads
        guard let connection = state.withLock({ $0.links[member] })?.current else {
            return threads.work { answered(nil) }
        }
        connection.call(.ask(message), payload: payload) { result in
            let reply = try? result.get()
            // Most heartbeats: nobody has to be woken for it.
            if case .done? = reply?.response, case .heartbeat = message { return }
            threads.work { answered(reply) }
        }
    }

    // MARK: The core

    /// Computes with the core, if there is one, says in the log what is new, and carries out what it decides.
    func decide(_ body: (inout MemberCore, Duration) -> [MemberCore.Effect]) {
        let now = now
        let (effects, lines) = state.withLock { state -> ([MemberCore.Effect], [Logger.Message]) in
            guard !state.isStopped, var core = state.core.take() else { return ([], []) }
            let effects = body(&core, now)
            state.core = core
            return (effects, state.news.look(at: core, now: now))
        }
        for line in lines { context.logger.info(line, metadata: ["volume": "\(volume)"]) }
        perform(effects)
    }

    private func tick() {
        var heartbeat: Heartbeat?
        decide { core, now in
            let (next, effects) = core.tick(nonce: .random(in: 0...UInt128.max), now: now)
            heartbeat = next
            return effects
        }
        let others = state.withLock { state in
            state.swept.forget(now)
            return Array(state.links.keys)
        }
        guard let heartbeat else { return }
        for member in others {
            ask(.heartbeat(heartbeat), of: member) { [weak self] reply in
                // It goes by a newer configuration.
                if case .record(let record)? = reply?.response { _ = self?.learn(record) }
            }
        }
    }

    // MARK: Blocks that go

    /// A free or a sweep named these, held here or not (G5, G8).
    func removed(_ named: [BlockID], cutoff: UInt64) {
        let now = now
        let isShared = state.withLock { state in
            guard state.core != nil else { return false }
            state.swept.note(named, cutoff: cutoff, now: now)
            state.isSweptSaved = false
            return true
        }
        if isShared { withdraw(blocks.missing(of: named)) }
    }

    func withdraw(_ gone: [BlockID]) {
        if !gone.isEmpty { decide { core, _ in core.withdraw(gone) } }
    }

    // MARK: For people

    /// `nil`: nobody has said who the members are.
    var status: MembershipStatus? {
        let now = now
        return state.withLock { state in
            guard let record = state.book.record else { return nil }
            let members = record.config.servers.filter { $0.state != .gone }
            let view = state.core?.view
            // One more than is known while the rest is being looked for: nobody shall take it for all well.
            let waiting = (state.core?.waiting ?? 0) + (state.core?.isLooking ?? false ? 1 : 0)
            return MembershipStatus(
                epoch: record.epoch, configVersion: record.config.version,
                members: members.map {
                    .init(
                        server: $0.server,
                        health: $0.server == context.server ? .alive : view?.health(of: $0.server) ?? .suspect)
                },
                copiesWaiting: UInt32(clamping: waiting),
                copiesUnderWay: UInt32(clamping: state.core?.copying ?? 0), repairRate: state.meter.rate(now: now),
                isDraining: members.contains { $0.server == context.server && $0.state == .draining })
        }
    }

    // MARK: The end

    /// Says goodbye to everybody and decides nothing any more.
    func stop() {
        let links = state.withLock { state in
            state.isStopped = true
            state.ticker?.cancel()
            state.ticker = nil
            defer { state.links = [:] }
            return Array(state.links.values)
        }
        for link in links { link.close() }
    }

    /// Puts what was swept on disk, if something is new; once a minute, because the file can be 3 MiB long, and what a
    /// crash takes costs no more than garbage. Blocks.
    func saveSwept(isLast: Bool = false) {
        let now = now
        sweptFile.follow {
            state.withLock { state in
                guard !state.isSweptSaved, isLast || now - state.lastSave >= .seconds(60) else { return nil }
                state.isSweptSaved = true
                state.lastSave = now
                return state.swept.encoded(now: now)
            }
        }
    }
}

extension Optional {
    /// What is there, leaving nothing: so that a value is changed in place and not copied.
    fileprivate mutating func take() -> Wrapped? {
        defer { self = nil }
        return self
    }
}
