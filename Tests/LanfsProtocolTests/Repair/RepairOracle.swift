@testable import LanfsProtocol

/// The rules that the simulation watches, by the numbers of their invariants.
extension RepairWorld {
    /// What a healed world still has to show.
    enum Phase { case converging, collecting(Int), shedding }

    /// On a disk that is there, whole, and not given up. A liar's copies do not count.
    func isGood(_ block: BlockID, _ server: Int) -> Bool {
        guard !servers[server].isDead, !servers[server].isLiar else { return false }
        return hasBytes(block, server)
    }

    func hasBytes(_ block: BlockID, _ server: Int) -> Bool {
        guard let copy = servers[server].disk[block] else { return false }
        return copy.state == .live && copy.isDurable && !copy.isRotten
    }

    func isMember(_ server: Int) -> Bool { config.place(of: servers[server].id) != nil }

    func goodCopies(_ block: BlockID) -> Int {
        servers.indices.count { isGood(block, $0) }
    }

    /// 2: at most R - 1 holders are lost at a time, so every block of the root has a good copy.
    func checkLive(_ block: BlockID, _ reason: String) throws {
        guard client.live.contains(block), goodCopies(block) == 0 else { return }
        throw Violation("the last good copy of a live block is gone: \(reason)")
    }

    /// B5: rate, quarantine, and that the place it goes to is really vacant.
    mutating func checkCopy(_ block: BlockID, _ copy: SimulatedServer.Copy, _ from: Int, _ to: Int) throws {
        let options = SimulatedServer.repair
        guard
            servers[from].meter.add(
                Int(Self.length(of: block)), now: now, rate: options.rate, burst: options.burst)
        else { throw Violation("repair by server \(from) goes above its rate") }
        guard copy.state == .live else { throw Violation("a block in quarantine is copied") }
        let view = servers[from].health.view
        guard !view.home(of: block).contains(servers[to].id) else { return }
        // Each of these mutants is looked for by the rule that it breaks.
        guard hasMajority(from) || mutant == .ignoresReturn else {
            throw Violation("server \(from) replaces a member without a majority")
        }
        let isTarget = view.targets(of: block).contains(servers[to].id)
        guard isTarget || mutant == .repairsWithoutMajority else {
            throw Violation("server \(from) replaces a member that came back")
        }
    }

    /// Whether a majority of the active servers was heard lately.
    private func hasMajority(_ server: Int) -> Bool {
        let active = servers[server].config.servers.filter { $0.state == .active }
        let heard = active.count { member in
            guard let place = places[member.server] else { return false }
            return place == server || now - heartbeats[link(place, server)] < 7 * Self.second
        }
        return heard * 2 > active.count
    }

    /// 14: R others had the bytes, under a tag as high, when they were asked; and everybody is alive.
    func checkDrop(_ block: BlockID, _ copy: SimulatedServer.Copy, _ server: Int) throws {
        // What a liar lets go of was never counted on.
        guard !servers[server].isLiar else { return }
        let asked = now - 5 * Self.second
        let proven = servers.indices.filter { other in
            other != server && (hasBytes(block, other) || servers[other].lost[block] ?? .min >= asked)
        }
        guard proven.count >= replicas else {
            throw Violation("server \(server) drops a surplus copy and \(proven.count) others had the bytes")
        }
        for other in proven where !servers[other].isLiar {
            guard let kept = servers[other].disk[block], kept.state == .live else { continue }
            let isHome = servers[server].health.view.home(of: block).contains(servers[other].id)
            guard kept.tag >= copy.tag || !isHome else {
                throw Violation("a surplus copy is dropped that has a newer tag than those that stay")
            }
        }
        for member in servers[server].config.servers where member.state != .gone {
            guard let place = places[member.server], place != server else { continue }
            guard now - heartbeats[link(place, server)] < 7 * Self.second else {
                throw Violation("server \(server) drops a surplus copy while server \(place) is suspect")
            }
        }
        if let since = servers[server].surplusSince[block], now - since < Self.age * Self.second * 98 / 100 {
            throw Violation("server \(server) drops a surplus copy too early")
        }
    }

    /// G5: what a server freed or swept lately does not come back with a copy that is no newer.
    func checkStored(_ block: BlockID, trueTag: UInt64, _ server: Int) throws {
        guard let (cutoff, time) = servers[server].removed[block], trueTag <= cutoff,
            now - time < Self.remembered
        else { return }
        throw Violation("server \(server) takes in a copy of what it swept")
    }

