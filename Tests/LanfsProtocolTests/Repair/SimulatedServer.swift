import TestSupport
@testable import LanfsProtocol

/// A server of the repair simulation: its disk survives a crash, the rest starts anew.
struct SimulatedServer {
    struct Copy {
        enum State: Equatable { case live, quarantined(until: Int64) }

        var tag: UInt64
        /// The highest tag that a client gave it, wherever it has come from since: what no rule may let it fall below.
        var trueTag: UInt64
        var state = State.live
        var isDurable = false
        var isRotten = false
    }

    let id: ServerID
    let isLiar: Bool
    let clock: SimulatedClock
    var isUp = true
    /// Its disk is lost and it never comes back.
    var isDead = false
    var run = 0
    /// Its process does not run; what comes in waits.
    var isPaused = false
    var inbox: [RepairWorld.Event] = []
    var config: VolumeConfig
    var disk: [BlockID: Copy] = [:]
    var newestSweep: UInt64 = 0
    var swept: SweptBlocks
    var health: Health
    var plan: RepairPlan
    var drop: SurplusDrop
    /// When its last good copy of a block went, and how.
    var lost: [BlockID: Int64] = [:]
    /// When it gave up a copy that it had taken for good until then.
    var givenUp: [BlockID: Int64] = [:]
    /// Since when it holds a block that belongs elsewhere.
    var surplusSince: [BlockID: Int64] = [:]
    var seenGeneration: UInt64 = 0
    /// Up to which tag frees and sweeps named a block since the start of the process, and when.
    var removed: [BlockID: (cutoff: UInt64, time: Int64)] = [:]
    /// For one mutant: who was lost once.
    var everLost: Set<ServerID> = []
    var meter = Meter()
    /// A liar's: the nonces it saw, and those for which it can answer without the bytes.
    var nonces: Set<UInt128> = []
    var prepared: [BlockID: Set<UInt128>] = [:]
    /// A liar that had somebody else prove: whom it owes the answer.
    var relayed: [UInt128: Int] = [:]

    init(id: ServerID, config: VolumeConfig, isLiar: Bool, _ random: inout SplitMix64) {
        self.id = id
        self.config = config
        self.isLiar = isLiar
        clock = SimulatedClock(&random)
        let now = clock.local(0)
        swept = SweptBlocks(limit: Self.sweptLimit, memory: .seconds(RepairWorld.quarantine))
        health = Health(server: id, incarnation: 0, config: config, timing: Self.timing, now: now)
        plan = RepairPlan(view: health.view, options: Self.repair, now: now)
        drop = SurplusDrop(view: health.view, options: Self.surplus)
    }

    static let sweptLimit = 256

    static var timing: Health.Timing {
        var timing = Health.Timing()
        timing.grace = .seconds(RepairWorld.grace)
        return timing
    }

    static var repair: RepairPlan.Options {
        var options = RepairPlan.Options()
        options.rate = UInt64(Limits.blockSize)
        options.burst = UInt64(2 * Limits.blockSize)
        options.pageSize = 9
        options.queueLimit = 8
        options.copyLimit = 3
        options.passInterval = .seconds(12)
        options.shortestPass = .seconds(3)
        options.patience = .seconds(15)
        options.answerTime = .seconds(1)
        options.copyTime = .seconds(5)
        return options
    }

    static var surplus: SurplusDrop.Options {
        var options = SurplusDrop.Options()
        options.age = .seconds(RepairWorld.age)
        options.proofTime = .seconds(4)
        options.retry = .seconds(5)
        options.candidateLimit = 8
        options.roundLimit = 3
        return options
    }

    /// In id order.
    func page(after: BlockID?, limit: Int, quarantinedToo: Bool) -> [StoredBlock] {
        disk.keys.filter { $0 > after ?? .zero }.sorted().lazy.compactMap { block in
            guard let copy = disk[block], copy.isDurable, quarantinedToo || copy.state == .live else { return nil }
            return StoredBlock(block: block, length: RepairWorld.length(of: block), gcEpoch: copy.tag)
        }.prefix(limit).map { $0 }
    }

