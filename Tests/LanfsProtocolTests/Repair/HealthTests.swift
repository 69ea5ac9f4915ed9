import Testing

@testable import LanfsProtocol

/// Members that tell each other what they hear, second by second, over links that a test cuts.
private struct Membership {
    var members: [Health]
    let config: VolumeConfig
    var now: Duration = .zero
    /// From and to, as places in the configuration.
    var cut: Set<[Int]> = []
    var down: Set<Int> = []

    init(_ count: Int) {
        let ids = (1...UInt64(count)).map { ServerID(word0: $0, word1: 0, word2: 0, word3: 0) }
        let config = VolumeConfig(
            version: 1, servers: ids.map { Member(server: $0, weight: 1) }, keepers: Keepers([ids[0]]), replicas: 2)
        self.config = config
        members = ids.enumerated().map {
            Health(server: $1, incarnation: UInt128($0), config: config, now: .zero)
        }
    }

    mutating func run(_ seconds: Int) {
        for _ in 0..<seconds {
            now += .seconds(1)
            for from in members.indices where !down.contains(from) {
                let heartbeat = members[from].tick(now: now)
                for to in members.indices where to != from && !down.contains(to) && !cut.contains([from, to]) {
                    members[to].heard(heartbeat, from: config.servers[from].server, now: now)
                }
            }
        }
    }

    func health(_ member: Int, by judge: Int) -> MemberHealth {
        members[judge].view.health(of: config.servers[member].server)
    }
}

@Suite("Membership health")
struct HealthTests {
    @Test("calls silent members suspect after 5 s, lost after 15 min, and alive at their first word")
    func lives() {
        var world = Membership(3)
        #expect(world.health(1, by: 0) == .suspect, "nobody is alive before a first heartbeat")
        world.run(2)
        #expect(world.health(1, by: 0) == .alive)
        #expect(world.members[0].view.isCalm)
        world.down = [2]
        world.run(4)
        #expect(world.health(2, by: 0) == .alive)
        world.run(2)
        #expect(world.health(2, by: 0) == .suspect)
        world.run(880)
        #expect(world.health(2, by: 0) == .suspect)
        world.run(30)
        #expect(world.health(2, by: 0) == .lost)
        #expect(world.health(2, by: 1) == .lost)
        let returns = world.members[0].view.returns
        world.down = []
        world.run(1)
        #expect(world.health(2, by: 0) == .alive)
        #expect(world.members[0].view.returns == returns + 1)
    }

    @Test("finds nobody lost without a majority, and counts no time for which it had none")
    func majority() {
        var world = Membership(3)
        world.run(2)
        world.down = [1, 2]
        world.run(2000)
        #expect(world.health(1, by: 0) == .suspect)
        world.down = [2]
        world.run(60)
        #expect(world.health(2, by: 0) == .suspect, "the majority has found so for a minute only")
        world.run(900)
        #expect(world.health(2, by: 0) == .lost)
        world.down = [1, 2]
        world.run(7)
        #expect(world.health(2, by: 0) == .suspect, "the majority is gone again")
    }

    @Test("takes a broken link between two for what it is")
    func brokenLink() {
        var world = Membership(4)
        world.run(2)
        world.cut = [[3, 0]]
        world.run(2000)
        #expect(world.health(3, by: 0) == .suspect, "the others hear it")
        #expect(world.health(3, by: 1) == .alive)
        #expect(world.health(0, by: 3) == .alive)
    }

    @Test("does not count a pause of its own as the silence of others")
    func pause() {
        var world = Membership(3)
        world.run(2)
        world.now += .seconds(3600)
        world.run(1)
        #expect(world.health(1, by: 2) == .alive)
        #expect(world.members[0].view.health.contains(.lost) == false)
    }

    @Test("believes no heartbeat twice, and notices a new process")
    func repeated() {
        var world = Membership(3)
        let other = world.config.servers[1].server
        let old = world.members[1].tick(now: .zero)
        world.members[0].heard(old, from: other, now: .zero)
        let generation = world.members[0].view.generation
        _ = world.members[0].tick(now: .seconds(6))
        #expect(world.health(1, by: 0) == .suspect)
        world.members[0].heard(old, from: other, now: .seconds(6))
        #expect(world.health(1, by: 0) == .suspect)
        var newer = old
        newer.incarnation = 77
        world.members[0].heard(newer, from: other, now: .seconds(6))
        #expect(world.health(1, by: 0) == .alive)
        #expect(world.members[0].view.generation > generation)
    }

    @Test("knows servers by the newest configuration")
    func reconfigures() {
        var world = Membership(3)
        world.run(2)
        let newcomer = ServerID(word0: 9, word1: 0, word2: 0, word3: 0)
        var members = world.config.servers + [Member(server: newcomer, weight: 1)]
        members[2].state = .gone
        let next = VolumeConfig(version: 2, servers: members, keepers: world.config.keepers, replicas: 2)
        world.members[0].reconfigure(next)
        world.members[0].reconfigure(world.config)
        let view = world.members[0].view
        #expect(view.config.version == 2)
        #expect(view.health(of: world.config.servers[1].server) == .alive)
        #expect(view.health(of: world.config.servers[2].server) == .lost)
        #expect(view.health(of: newcomer) == .suspect)
        #expect(view.health(of: ServerID(word0: 10, word1: 0, word2: 0, word3: 0)) == .lost)
        #expect(!view.askable.contains(newcomer))
    }
}
