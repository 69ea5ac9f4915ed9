import LanfsProtocol

/// The decisions of one member of a volume, wired in the order that they rely on: every change of `Health` reaches
/// repair and surplus before anything else does (LanfsProtocol/Repair/README.md). No I/O.
struct MemberCore: Sendable {
    enum Effect: Sendable {
        case repair(RepairPlan.Effect)
        case surplus(SurplusDrop.Effect)
    }

    private var health: Health
    private var plan: RepairPlan
    private var drop: SurplusDrop

    init(server: ServerID, incarnation: UInt128, config: VolumeConfig, options: MemberOptions, now: Duration) {
        health = Health(
            server: server, incarnation: incarnation, config: config, timing: options.timing, now: now)
        plan = RepairPlan(view: health.view, options: options.repair, now: now)
        drop = SurplusDrop(view: health.view, options: options.surplus)
    }

    var view: MemberView { health.view }
    var waiting: Int { plan.waiting }
    var copying: Int { plan.copying }
    var isLooking: Bool { plan.isLooking }

    // MARK: Health

    /// - Parameter nonce: 128 random bits that were never used before.
    mutating func tick(nonce: UInt128, now: Duration) -> (heartbeat: Heartbeat, effects: [Effect]) {
        let heartbeat = health.tick(now: now)
        var effects = viewChanged(now)
        effects += plan.tick(now: now).map { .repair($0) }
        effects += drop.tick(nonce: nonce, now: now).map { .surplus($0) }
        return (heartbeat, effects)
    }

    mutating func heard(_ heartbeat: Heartbeat, from member: ServerID, now: Duration) -> [Effect] {
        health.heard(heartbeat, from: member, now: now)
        return viewChanged(now)
    }

    mutating func reconfigure(_ config: VolumeConfig, now: Duration) -> [Effect] {
        health.reconfigure(config)
        return viewChanged(now)
    }

    private mutating func viewChanged(_ now: Duration) -> [Effect] {
        let view = health.view
        drop.update(view)
        return plan.update(view, now: now).map { .repair($0) }
    }

    // MARK: What became of effects

    mutating func listed(_ blocks: [StoredBlock], now: Duration) -> [Effect] {
        drop.consider(blocks, now: now)
        return plan.listed(blocks, now: now).map { .repair($0) }
    }

    mutating func answered(_ answer: HoldingsAnswer, from member: ServerID, now: Duration) -> [Effect] {
        plan.answered(answer, from: member, now: now).map { .repair($0) }
    }

    mutating func finished(
        _ block: BlockID, target: ServerID, _ outcome: CopyOutcome, now: Duration
    ) -> [Effect] {
        plan.finished(block, target: target, outcome, now: now).map { .repair($0) }
    }

    mutating func digested(_ challenge: PossessionChallenge, expected: [PossessionDigest]) -> [Effect] {
        drop.digested(challenge, expected: expected).map { .surplus($0) }
    }

    mutating func answered(_ answer: PossessionAnswer, from member: ServerID, now: Duration) -> [Effect] {
        drop.answered(answer, from: member, now: now).map { .surplus($0) }
    }

    /// They are not here any more, or not whole, or in quarantine.
    mutating func withdraw(_ blocks: [BlockID]) -> [Effect] {
        var effects: [Effect] = []
        for block in blocks {
            drop.withdraw(block)
            effects += plan.withdraw(block).map { .repair($0) }
        }
        return effects
    }
}