    func local(_ block: BlockID) -> LocalCopy {
        guard let copy = disk[block] else { return .absent }
        return copy.state == .live ? .live(gcEpoch: copy.tag) : .quarantined(gcEpoch: copy.tag)
    }

    func holds(_ block: BlockID) -> Bool {
        guard let copy = disk[block] else { return false }
        return copy.state == .live && copy.isDurable
    }
}

/// Watches the rate of repair from outside: a bucket of its own that must never overflow.
struct Meter {
    private var level = 0.0
    private var last: Int64 = 0

    mutating func add(_ bytes: Int, now: Int64, rate: UInt64, burst: UInt64) -> Bool {
        // The servers' clocks run up to 1% fast.
        level = max(0, level - Double(now - last) / 1e9 * Double(rate) * 1.011)
        last = now
        level += Double(bytes)
        return level <= Double(burst) + 1000
    }
}

extension RepairWorld {
    static func length(of block: BlockID) -> UInt32 {
        UInt32(Limits.blockSize / 4) + UInt32(truncatingIfNeeded: block.word3 % UInt64(Limits.blockSize / 4 * 3))
    }

    /// As good as a hash of the bytes, which are good or rotten and nothing else.
    static func digest(_ challenge: PossessionChallenge, asker: ServerID, prover: ServerID, named: Bool)
        -> PossessionDigest
    {
        let prefix =
            named ? challenge.prefix(asker: asker, prover: prover) : challenge.prefix(asker: .zero, prover: .zero)
        let hash = SimulatedAuthority().hash(prefix)
        return PossessionDigest(word0: hash.word0, word1: hash.word1, word2: hash.word2, word3: challenge.block.word0)
    }

    func local(_ server: Int) -> Duration { servers[server].clock.local(now) }

    // MARK: Life

    mutating func start(_ server: Int) {
        let now = local(server)
        servers[server].run += 1
        servers[server].isUp = true
        servers[server].health = Health(
            server: servers[server].id, incarnation: random.wide(), config: servers[server].config,
            timing: SimulatedServer.timing, now: now)
        let view = servers[server].health.view
        var repair = SimulatedServer.repair
        if mutant == .ignoresRate { repair.burst = 1 << 40 }
        servers[server].plan = RepairPlan(view: view, options: repair, now: now)
        var surplus = SimulatedServer.surplus
        if mutant == .dropsAtOnce { surplus.age = .zero }
        servers[server].drop = SurplusDrop(view: view, options: surplus)
        push(.tick(server: server, run: servers[server].run), in: Int64(random.below(1000)) * Self.millisecond)
    }

    /// What is not on disk is gone; the process is too.
    mutating func stop(_ server: Int) {
        servers[server].isUp = false
        servers[server].isPaused = false
        servers[server].inbox = []
        servers[server].removed = [:]
        servers[server].swept = SweptBlocks(limit: SimulatedServer.sweptLimit, memory: .seconds(Self.quarantine))
        for block in servers[server].disk.keys.sorted() where servers[server].disk[block]?.isDurable == false {
            servers[server].disk[block] = nil
        }
    }

    mutating func restart(_ server: Int) {
        guard !servers[server].isUp, !servers[server].isDead else { return }
        note(1, UInt64(server))
        // A wiped one asks who it is among.
        if servers[server].disk.isEmpty { servers[server].config = config }
        start(server)
    }

    mutating func tick(_ server: Int) throws {
        push(.tick(server: server, run: servers[server].run), in: Self.second)
        let now = local(server)
        let heartbeat = servers[server].health.tick(now: now)
        for member in servers[server].config.servers where member.server != servers[server].id {
            if let to = places[member.server] { send(.heartbeat(heartbeat), from: server, to: to) }
        }
        try viewChanged(server)
        try perform(servers[server].plan.tick(now: now), server)
        servers[server].swept.forget(now)
        let nonce: UInt128 = mutant == .reusesNonce ? 7 : random.wide()
        try perform(servers[server].drop.tick(nonce: nonce, now: now), server)
        try checkBounds(server)
        if servers[server].isLiar { lie(server) }
    }

