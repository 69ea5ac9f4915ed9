import TestSupport
@testable import LanfsProtocol

/// The faults that one seed's network shows.
struct SimulatedNetwork {
    let loss: Double
    let duplication: Double
    /// How often a message takes far longer than its neighbours.
    let stalls: Double
    /// How often connections break around a commit.
    let cuts: Double

    init(_ random: inout SplitMix64) {
        loss = random.pick([0, 0, 0.02, 0.1, 0.3])
        duplication = random.pick([0, 0.05, 0.5])
        stalls = random.pick([0, 0.02, 0.1])
        cuts = random.pick([0.02, 0.1, 0.5])
    }

    func delay(_ random: inout SplitMix64) -> Int64 {
        let usual = Int64(50_000 + random.below(1_000_000))
        guard random.chance(stalls) else { return usual }
        return usual + Int64(random.below(random.chance(0.2) ? 2_500_000_000 : 100_000_000))
    }
}

extension RegisterWorld {
    /// Puts one message on the wire: lost, once, or twice.
    private mutating func transmit(client: Int, keeper: Int, _ event: Event) {
        if isHealed { return push(event, in: network.delay(&random)) }
        if links[client * keepers.count + keeper] > now {
            tally[.cut] += 1
            return
        }
        if random.chance(network.loss) {
            tally[.lost] += 1
            return
        }
        pushDelayed(event)
        if random.chance(network.duplication) {
            tally[.duplicated] += 1
            pushDelayed(event)
        }
    }

    private mutating func pushDelayed(_ event: Event) {
        let delay = network.delay(&random)
        if delay > 2 * Self.millisecond { tally[.stalled] += 1 }
        push(event, in: delay)
    }

    mutating func transmit(_ envelope: Envelope) {
        transmit(client: envelope.client, keeper: envelope.keeper, .deliver(envelope))
    }

    mutating func transmit(_ envelope: Envelope, _ response: RegisterResponse) {
        transmit(
            client: envelope.client, keeper: envelope.keeper,
            .reply(envelope, response, sentAt: envelope.sentAt))
    }

    /// Cuts one client off from some keepers, or from all.
    mutating func cut(client: Int) {
        guard !isHealed else { return }
        let until = now + Int64(300 + random.below(2000)) * Self.millisecond
        let all = random.chance(0.3)
        for keeper in keepers.indices where all || random.chance(0.6) { links[client * keepers.count + keeper] = until }
    }

    /// Cuts some links for a while; both directions, as a broken connection does.
    mutating func partition() {
        guard !isHealed else { return }
        if random.chance(0.5) {
            tally[.partitions] += 1
            let length = Int64(random.below(3000)) * Self.millisecond
            for link in links.indices where random.chance(0.4) { links[link] = now + length }
        }
        push(.partition, in: Int64(200 + random.below(3000)) * Self.millisecond)
    }
}
