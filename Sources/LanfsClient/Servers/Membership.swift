import LanfsNetwork
import LanfsProtocol

extension Volume {
    private static let lookInterval = Duration.seconds(30)
    /// A server with less to give is not worth the trouble.
    private static let leastRoom: UInt64 = 64 << 20
    /// As many as a root record surely has room for.
    private static let memberLimit = 64

    /// While this client may write it takes in the servers that it finds (M1), sees to it that the root has as many keepers
    /// as it should (M3), and lets go of servers that are lost.
    func tendMembershipNowAndThen() {
        nowAndThen("the servers of the volume stay as they are for now") { (volume) throws(VolumeError) in
            try await volume.tendMembership()
        }
        // Which may walk all of the volume.
        nowAndThen("lost servers stay on the list for now", pauses: 20) { (volume) throws(VolumeError) in
            try await volume.removeLostServers()
        }
    }

    /// Every half a minute, while the lease is held.
    ///
    /// - Parameter pauses: how many times as long as it took it rests at the least.
    private func nowAndThen(
        _ failure: String, pauses: Int = 0, _ body: @escaping @Sendable (Volume) async throws(VolumeError) -> Void
    ) {
        Task { [weak self] in
            var next = ContinuousClock.now
            repeat {
                guard let self, !self.isClosed.load(ordering: .relaxed) else { return }
                guard self.register.isHeld, ContinuousClock.now >= next else { continue }
                let start = ContinuousClock.now
                do throws(VolumeError) {
                    try await body(self)
                } catch {
                    self.log.debug("\(failure): \(error)")
                }
                let now = ContinuousClock.now
                next = max(start + Self.lookInterval, now + (now - start) * pauses)
            } while (try? await Task.sleep(for: .seconds(1))) != nil
        }
    }

    func tendMembership() async throws(VolumeError) {
        try await lookWhoComesBack()
        try await takeInServers()
        try await followLosses(memberReports())
        try await moveKeepers()
    }

    // MARK: Servers

    private func takeInServers() async throws(VolumeError) {
        let config = current { $0.chain.record.newestConfig }
        let strangers = await servers.setting.surroundings.look().filter { place in
            !config.servers.contains { $0.server == place.server }
        }
        var next = config
        var names: [String] = []
        for place in strangers where next.servers.count < Self.memberLimit {
            guard let status = await servers.tryOut(place), status.membership?.isDraining != true,
                status.capacity == 0 || status.free >= Self.leastRoom
            else { continue }
            next.servers.append(Member(server: place.server, weight: status.weight))
            names.append(place.name)
            servers.add(place)
        }
        guard !names.isEmpty else { return }
        // What the first one lends was not always known when it made the volume.
        for (lane, status) in try await blocks.statuses() {
            guard let index = next.servers.firstIndex(where: { $0.server == lane.server }) else { continue }
            next.servers[index].weight = status.weight
        }
        next.servers.sort { $0.server < $1.server }
        next.version += 1
        try await change(.servers(next))
        guard current({ $0.chain.record.newestConfig }).version == next.version else { return }
        log.notice(
            "the volume is kept on \(next.servers.count) servers now",
            metadata: ["new": "\(names.joined(separator: ", "))", "copies": "\(next.requiredCopies)"])
        // Links to them are made by now: the keepers are chosen among those that answer.
        await servers.connect(
            next.servers.count, of: next.servers.map(\.server), until: .now + .seconds(2))
    }

    /// The next commit does it; made at once.
    func change(_ change: MembershipChange) async throws(VolumeError) {
        update { $0.membership = change }
        if case .failure(let errno) = await commitHousekeeping() { throw .failed(errno) }
    }

    // MARK: Keepers

