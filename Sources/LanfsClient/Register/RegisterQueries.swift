import LanfsProtocol

/// Where the register is: the keepers of an epoch.
struct RegisterPlace: Equatable, Sendable {
    let epoch: UInt64
    let keepers: Keepers

    init(epoch: UInt64, keepers: Keepers) {
        self.epoch = epoch
        self.keepers = keepers
    }

    init(of record: RootRecord) { self.init(of: record, in: record.epoch) }

    /// `record`: of that epoch, or the seal that opens it.
    init(of record: RootRecord, in epoch: UInt64) {
        self.init(epoch: epoch, keepers: record.config(in: epoch).keepers)
    }
}

/// Runs the register's one-shot questions: carries their messages and keeps their time until they end.
struct RegisterQueries: Sendable {
    /// For keepers that were away when their epoch began.
    private static let patience = Duration.seconds(60)
    /// After this long without an answer of the keepers that one knows others are asked who they are.
    private static let keepersPatience = Duration.seconds(2)
    /// Servers that may know more than is found are waited for so long.
    private static let laterPatience = Duration.seconds(5)

    let volume: VolumeID
    let sender: ProposerID
    let signer: VolumeSigner
    let servers: Servers
    let transport: RootRegister.Transport
    /// L4: where this client is registered as a session.
    private let session = Session()

    enum Event: Sendable {
        case answered(ServerID, RegisterRequest, RegisterResponse)
        case tick
        /// The connection ended before the answer.
        case lost
        case deadline
    }

    /// One event source and one clock for a question.
    struct Exchange: Sendable {
        let events: AsyncStream<Event>
        private let sink: AsyncStream<Event>.Continuation
        private let origin = ContinuousClock.now
        private let deadline: Task<Void, Never>?

        init(until deadline: ContinuousClock.Instant? = nil) {
            let (events, sink) = AsyncStream.makeStream(of: Event.self)
            self.events = events
            self.sink = sink
            self.deadline = deadline.map { deadline in
                Task {
                    try? await Task.sleep(until: deadline, clock: .continuous)
                    sink.yield(.deadline)
                }
            }
        }

        var now: Duration { ContinuousClock.now - origin }

        func end() { deadline?.cancel() }

        func send(_ request: RegisterRequest, to server: ServerID, by transport: RootRegister.Transport) {
            transport(server, request) { [sink] answer in
                sink.yield(answer.response.map { .answered(server, request, $0) } ?? .lost)
            }
        }

        func wake(at time: Duration) {
            Task { [sink, origin] in
                try? await Task.sleep(until: origin + time, clock: .continuous)
                sink.yield(.tick)
            }
        }
    }

    /// What a keeper knows.
    enum Standing: Equatable, Sendable {
        case empty
        case record(RootRecord, epoch: UInt64)
        /// It lost its memory and votes no more (A5).
        case amnesiac
    }

    /// `nil`: it does not answer, or not with what a keeper says.
    func standing(of server: ServerID, within patience: Duration = .seconds(3)) async -> Standing? {
        let exchange = Exchange(until: .now + patience)
        defer { exchange.end() }
        exchange.send(RegisterRequest(epoch: 1, sender: sender, body: .read(known: nil)), to: server, by: transport)
        for await event in exchange.events {
            guard case .answered(_, _, let response) = event else { return nil }
            switch response.verdict {
            // The epoch beside it is not signed.
            case .accepted(_, let record?) where record.belongs(to: response.epoch) && record.isSigned(for: volume, signer):
                return .record(record, epoch: response.epoch)
            case .refused(.uninitialized): return .empty
            case .refused(.amnesiac): return .amnesiac
            default: return nil
            }
        }
        return nil
    }

