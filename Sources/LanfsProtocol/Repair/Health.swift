/// What one server knows of the other members from their heartbeats (B5).
///
/// A member is lost when it has been silent for the grace *while a majority of the active servers, this one among them,
/// did not hear it either*. Silence is counted only in that time: a server that was cut off, stopped or asleep for an
/// hour comes back to members that are all as alive to it as before, not to members that it has not heard for an hour.
public struct Health: Sendable {
    public struct Timing: Sendable {
        /// Between two heartbeats.
        public var heartbeat: Duration = .seconds(1)
        /// Silent for so long: suspect.
        public var suspect: Duration = .seconds(5)
        /// Silent for so long, as a majority finds: lost.
        public var grace: Duration = .seconds(15 * 60)

        public init() {}
    }

    private struct Contact: Sendable {
        var health = MemberHealth.suspect
        var heard: Duration?
        /// How long it was silent, counted only while a majority found so.
        var silence = Duration.zero
        var last: Heartbeat?
    }

    public let server: ServerID
    private let incarnation: UInt128
    private let timing: Timing
    private var config: VolumeConfig
    private var placement: BlockPlacement
    /// In the order of `config.servers`.
    private var contacts: [Contact]
    private var sent: UInt64 = 0
    private var lastTick: Duration
    private var generation: UInt64 = 0
    private var returns: UInt64 = 0

    /// - Parameters:
    ///   - incarnation: random, drawn at the start of the process.
    ///   - now: the monotonic clock that every later call uses, from any origin.
    public init(
        server: ServerID, incarnation: UInt128, config: VolumeConfig, timing: Timing = Timing(), now: Duration
    ) {
        self.server = server
        self.incarnation = incarnation
        self.timing = timing
        self.config = config
        placement = BlockPlacement(config)
        contacts = Array(repeating: Contact(), count: config.servers.count)
        lastTick = now
    }

    public var view: MemberView {
        MemberView(
            server: server, config: config, placement: placement, health: contacts.map(\.health),
            generation: generation, returns: returns)
    }

    /// A newer configuration was chosen; what is known of members that stay is kept, but whether its majority
    /// holds them for lost is for the next tick to find. Older ones are ignored.
    public mutating func reconfigure(_ next: VolumeConfig) {
        guard next.version > config.version else { return }
        contacts = next.servers.map { member in
            var contact = config.place(of: member.server).map { contacts[$0] } ?? Contact()
            if contact.health == .lost { contact.health = .suspect }
            return contact
        }
        config = next
        placement = BlockPlacement(next)
        generation += 1
    }

    /// A heartbeat came over the connection of `member`. It is alive from this moment, whatever it was (B5).
    public mutating func heard(_ heartbeat: Heartbeat, from member: ServerID, now: Duration) {
        guard member != server, let place = config.place(of: member) else { return }
        let last = contacts[place].last
        if let last, last.incarnation == heartbeat.incarnation, last.number >= heartbeat.number { return }
        let isNew = last?.incarnation != heartbeat.incarnation
        if isNew || contacts[place].health != .alive {
            generation += 1
            returns += 1
        }
        contacts[place] = Contact(health: .alive, heard: now, silence: .zero, last: heartbeat)
    }

    /// Once every `timing.heartbeat`: time passes for the silent. Returns what to send to every other member.
    public mutating func tick(now: Duration) -> Heartbeat {
        // What the clock jumped over while the process did not run is nobody's silence.
        let passed = min(max(.zero, now - lastTick), timing.heartbeat * 2)
        lastTick = now
        let inContact = config.servers.indices.map { isInContact($0, now) }
        for place in contacts.indices where config.servers[place].server != server {
            let isSilent = contacts[place].heard.map { now - $0 >= timing.suspect } ?? true
            guard isSilent else { continue }
            let isAgreed = isMajority(inContact, silentAbout: place)
            if isAgreed { contacts[place].silence += passed }
            let health: MemberHealth =
                isAgreed && contacts[place].silence >= timing.grace ? .lost : .suspect
            if contacts[place].health != health {
                contacts[place].health = health
                generation += 1
            }
        }

        sent += 1
        var hears = MemberSet()
        for place in contacts.indices where contacts[place].health == .alive { hears.insert(place) }
        return Heartbeat(incarnation: incarnation, number: sent, configVersion: config.version, hears: hears)
    }

    /// Both ways: it is heard, and says that it hears this server. One-way links are no contact.
    private func isInContact(_ place: Int, _ now: Duration) -> Bool {
        if config.servers[place].server == server { return true }
        guard let heard = contacts[place].heard, now - heard < timing.suspect, let last = contacts[place].last,
            last.configVersion == config.version, let own = config.place(of: server)
        else { return false }
        return last.hears.contains(own)
    }

    /// Whether a majority of the active servers is in contact with this one and does not hear the member either: a
    /// broken cable between two servers makes neither of them lost.
    private func isMajority(_ inContact: [Bool], silentAbout member: Int) -> Bool {
        var active = 0
        var agreeing = 0
        for place in config.servers.indices where config.servers[place].state == .active {
            active += 1
            guard inContact[place] else { continue }
            if config.servers[place].server == server {
                agreeing += 1
            } else if let last = contacts[place].last, !last.hears.contains(member) {
                agreeing += 1
            }
        }
        return agreeing * 2 > active
    }
}