    mutating func viewChanged(_ server: Int) throws {
        let view = servers[server].health.view
        noteSurplus(server, view)
        let repairView: MemberView
        switch mutant {
        case .repairsWithoutMajority: repairView = withoutMajority(server, view)
        case .ignoresReturn: repairView = withoutReturns(server, view)
        default: repairView = view
        }
        try perform(servers[server].plan.update(repairView, now: local(server)), server)
        if mutant == .dropsWhileSuspect {
            servers[server].drop.update(
                MemberView(
                    server: view.server, config: view.config, health: view.health.map { _ in .alive },
                    generation: view.config.version, returns: 0))
        } else {
            servers[server].drop.update(view)
        }
    }

    /// The mutant's view: silence for the grace is enough.
    private func withoutMajority(_ server: Int, _ view: MemberView) -> MemberView {
        let health = zip(view.config.servers, view.health).map { member, health -> MemberHealth in
            guard let place = places[member.server], place != server else { return health }
            return now - max(heartbeats[link(place, server)], 0) > Self.grace * Self.second ? .lost : health
        }
        return altered(view, health)
    }

    /// The mutant's view: once lost, for ever lost.
    private mutating func withoutReturns(_ server: Int, _ view: MemberView) -> MemberView {
        for (member, health) in zip(view.config.servers, view.health) where health == .lost {
            servers[server].everLost.insert(member.server)
        }
        let health = zip(view.config.servers, view.health).map { member, health in
            servers[server].everLost.contains(member.server) ? .lost : health
        }
        return altered(view, health)
    }

    private func altered(_ view: MemberView, _ health: [MemberHealth]) -> MemberView {
        var generation = view.generation << 16
        for state in health { generation = generation &* 3 &+ UInt64(state.rawValue) }
        return MemberView(
            server: view.server, config: view.config, health: health, generation: generation, returns: view.returns)
    }

    // MARK: Effects

    mutating func perform(_ effects: [RepairPlan.Effect], _ server: Int) throws {
        var left = effects[...]
        while let effect = left.popFirst() {
            switch effect {
            case .list(let after, let limit):
                let page = servers[server].page(
                    after: after, limit: limit, quarantinedToo: mutant == .copiesQuarantined)
                servers[server].drop.consider(page, now: local(server))
                left += servers[server].plan.listed(page, now: local(server))
            case .ask(let member, let query):
                if let to = places[member] { send(.holdings(query), from: server, to: to) }
            case .copy(let block, let target):
                if let to = places[target] { left += try sendCopy(block, server, to) }
            case .cancel:
                counts[.cancels] += 1
                counts.note(.B5Return)
            }
        }
    }

    private mutating func sendCopy(_ block: BlockID, _ server: Int, _ to: Int) throws -> [RepairPlan.Effect] {
        let now = local(server)
        guard !servers[server].isLiar else { return [] }
        guard let copy = servers[server].disk[block], copy.state == .live || mutant == .copiesQuarantined else {
            return servers[server].plan.finished(block, target: servers[to].id, .failed, now: now)
        }
        // B1: it is checked when it is read.
        if copy.isRotten {
            try remove(block, server, "found rotten")
            return servers[server].plan.finished(block, target: servers[to].id, .failed, now: now)
        }
        try checkCopy(block, copy, server, to)
        counts[.copies] += 1
        let isHome = servers[server].health.view.home(of: block).contains(servers[to].id)
        counts.note(isHome ? .B4 : .B5)
        note(2, block.word0 ^ UInt64(server * 16 + to))
        let order = CopyOrder(
            block: block, length: Self.length(of: block), gcEpoch: mutant == .copiesWithoutTag ? 0 : copy.tag)
        send(
            .copy(order), from: server, to: to,
            bytes: Envelope.Bytes(isRotten: copy.isRotten, trueTag: copy.trueTag))
        return []
    }