    /// Any record that `server` has of the volume, signed; `nil` when it has none.
    func anyRecord(of server: ServerID) async throws(VolumeError) -> RootRecord? {
        let request = RegisterRequest(epoch: 1, sender: sender, body: .read(known: nil))
        let exchange = Exchange()
        exchange.send(request, to: server, by: transport)
        for await event in exchange.events {
            guard case .answered(_, _, let response) = event else { throw .noServer }
            switch response.verdict {
            case .accepted(_, let record?), .refused(.wrongEpoch(let record)), .refused(.occupied(let record)):
                guard record.isSigned(for: volume, signer) else { throw .damaged("the root record of this server") }
                return record
            case .refused(.uninitialized): return nil
            case .refused(.amnesiac): throw .keeperLost(server)
            default: throw .damaged("the answer of the keeper")
            }
        }
        throw .closed
    }

    /// P4: the newest chosen root and the keepers it is at, starting from any record; the root is `nil` when a commit was
    /// left half done, which acquiring the lease completes. On the way every epoch that was sealed is ended (M2).
    ///
    /// - Parameter asSession: what other clients closed before is in it (L4). The first such question takes as long as it takes
    ///   whoever writes to save that, or, when he is gone, his lease to end.
    func newest(
        from record: RootRecord, in epoch: UInt64? = nil, asSession: Bool = false,
        until deadline: ContinuousClock.Instant? = nil
    ) async throws(VolumeError) -> Newest {
        var place = RegisterPlace(of: record, in: epoch ?? record.epoch)
        if record.opens(place.epoch) { try await open(record, until: deadline) }
        while true {
            servers.reach(place.keepers.members)
            // Where all must agree to a commit, one of them may know the newest.
            let enough = place.keepers.quorum == place.keepers.members.count ? 1 : place.keepers.quorum
            await servers.connect(enough, of: place.keepers.members, until: .now + .seconds(2))
            let found = try await read(at: place, asSession: asSession, until: deadline)
            switch found {
            case .chosen(let record, let isAlone):
                guard record.isSealed(in: place.epoch) else {
                    return Newest(place: place, chosen: record, isAlone: asSession && isAlone)
                }
                place = RegisterPlace(of: record, in: place.epoch + 1)
                try await open(record, until: deadline)
            case .stuck: return Newest(place: place, chosen: nil)
            case .moved(let record, let epoch):
                place = RegisterPlace(of: record, in: epoch)
                // It may have begun at some of its keepers only.
                if record.opens(epoch) { try await open(record, until: deadline) }
            }
        }
    }

    /// As `newest`, where `record` may be of keepers most of which are lost, or which a recovery by force left behind (M3) and
    /// who go on answering for their epoch: others of the servers may know who came after them.
    ///
    /// - Parameter remembered: what this machine has seen (F1): while less than that is found, servers that are away are
    ///   waited for.
    func newestAnywhere(
        from record: RootRecord, remembered: RollbackMemory?, until deadline: ContinuousClock.Instant
    ) async throws(VolumeError) -> Newest {
        servers.reach(record.newestConfig.servers.map(\.server))
        var found = try await newestOfAnybody(from: record, until: deadline)
        let patience = min(deadline, .now + Self.laterPatience)
        while true {
            let changes = servers.changes.count
            let isLess = remembered.map(found.isOlder) ?? false
            if let (later, epoch) = await laterRecord(
                than: found.place.epoch, within: isLess ? .seconds(3) : .milliseconds(500),
                unless: { isElsewhere($0, remembered) })
            {
                found = try await newest(from: later, in: epoch, until: deadline)
            } else if isLess, ContinuousClock.now < patience, servers.lanes.contains(where: { $0.connection == nil }) {
                await servers.changes.next(after: changes, until: patience)
            } else {
                return found
            }
        }
    }

    /// From the keepers that `record` leads to, or from those that others know of.
    private func newestOfAnybody(
        from record: RootRecord, until deadline: ContinuousClock.Instant
    ) async throws(VolumeError) -> Newest {
        let outcome = await withTaskGroup(of: Result<Newest, VolumeError>?.self) { group in
            group.addTask { await attempt(from: record, in: record.epoch, until: deadline) }
            group.addTask {
                guard (try? await Task.sleep(for: Self.keepersPatience)) != nil,
                    let (later, epoch) = await laterRecord(than: record.epoch)
                else { return nil }
                return await attempt(from: later, in: epoch, until: deadline)
            }
            var failure = VolumeError.timedOut
            for await outcome in group {
                switch outcome {
                case .success?:
                    group.cancelAll()
                    return outcome
                case .failure(let error)?: failure = error
                case nil: break
                }
            }
            return .failure(failure)
        }
        guard let outcome else { throw .timedOut }
        return try outcome.get()
    }