    /// M2: seals the epoch when the next should have other keepers, or when one of them does not take part in this one. The
    /// register goes on by itself then.
    func moveKeepers() async throws(VolumeError) {
        let record = current { $0.chain.record }
        let config = record.newestConfig
        guard let epoch = register.place?.epoch else { throw .closed }
        let active = config.servers.filter { $0.state == .active }.map(\.server)
        guard active.count > 1 || config.keepers.members != active else { return }
        var standings: [ServerID: RegisterQueries.Standing] = [:]
        for server in active { standings[server] = await register.queries.standing(of: server) }

        let usable = active.filter { standings[$0].map { $0.isUsable(after: epoch) } ?? false }
        let lost = config.servers.filter { $0.state == .lost }.map(\.server)
        let away = Set(config.lost(by: try await memberReports(), known: record.config.version)).subtracting(standings.keys).union(lost)
        let stays = config.keepers.members.filter { (active + lost).contains($0) && standings[$0] != .amnesiac }
        let next = config.keepers.next(
            staying: stays, away: away, usable: usable, servers: active.count, lost: lost.count)
        // One that missed the beginning of this epoch is brought in by the next.
        let isBehind = stays.contains { standings[$0].map { $0.isBehind(epoch) } ?? false }
        guard next.members != config.keepers.members || isBehind else { return }
        // M2 (1).
        guard !next.members.isEmpty, next.members.allSatisfy(usable.contains) else { return }
        try await takeNote(of: standings)
        try await change(.keepers(next, version: config.version))
    }
}

extension RegisterQueries.Standing {
    /// M2 (1): its slot for the next epoch is empty.
    func isUsable(after epoch: UInt64) -> Bool {
        switch self {
        case .empty: true
        case .record(_, let its): its <= epoch
        case .amnesiac: false
        }
    }

    func isBehind(_ epoch: UInt64) -> Bool {
        switch self {
        case .empty: true
        case .record(_, let its): its < epoch
        case .amnesiac: false
        }
    }
}

extension ServerStatus {
    /// A server without room is a witness.
    fileprivate var weight: UInt16 { capacity == 0 ? 0 : Member.weight(capacity: capacity) }
}

extension RootRecord {
    /// The config in force, this record being chosen.
    var newestConfig: VolumeConfig { sealedNext.map { config.moved(to: $0) } ?? config }
}

extension Keepers {
    /// M3: as many as there are up to three, then three, from six on five.
    static func count(servers: Int) -> Int { servers < 3 ? servers : servers < 6 ? 3 : 5 }

    /// Those of the next epoch.
    ///
    /// - Parameters:
    ///   - stays: of these, those that may go on.
    ///   - away: servers that do not answer, lost ones included.
    ///   - usable: servers that may become keepers.
    ///   - servers: how many are active, and how many are lost and may come back.
    func next(
        staying stays: [ServerID], away: Set<ServerID>, usable: [ServerID], servers: Int, lost: Int
    ) -> Keepers {
        // A lost keeper gives way to another, not to nobody: it may come back.
        let least = min(Keepers.count(servers: servers + lost), members.count)
        let count = max(Keepers.count(servers: servers), least)
        func keepers(_ stays: [ServerID]) -> Keepers {
            Keepers(stays + usable.filter { !members.contains($0) }.prefix(max(0, count - stays.count)))
        }
        let next = keepers(stays.filter { !away.contains($0) })
        return next.members.count < least ? keepers(stays) : next
    }
}

extension Servers {
    /// Whether a server lets the volume in, and what it would lend; `nil` when it does not answer or does not want to.
    fileprivate func tryOut(_ place: VolumeServer) async -> ServerStatus? {
        do throws(NetworkError) {
            let connection = try await RPCConnection.connect(
                to: place.endpoints, server: place.server, pins: setting.pins, group: eventLoop)
            defer { connection.close() }
            try await opened(connection)
            guard case .status(let status) = try await connection.call(.status).response else { return nil }
            return status
        } catch {
            setting.log.debug("the server \(place.name) does not take part: \(error)")
            return nil
        }
    }
}