    mutating func perform(_ effects: [SurplusDrop.Effect], _ server: Int) throws {
        var left = effects[...]
        while let effect = left.popFirst() {
            switch effect {
            case .digest(let block, let nonce, let provers):
                guard let copy = servers[server].disk[block], copy.state == .live, !copy.isRotten else {
                    servers[server].drop.withdraw(block)
                    if servers[server].disk[block]?.isRotten == true { try remove(block, server, "found rotten") }
                    continue
                }
                let challenge = PossessionChallenge(
                    block: block, nonce: nonce, configVersion: servers[server].health.view.config.version,
                    gcEpoch: copy.tag)
                let expected = provers.map {
                    Self.digest(
                        challenge, asker: servers[server].id, prover: $0, named: mutant != .proofWithoutNames)
                }
                left += servers[server].drop.digested(challenge, expected: expected)
            case .challenge(let challenge, let prover):
                if let to = places[prover] { send(.challenge(challenge), from: server, to: to) }
            case .drop(let block, let gcEpoch):
                guard let copy = servers[server].disk[block], copy.state == .live, copy.tag == gcEpoch else { continue }
                note(3, block.word0 ^ UInt64(server))
                try checkDrop(block, copy, server)
                counts[.drops] += 1
                counts.note(.B5Surplus)
                try remove(block, server, "dropped as surplus")
            }
        }
    }

    /// Whatever the reason, the block is not on this disk any more.
    mutating func remove(_ block: BlockID, _ server: Int, _ reason: String) throws {
        let hadBytes = hasBytes(block, server)
        if servers[server].disk[block]?.isRotten == true { servers[server].givenUp[block] = now }
        servers[server].disk[block] = nil
        withdraw(block, server)
        if hadBytes { servers[server].lost[block] = now }
        try checkLive(block, "\(reason) on server \(server)")
    }

    private mutating func withdraw(_ block: BlockID, _ server: Int) {
        if mutant != .copiesDeleted { counts[.cancels] += servers[server].plan.withdraw(block).count }
        servers[server].drop.withdraw(block)
    }

    // MARK: Messages

    mutating func deliver(_ envelope: Envelope) throws {
        let to = envelope.to
        guard servers[to].isUp else { return }
        switch envelope.body {
        case .member(let message, let bytes):
            guard let from = envelope.from else { return }
            // The codec is part of the way.
            var writer = ByteWriter()
            message.encode(into: &writer)
            var reader = ByteReader(writer.bytes)
            guard writer.bytes.count <= MemberMessage.sizeLimit, try MemberMessage(from: &reader) == message else {
                throw Violation("a message was not read as it was written")
            }
            try receive(message, bytes, from, to)
        case .put(let block, let tag): put(block, tag, to)
        case .remove(let blocks, let gcEpoch, let cutoff): try sweep(blocks, gcEpoch, cutoff, to)
        case .config(let next):
            guard next.version > servers[to].config.version else { return }
            servers[to].config = next
            servers[to].health.reconfigure(next)
            try viewChanged(to)
        }
    }