    private func attempt(
        from record: RootRecord, in epoch: UInt64, until deadline: ContinuousClock.Instant
    ) async -> Result<Newest, VolumeError> {
        do throws(VolumeError) {
            return .success(try await newest(from: record, in: epoch, until: deadline))
        } catch {
            return .failure(error)
        }
    }

    /// What a server that can be reached has accepted in the newest epoch after this one.
    func laterRecord(
        than epoch: UInt64, within patience: Duration = .seconds(3), unless isExcluded: (RootRecord) -> Bool = { _ in false }
    ) async -> (RootRecord, UInt64)? {
        let near = servers.lanes.filter { $0.connection != nil }
        return await withTaskGroup(of: Standing?.self) { group in
            for lane in near { group.addTask { await standing(of: lane.server, within: patience) } }
            var newest: (RootRecord, UInt64)?
            for await case .record(let record, let its)? in group where its > newest?.1 ?? epoch && !isExcluded(record) {
                newest = (record, its)
            }
            return newest
        }
    }

    /// Where the register is now, after however long it takes; `nil` once closed.
    func place(after record: RootRecord, in epoch: UInt64) async -> RegisterPlace? {
        while !servers.isClosed {
            do throws(VolumeError) {
                return try await newest(from: record, in: epoch).place
            } catch {
                servers.setting.log.debug("the keepers of a later epoch cannot be found yet: \(error)")
                try? await Task.sleep(for: .seconds(1))
            }
        }
        return nil
    }

    struct Newest: Sendable {
        let place: RegisterPlace
        let chosen: RootRecord?
        /// No other session reads or writes the volume, as far as one knows.
        var isAlone = false

        /// F1, as far as this tells without the root itself.
        func isOlder(than memory: RollbackMemory) -> Bool {
            place.epoch < memory.epoch || chosen.map { $0.sequence < memory.sequence } ?? false
        }
    }

    /// L4: this session does not count any more on what others close. Where a keeper does not hear it others wait for one more.
    func leave(_ place: RegisterPlace) {
        session.keep(SessionTickets(), in: place.epoch)
        let request = RegisterRequest(epoch: place.epoch, sender: sender, body: .leave)
        for keeper in place.keepers.members { transport(keeper, request) { _ in } }
    }

    private enum Found: Sendable {
        case chosen(RootRecord, isAlone: Bool), stuck, moved(RootRecord, epoch: UInt64)
    }

    private func read(
        at place: RegisterPlace, asSession: Bool, until deadline: ContinuousClock.Instant?
    ) async throws(VolumeError) -> Found {
        while true {
            if let found = try await readOnce(at: place, asSession: asSession, until: deadline) { return found }
            // The registration changed meanwhile, or somebody lies about it.
            try? await Task.sleep(for: .milliseconds(2))
        }
    }

    /// - Returns: `nil` when the session has to read again.
    private func readOnce(
        at place: RegisterPlace, asSession: Bool, until deadline: ContinuousClock.Instant?
    ) async throws(VolumeError) -> Found? {
        var read = FastRead(
            volume: volume, epoch: place.epoch, keepers: place.keepers, sender: sender,
            session: asSession ? session.tickets(in: place.epoch) : nil, verifier: signer)
        let exchange = Exchange(until: deadline)
        defer {
            exchange.end()
            if let tickets = read.session { session.keep(tickets, in: place.epoch) }
        }
        var effects = read.start(now: exchange.now)
        var events = exchange.events.makeAsyncIterator()
        while true {
            for effect in effects {
                switch effect {
                case .send(let server, let request): exchange.send(request, to: server, by: transport)
                case .wake(let time): exchange.wake(at: time)
                case .chosen(let record): return .chosen(record, isAlone: read.isAlone)
                case .stuck: return .stuck
                case .moved(let record, let epoch): return .moved(record, epoch: epoch)
                case .rejoin: return nil
                }
            }
            guard let event = await events.next(), !servers.isClosed else { throw .closed }
            switch event {
            case .answered(let server, _, let response):
                effects = read.answered(server, response, now: exchange.now)
            case .tick: effects = read.tick(now: exchange.now)
            case .lost: effects = []  // the clock asks again
            case .deadline: throw .timedOut
            }
        }
    }

