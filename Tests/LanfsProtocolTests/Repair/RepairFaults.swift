@testable import LanfsProtocol

extension RepairWorld {
    /// Disks and bytes that were destroyed and are not made good yet: at most R - 1 at a time, a liar among them, or
    /// nobody could keep the blocks.
    struct Damage {
        var outstanding = 0
        var last: Int64 = 0
    }

    mutating func fault() throws {
        guard !isHealed else { return }
        push(.fault, in: Int64(1 + random.below(8)) * Self.second)
        let server = random.below(servers.count)
        switch random.below(12) {
        case 0..<4: crash(server, for: random.pick([1, 4, 8, 17, 22, 40]))
        case 4: pause(server, for: random.pick([2, 7, 19, 23, 45]))
        case 5..<8: partition()
        case 8..<10: try rot(server)
        default: try loseDisk(server)
        }
    }

    private mutating func crash(_ server: Int, for seconds: Int) {
        guard servers[server].isUp else { return }
        counts[.crashes] += 1
        note(4, UInt64(server))
        stop(server)
        push(.restart(server), in: Int64(seconds) * Self.second + Int64(random.below(3000)) * Self.millisecond)
    }

    /// Stopped, asleep, or starved: then its clock has moved on, and what it did not read is all there at once.
    private mutating func pause(_ server: Int, for seconds: Int) {
        guard servers[server].isUp, !servers[server].isPaused else { return }
        counts[.pauses] += 1
        servers[server].isPaused = true
        push(.resume(server), in: Int64(seconds) * Self.second)
    }

    mutating func resume(_ server: Int) {
        servers[server].isPaused = false
        for event in servers[server].inbox.shuffled(using: &random) {
            push(event, in: Int64(random.below(20)) * Self.millisecond)
        }
        servers[server].inbox = []
    }

    /// Down for about as long as the grace, up for a moment, again and again.
    mutating func flap(_ server: Int) {
        guard !isHealed else { return }
        let down = (Self.grace - 1) * Self.second + Int64(random.below(5000)) * Self.millisecond
        push(.flap(server), in: down + Int64(1 + random.below(8)) * Self.second)
        guard servers[server].isUp else { return }
        counts[.flaps] += 1
        stop(server)
        push(.restart(server), in: down)
    }

    private mutating func partition() {
        counts[.partitions] += 1
        let until = now + Int64(1 + random.below(45)) * Self.second
        switch random.below(3) {
        case 0:
            // Two halves, or one that is alone.
            let side = servers.indices.map { _ in random.chance(0.4) }
            for from in servers.indices {
                for to in servers.indices where side[from] != side[to] { cut(from, to, until) }
            }
        case 1:
            // One way.
            let from = random.below(servers.count)
            for to in servers.indices where random.chance(0.6) { cut(from, to, until) }
        default:
            for from in servers.indices {
                for to in servers.indices where random.chance(0.15) { cut(from, to, until) }
            }
        }
    }

    private mutating func cut(_ from: Int, _ to: Int, _ until: Int64) {
        links[link(from, to)] = max(links[link(from, to)], until)
    }

    // MARK: Destruction

    /// Blocks that the volume's safety is about: those of the root, and those that a commit may name at any moment.
    private var precious: [BlockID] {
        (client.live.sorted() + client.uploads.filter { $0.acknowledgedBy.count >= replicas }.map(\.block))
    }

    private var liars: Int { servers.count { $0.isLiar } }

    /// Whether one more holder may lose what it holds.
    private mutating func mayDestroy() -> Bool {
        if damage.outstanding > 0, now - damage.last > 10 * Self.second,
            precious.allSatisfy({ goodCopies($0) >= replicas - liars })
        {
            damage.outstanding = 0
        }
        guard damage.outstanding < replicas - 1 - liars else { return false }
        damage.outstanding += 1
        damage.last = now
        return true
    }

    private mutating func rot(_ server: Int) throws {
        let held = servers[server].disk.keys.sorted().filter { servers[server].holds($0) }
        guard !held.isEmpty, !servers[server].isDead, mayDestroy() else { return }
        for _ in 0...random.below(4) {
            counts[.rot] += 1
            let block = random.pick(held)
            servers[server].disk[block]?.isRotten = true
            servers[server].lost[block] = now
            try checkLive(block, "rotten on server \(server)")
        }
    }