    private mutating func receive(
        _ message: MemberMessage, _ bytes: Envelope.Bytes?, _ from: Int, _ to: Int
    ) throws {
        let now = local(to)
        let sender = servers[from].id
        switch message {
        case .heartbeat(let heartbeat):
            heartbeats[link(from, to)] = self.now
            let before = servers[to].health.view.generation
            servers[to].health.heard(heartbeat, from: sender, now: now)
            if servers[to].health.view.generation != before { try viewChanged(to) }
        case .holdings(let query):
            var held: [Bool] = []
            for entry in query.blocks {
                let isHeld = servers[to].holds(entry.block)
                if isHeld, mutant != .provesWithoutTag { raise(entry.block, entry.gcEpoch, to) }
                held.append(isHeld || servers[to].isLiar)
            }
            send(.held(HoldingsAnswer(page: query.page, held: held)), from: to, to: from)
        case .held(let answer):
            try perform(servers[to].plan.answered(answer, from: sender, now: now), to)
        case .copy(let order):
            if let bytes { try receiveCopy(order, bytes, from, to) }
        case .copied(let answer):
            try perform(servers[to].plan.finished(answer.block, target: sender, answer.outcome, now: now), to)
        case .challenge(let challenge):
            try prove(challenge, from, to)
        // The shell's own: heals sooner what the passes heal anyway, and carries what clients put.
        case .wanted, .pass, .passed: break
        case .possession(let answer):
            if let asker = servers[to].relayed.removeValue(forKey: answer.nonce) {
                return send(.possession(answer), from: to, to: asker)
            }
            var answer = answer
            if mutant == .dropsWithoutProof {
                let challenge = PossessionChallenge(
                    block: answer.block, nonce: answer.nonce, configVersion: 0, gcEpoch: 0)
                answer.digest = Self.digest(challenge, asker: servers[to].id, prover: sender, named: true)
            }
            try perform(servers[to].drop.answered(answer, from: sender, now: now), to)
        }
    }

    private mutating func receiveCopy(_ order: CopyOrder, _ bytes: Envelope.Bytes, _ from: Int, _ to: Int) throws {
        let block = order.block
        var verdict = servers[to].swept.verdict(on: block, gcEpoch: order.gcEpoch, local: servers[to].local(block))
        if mutant == .forgetsSweeps, verdict == .swept { verdict = .stored }
        if bytes.isRotten { verdict = .failed }
        switch verdict {
        case .stored:
            if servers[to].isLiar, random.chance(0.4) {
                counts[.lies] += 1
                return send(.copied(CopyAnswer(block: block, outcome: .stored)), from: to, to: from)
            }
            try checkStored(block, trueTag: bytes.trueTag, to)
            servers[to].disk[block] = SimulatedServer.Copy(tag: order.gcEpoch, trueTag: bytes.trueTag)
            push(
                .flushed(server: to, run: servers[to].run, block, then: .copied(to: from)),
                in: Int64(1 + random.below(isHealed ? 100 : flushTime)) * Self.millisecond)
            return
        case .present:
            counts[.needless] += 1
            counts.note(.B1)
            raise(block, order.gcEpoch, to)
            raiseTruth(block, bytes.trueTag, to)
            // Somebody else's copy may not be on disk yet: this sender hears when it is.
            if servers[to].disk[block]?.isDurable == false { return }
        case .swept:
            counts[.refusals] += 1
            if case .quarantined = servers[to].local(block) { counts.note(.G7) }
        case .failed:
            break
        }
        send(.copied(CopyAnswer(block: block, outcome: verdict)), from: to, to: from)
    }

    mutating func flushed(_ server: Int, _ block: BlockID, _ then: Flushed) {
        guard servers[server].disk[block] != nil else { return }
        servers[server].disk[block]?.isDurable = true
        noteSurplus(block, server, servers[server].health.view)
        switch then {
        case .copied(let to): send(.copied(CopyAnswer(block: block, outcome: .stored)), from: server, to: to)
        case .acknowledge(let tag): answerClient(block, tag, server)
        }
    }