    /// Brings a chosen seal to the keepers of the next epoch. Those that a quorum is not waiting for get it in the background.
    private func open(_ seal: RootRecord, until deadline: ContinuousClock.Instant?) async throws(VolumeError) {
        let next = RegisterPlace(of: seal, in: seal.epoch + 1).keepers.members
        servers.reach(next)
        await servers.connect(next.count, of: next, until: .now + .seconds(2))
        guard try await bring(seal, toAll: false, until: deadline) else { return }
        Task.detached { _ = try? await bring(seal, toAll: true, until: .now + Self.patience) }
    }

    /// - Returns: whether somebody is missing.
    private func bring(
        _ seal: RootRecord, toAll: Bool, until deadline: ContinuousClock.Instant?
    ) async throws(VolumeError) -> Bool {
        let place = RegisterPlace(of: seal, in: seal.epoch + 1)
        var keeperMove = KeeperMove(
            to: place.keepers, epoch: place.epoch, volume: volume, sender: sender, verifier: signer)
        let exchange = Exchange(until: deadline)
        defer { exchange.end() }
        // Who sealed goes on under its own ballots, and has the lease.
        let next = seal.ballot.proposer == sender ? seal.ballot.next(for: sender) : nil
        var effects = keeperMove.open(seal, next: next, now: exchange.now)
        var events = exchange.events.makeAsyncIterator()
        while true {
            for effect in effects {
                switch effect {
                case .send(let server, let request): exchange.send(request, to: server, by: transport)
                case .wake(let time): exchange.wake(at: time)
                case .complete: return false
                case .opened: if !toAll, !keeperMove.isOver { return true }
                case .refused(let server, let refusal):
                    servers.setting.log.debug("keeper \(server.hex.prefix(16)) cannot take the epoch: \(refusal.map { "\($0)" } ?? "it has it")")
                case .ready: break
                }
            }
            guard let event = await events.next(), !servers.isClosed else { throw .closed }
            switch event {
            case .answered(let server, let request, let response):
                effects = keeperMove.answered(server, request, response)
            case .tick: effects = keeperMove.tick(now: exchange.now)
            case .lost: effects = []  // the clock asks again
            case .deadline: throw .timedOut
            }
        }
    }

    /// F5: makes the volume's first record known to its keepers.
    func create(_ record: RootRecord) async throws(VolumeError) -> RootRecord {
        var creation = VolumeCreation(creating: record, sender: sender, verifier: signer)
        let exchange = Exchange()
        var effects = creation.start(now: exchange.now)
        var events = exchange.events.makeAsyncIterator()
        while true {
            for effect in effects {
                switch effect {
                case .send(let server, let request): exchange.send(request, to: server, by: transport)
                case .wake(let time): exchange.wake(at: time)
                case .created(let record): return record
                case .exists, .conflict: throw .alreadyExists(volume)
                case .refused(let server, .amnesiac): throw .keeperLost(server)
                case .refused(_, let refusal): throw .damaged("the first record, which the server refused (\(refusal)),")
                }
            }
            guard let event = await events.next() else { throw .closed }
            switch event {
            case .answered(let server, let request, let response):
                effects = creation.answered(server, request, response, now: exchange.now)
            case .tick: effects = creation.tick(now: exchange.now)
            case .lost, .deadline: effects = []  // the clock asks again
            }
        }
    }
}