    private mutating func loseDisk(_ server: Int) throws {
        guard !servers[server].isDead, !servers[server].isLiar, mayDestroy() else { return }
        note(5, UInt64(server))
        stop(server)
        let held = servers[server].disk.keys.sorted()
        for block in held where hasBytes(block, server) { servers[server].lost[block] = now }
        servers[server].disk = [:]
        servers[server].newestSweep = 0
        for index in client.uploads.indices {
            // The client's connection is gone too, so it does not count on what was flushed there, unless it counted
            // already.
            if client.uploads[index].acknowledgedBy.count < replicas {
                client.uploads[index].acknowledgedBy.removeAll { $0 == server }
            }
        }
        for block in held { try checkLive(block, "on the lost disk of server \(server)") }
        let staying = servers.indices.filter { index in
            !servers[index].isDead && index != server
                && config.servers.contains { $0.server == servers[index].id && $0.state == .active }
        }
        let active = config.servers.count { $0.state == .active }
        if random.chance(0.4), staying.count > replicas, staying.count * 2 > active {
            counts[.dead] += 1
            servers[server].isDead = true
        } else {
            counts[.wiped] += 1
            push(.restart(server), in: Int64(random.pick([1, 6, 25, 45])) * Self.second)
        }
    }

    /// A server that left the volume, and its disk: what is destroyed so late was not needed, or the next damage would be one
    /// too many.
    mutating func loseForGood(_ server: Int) throws {
        if servers[server].isUp { stop(server) }
        servers[server].isDead = true
        let held = servers[server].disk.keys.sorted()
        for block in held where hasBytes(block, server) { servers[server].lost[block] = now }
        servers[server].disk = [:]
        for block in held { try checkLive(block, "on server \(server), which was taken off the list") }
        let fewest = precious.map { goodCopies($0) }.min() ?? replicas
        damage.outstanding = max(damage.outstanding, replicas - liars - fewest)
        damage.last = now
    }

    /// A rotten block is found when it is read; quarantine ends (G7).
    mutating func scrub(_ server: Int) throws {
        push(.scrub(server), in: Int64(15 + random.below(20)) * Self.second)
        guard servers[server].isUp else { return }
        for block in servers[server].disk.keys.sorted() {
            guard let copy = servers[server].disk[block] else { continue }
            if copy.isRotten {
                try remove(block, server, "found rotten")
            } else if case .quarantined(let until) = copy.state, until <= now {
                servers[server].disk[block] = nil
            }
        }
    }

    /// A liar lets go of a block, and is ready to prove it for every nonce it ever saw.
    mutating func lie(_ server: Int) {
        guard !isHealed, random.chance(0.2) else { return }
        let held = servers[server].disk.keys.sorted()
        guard !held.isEmpty else { return }
        let block = random.pick(held)
        counts[.lies] += 1
        if hasBytes(block, server) { servers[server].lost[block] = now }
        servers[server].disk[block] = nil
        servers[server].prepared[block] = servers[server].nonces
    }

    // MARK: Configuration

    /// Somebody drains, comes back from draining, or joins (M1, B6).
    mutating func reconfigure() {
        guard !isHealed else { return }
        push(.reconfigure, in: Int64(30 + random.below(60)) * Self.second)
        var members = config.servers
        let strangers = servers.filter { server in server.isUp && !members.contains { $0.server == server.id } }
        if let stranger = strangers.first {
            members.append(Member(server: stranger.id, weight: UInt16(1 + random.below(3))))
        } else {
            let index = random.below(members.count)
            let active = members.filter { $0.state == .active }
            let living = active.count { places[$0.server].map { !servers[$0].isDead } ?? false }
            let isLiving = places[members[index].server].map { !servers[$0].isDead } ?? false
            if members[index].state == .draining {
                // Nor takes a dead one back into a majority that it would be missing from.
                if isLiving || living * 2 > active.count + 1 { members[index].state = .active }
            } else if members[index].state == .active, living > replicas + 1, (living - 1) * 2 > active.count - 1 {
                // Nobody drains so many that the rest is no majority: nobody would be found lost any more (B5).
                members[index].state = .draining
            }
        }
        choose(members)
    }

    mutating func choose(_ members: [Member]) {
        counts[.reconfigurations] += 1
        config = VolumeConfig(
            version: config.version + 1, servers: members, keepers: config.keepers, replicas: UInt8(replicas))
        // It reaches everybody at last, some much later.
        for server in servers.indices {
            let envelope = Envelope(from: nil, to: server, body: .config(config))
            if isHealed {
                push(.deliver(envelope), in: delay())
                continue
            }
            let late = random.chance(0.25) ? Int64(random.below(110)) * Self.second : 0
            for attempt in 0..<12 { push(.deliver(envelope), in: late + delay() + Int64(attempt * 10) * Self.second) }
        }
    }
}