    private mutating func prove(_ challenge: PossessionChallenge, _ from: Int, _ to: Int) throws {
        servers[to].nonces.insert(challenge.nonce)
        let block = challenge.block
        var holds = servers[to].holds(block)
        if mutant == .provesUnflushed { holds = servers[to].disk[block]?.state == .live }
        if holds, servers[to].disk[block]?.isRotten == true {
            // B1: it is checked when it is read.
            try remove(block, to, "found rotten")
            holds = false
        }
        var digest: PossessionDigest?
        let truth = Self.digest(
            challenge, asker: servers[from].id, prover: servers[to].id, named: mutant != .proofWithoutNames)
        if servers[to].isLiar {
            if holds || servers[to].prepared[block]?.contains(challenge.nonce) == true {
                digest = truth
            } else {
                counts[.lies] += 1
                // It has somebody else prove, or makes one up.
                let other = random.below(servers.count)
                if other != to, other != from {
                    servers[to].relayed[challenge.nonce] = from
                    return send(.challenge(challenge), from: to, to: other)
                }
                digest = random.id()
            }
        } else if holds, servers[to].health.view.mayProve(challenge) {
            if mutant != .provesWithoutTag { raise(block, challenge.gcEpoch, to) }
            counts[.proofs] += 1
            digest = truth
        }
        send(
            .possession(PossessionAnswer(block: block, nonce: challenge.nonce, digest: digest)), from: to, to: from)
    }

    private mutating func raise(_ block: BlockID, _ tag: UInt64, _ server: Int) {
        guard let old = servers[server].disk[block]?.tag, old < tag else { return }
        servers[server].disk[block]?.tag = tag
        counts.note(.G1)
        // Some client gave the block this tag, on another server.
        raiseTruth(block, tag, server)
    }

    mutating func raiseTruth(_ block: BlockID, _ tag: UInt64, _ server: Int) {
        guard let old = servers[server].disk[block]?.trueTag, old < tag else { return }
        servers[server].disk[block]?.trueTag = tag
    }

    /// G1: a client's put, which also revives and raises the tag.
    private mutating func put(_ block: BlockID, _ tag: UInt64, _ server: Int) {
        if servers[server].isLiar, random.chance(0.3) {
            counts[.lies] += 1
            return answerClient(block, tag, server)
        }
        var copy = servers[server].disk[block] ?? SimulatedServer.Copy(tag: tag, trueTag: tag)
        if copy.isRotten {
            withdraw(block, server)
            copy = SimulatedServer.Copy(tag: tag, trueTag: tag)
        }
        copy.state = .live
        copy.tag = max(copy.tag, tag)
        copy.trueTag = max(copy.trueTag, tag)
        servers[server].disk[block] = copy
        push(
            .flushed(server: server, run: servers[server].run, block, then: .acknowledge(tag: tag)),
            in: Int64(1 + random.below(isHealed ? 100 : flushTime)) * Self.millisecond)
    }

    /// G5 to G8; `gcEpoch` is `nil` for an ordinary free.
    private mutating func sweep(_ blocks: [BlockID], _ gcEpoch: UInt64?, _ cutoff: UInt64, _ server: Int) throws {
        if let gcEpoch {
            guard gcEpoch >= servers[server].newestSweep else { return counts.note(.G6) }
            servers[server].newestSweep = gcEpoch
        }
        servers[server].swept.note(blocks, cutoff: cutoff, now: local(server))
        for block in blocks {
            // What was named longer ago than quarantine lasts may be forgotten.
            let old = servers[server].removed[block].flatMap { now - $0.time < Self.remembered ? $0.cutoff : nil }
            servers[server].removed[block] = (max(cutoff, old ?? 0), now)
            guard let copy = servers[server].disk[block], copy.state == .live else { continue }
            guard copy.tag <= cutoff else {
                counts.note(.G5)
                continue
            }
            guard copy.trueTag <= cutoff else {
                throw Violation("a sweep up to \(cutoff) took a copy that was uploaded under \(copy.trueTag)")
            }
            counts[.sweeps] += 1
            if gcEpoch == nil { counts.note(.G8) }
            let hadBytes = hasBytes(block, server)
            servers[server].disk[block]?.state = .quarantined(until: now + Self.quarantine * Self.second)
            if hadBytes { servers[server].lost[block] = now }
            withdraw(block, server)
            try checkLive(block, "swept on server \(server)")
        }
    }
}
