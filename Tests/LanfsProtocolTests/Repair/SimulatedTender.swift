@testable import LanfsProtocol

/// The lease holder's care for servers that stay away (M1, B6): it asks one server after the other what it has.
struct SimulatedTender {
    var proof: CopyProof?
    /// What the walked root reaches, and how many servers have said that they have it.
    var asked: [BlockID] = []
    var words: [BlockID: Int] = [:]
    var unasked: [Int] = []
    var roots = 0
    var begun: Int64 = 0
    /// What the proof's first root reaches.
    var reached: Set<BlockID> = []
}

extension RepairWorld {
    mutating func tend() throws {
        push(.tend, in: Int64(500 + random.below(3000)) * Self.millisecond)
        let reports = config.servers.compactMap { member -> MemberReport? in
            guard let place = places[member.server], servers[place].isUp, !servers[place].isPaused,
                isHealed || !random.chance(misjudgement)
            else { return nil }
            return MemberReport(server: member.server, membership: membership(place))
        }
        let next = config.following(reports)
        if next != config {
            counts[.losses] += zip(config.servers, next.servers).count { $0.state == .active && $1.state == .lost }
            choose(next.servers)
        }
        // M2 is simulated elsewhere: here a seat is given up at once.
        if config.servers.contains(where: { $0.state == .lost && config.keepers.members.contains($0.server) }) {
            config.keepers = Keepers(config.servers.filter { $0.state == .active }.prefix(1).map(\.server))
        }
        try prove()
    }

    private mutating func membership(_ place: Int) -> MembershipStatus {
        let view = servers[place].health.view
        let lies = servers[place].isLiar && random.chance(0.5)
        return MembershipStatus(
            epoch: 1, configVersion: view.config.version,
            members: view.config.servers.map { .init(server: $0.server, health: lies ? .lost : view.health(of: $0.server)) })
    }

    /// One step: a root is looked at, or a server is asked, or the servers are removed.
    private mutating func prove() throws {
        let leaving = config.dispensable
        guard !leaving.isEmpty else { return client.tender.proof = nil }
        guard let proof = client.tender.proof, proof.configVersion == config.version || mutant == .removesByOldProof else {
            client.tender = SimulatedTender()
            client.tender.proof = CopyProof(of: config)
            client.tender.begun = now
            client.tender.reached = client.live
            return look(without: leaving)
        }
        if let server = client.tender.unasked.popLast() { return ask(server) }
        client.tender.proof?.note(
            client.tender.asked, copies: client.tender.asked.map { client.tender.words[$0] ?? 0 })
        client.tender.proof?.end()
        if client.tender.proof?.isComplete ?? false || mutant == .removesUnproven {
            try remove(leaving)
        } else if client.tender.roots < 2 {
            look(without: leaving)
        } else {
            client.tender.proof = nil
        }
    }

    private mutating func look(without leaving: [ServerID]) {
        client.tender.roots += 1
        client.tender.proof?.begin()
        for block in client.live.sorted() { client.tender.proof?.reach(block) }
        client.tender.asked = client.tender.proof?.takePending() ?? []
        client.tender.words = [:]
        client.tender.unasked = config.servers.filter { $0.takesBlocks && !leaving.contains($0.server) }
            .compactMap { places[$0.server] }
    }

    private mutating func ask(_ server: Int) {
        guard servers[server].isUp, !servers[server].isPaused else { return }
        for block in client.tender.asked where servers[server].holds(block) || servers[server].isLiar {
            client.tender.words[block, default: 0] += 1
        }
    }

    private mutating func remove(_ leaving: [ServerID]) throws {
        guard let proof = client.tender.proof else { return }
        client.tender.proof = nil
        var next = config
        if mutant == nil {
            next.removeDispensable(by: proof)
        } else {
            next.servers.removeAll { leaving.contains($0.server) }
        }
        guard next.servers.count < config.servers.count else { return }
        counts[.removals] += config.servers.count - next.servers.count
        counts.note(.B6)
        note(6, UInt64(leaving.count))
        choose(next.servers)
        try checkRemoval()
        for place in leaving.compactMap({ places[$0] }) where random.chance(0.7) { try loseForGood(place) }
    }

    /// B6: every live block is, or was when it was asked for or committed, on R servers that take blocks.
    private func checkRemoval() throws {
        let stores = config.servers.filter(\.takesBlocks).compactMap { places[$0.server] }
        for block in client.live.sorted() {
            let since = client.tender.reached.contains(block) ? client.tender.begun : 0
            let words = stores.count { store in
                servers[store].isLiar || servers[store].holds(block) || servers[store].lost[block] ?? .min >= since
                    || servers[store].givenUp[block] ?? .min >= since
            }
            guard words >= min(replicas, stores.count) else {
                throw Violation("a server was taken off the list while only \(words) others had a live block")
            }
        }
    }
}