    /// Since when the block is not the server's to hold.
    mutating func noteSurplus(_ block: BlockID, _ server: Int, _ view: MemberView) {
        if !servers[server].holds(block) || view.targets(of: block).contains(view.server) {
            servers[server].surplusSince[block] = nil
        } else if servers[server].surplusSince[block] == nil {
            servers[server].surplusSince[block] = now
        }
    }

    mutating func noteSurplus(_ server: Int, _ view: MemberView) {
        guard view.generation != servers[server].seenGeneration else { return }
        servers[server].seenGeneration = view.generation
        for block in servers[server].disk.keys.sorted() { noteSurplus(block, server, view) }
    }

    /// 20.
    func checkBounds(_ server: Int) throws {
        let repair = SimulatedServer.repair
        let surplus = SimulatedServer.surplus
        let state = servers[server]
        guard state.plan.waiting <= 2 * repair.queueLimit, state.plan.copying <= repair.copyLimit,
            state.drop.candidateCount <= surplus.candidateLimit, state.drop.roundCount <= surplus.roundLimit,
            state.swept.count <= SimulatedServer.sweptLimit
        else { throw Violation("a queue of server \(server) grows above its bound") }
    }

    // MARK: Healing

    /// No more faults: links work, everybody who is not dead is back. A person takes out the dead that were being drained;
    /// the others are for the tender to take off the list.
    mutating func heal() throws {
        isHealed = true
        for server in servers.indices {
            resume(server)
            // What was written long ago is on disk: the slow stage of one mutant would pass for garbage.
            for block in servers[server].disk.keys.sorted() { servers[server].disk[block]?.isDurable = true }
        }
        for index in links.indices { links[index] = 0 }
        client.uploads = []
        client.collection = nil
        for server in servers.indices where !servers[server].isUp && !servers[server].isDead { restart(server) }
        choose(
            config.servers.map { member in
                var member = member
                if let place = places[member.server], servers[place].isDead, member.state == .draining { member.state = .gone }
                return member
            })
        deadline = now + 150 * Self.second
        push(.settle, in: 2 * Self.second)
    }

    /// 13, 19.
    mutating func settle() throws {
        push(.settle, in: 2 * Self.second)
        switch phase {
        case .converging:
            if try isReplicated() { phase = .collecting(0) }
        case .collecting(let step):
            // Two collections, a few seconds apart, and what was on its way has arrived.
            if step % 4 == 0, step < 8 {
                beginCollection()
                for server in servers.indices { listForCollection(server) }
            } else if step % 4 == 1, step < 8 {
                endCollection()
            } else if step == 11 {
                try checkGarbage()
                phase = .shedding
                deadline = now + 3 * Self.age * Self.second
                return
            }
            phase = .collecting(step + 1)
        case .shedding:
            guard try isReplicated(), hasNoSurplus(), hasNothingToCopy() else {
                guard now < deadline else {
                    throw Violation("surplus copies are left, live blocks lack copies, or somebody means to make more")
                }
                return
            }
            isOver = true
        }
    }

    private func isReplicated() throws -> Bool {
        let placement = BlockPlacement(config)
        for block in client.live.sorted() {
            for home in placement.replicas(of: block) {
                guard let place = places[home], !servers[place].isLiar, !isGood(block, place) else { continue }
                if case .shedding = phase { return false }
                guard now < deadline else {
                    throw Violation("after healing, server \(place) lacks a live block of its own")
                }
                return false
            }
        }
        return true
    }

    private func checkGarbage() throws {
        for server in servers.indices where isMember(server) && !servers[server].isDead && !servers[server].isLiar {
            for block in servers[server].disk.keys.sorted() {
                guard servers[server].disk[block]?.state == .live, !client.live.contains(block) else { continue }
                throw Violation("after two collections, server \(server) still holds garbage")
            }
        }
    }

    /// A liar's blocks are missing for ever.
    private func hasNothingToCopy() -> Bool {
        servers.contains(where: \.isLiar)
            || servers.indices.allSatisfy { !isMember($0) || servers[$0].isDead || servers[$0].plan.waiting == 0 }
    }

    /// A liar proves nothing, so what others hold in its place stays; so do a draining server's blocks.
    private func hasNoSurplus() -> Bool {
        guard !servers.contains(where: \.isLiar) else { return true }
        let placement = BlockPlacement(config)
        for member in config.servers where member.state == .active {
            guard let place = places[member.server] else { continue }
            for block in servers[place].disk.keys where client.live.contains(block) {
                if isGood(block, place), !placement.replicas(of: block).contains(member.server) { return false }
            }
        }
        return true
    }
}
