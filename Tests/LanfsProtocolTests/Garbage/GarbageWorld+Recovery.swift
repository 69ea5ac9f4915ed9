@testable import LanfsProtocol

extension GarbageWorld {
    /// Two of three keepers, which were given up by a recovery by force (M3), go on by themselves for a while, come back one by
    /// one, leave again, and are taken back or off the list.
    struct LeftSide {
        static let survivor = ServerID(word0: 1, word1: 0, word2: 0, word3: 0)
        static let servers = [
            ServerID(word0: 2, word1: 0, word2: 0, word3: 0), ServerID(word0: 3, word1: 0, word2: 0, word3: 0),
        ]
        static let keepers = Keepers([survivor] + servers)

        /// What they agreed on last.
        var root: Root
        /// What is on their disks.
        var stored: [BlockID: UInt64]
        /// Those that can be reached.
        var near: Set<ServerID> = []
        var followed: Set<ServerID> = []
        var dropped: Set<ServerID> = []

        /// Nobody else sees them, and no person gave one up or took one back.
        var canGoOn: Bool { near.isEmpty && followed.isEmpty && dropped.isEmpty }
        /// All of it is to be had again.
        var isWanted: Bool { dropped.isEmpty }
    }

    // MARK: The servers together

    /// The highest tag at those that can be reached (G1).
    func tag(of block: BlockID) -> UInt64? {
        let far = left.flatMap { $0.near.isEmpty ? nil : $0.stored[block] }
        return [stored[block], far].compactMap { $0 }.max()
    }

    mutating func delete(_ block: BlockID) {
        stored[block] = nil
        if left?.near.isEmpty == false { left?.stored[block] = nil }
    }

    var listed: [BlockID] {
        var blocks = Set(stored.keys)
        if let left, !left.near.isEmpty { blocks.formUnion(left.stored.keys) }
        return blocks.sorted()
    }

    // MARK: What must never happen

    /// Each block of a root that is pinned, or may still come back, is somewhere.
    func checkLeftBehind(_ fate: String) throws {
        func isLost(_ block: BlockID) -> Bool { stored[block] == nil && left?.stored[block] == nil }
        for pin in root.pins {
            if let lost = pin.live.first(where: isLost) {
                throw Violation(description: "block \(lost) of the pinned root \(pin.sequence) \(fate)")
            }
        }
        if let left, left.isWanted, left.followed.isEmpty, let lost = left.root.live.first(where: isLost) {
            throw Violation(description: "block \(lost) of the root that was left behind \(fate)")
        }
    }

    // MARK: Steps

    mutating func changeSides(_ client: Int) throws {
        guard left != nil else { return try recover(client) }
        switch random.below(10) {
        case 0..<2: goOnElsewhere()
        case 2..<4: meet(random.pick(LeftSide.servers))
        case 4: left?.near = []
        case 5..<7: examine(client)
        case 7: takeBack(client, random.pick(LeftSide.servers))
        case 8: if random.chance(0.2) { drop(client, random.pick(LeftSide.servers)) }
        default: if random.chance(0.3) { unpin(client) }
        }
        // All is as it should be again: something else may happen.
        if let left, left.followed.union(left.dropped).count == 2, root.watch?.isOver == true, root.pins.isEmpty {
            if left.dropped.isEmpty { stored.merge(left.stored, uniquingKeysWith: max) }
            self.left = nil
        }
    }

    /// A commit reaches two of three keepers, which then cannot be reached; a person goes on from the third (M3). The client
    /// that made it does not know what became of it, and commits the same blocks again.
    private mutating func recover(_ client: Int) throws {
        guard clients[client].base.sequence == root.sequence, !root.live.isEmpty else { return clients[client].base = root }
        let (before, state) = (root, clients[client])
        try commit(client)
        let beyond = root
        let collection = clients[client].collection
        root = before
        clients[client] = state
        clients[client].collection = collection
        // Some blocks have their only copy on this side.
        let theirs = stored.filter { block, _ in !before.live.contains(block) || random.chance(0.5) }
        left = LeftSide(root: beyond, stored: theirs)
        choose(client) { root in
            root.recovery = before.sequence
            root.watch = nil
        }
        tally[.recoveries] += 1
        tally.note(.M3)
    }

    /// By the word of clients that know nothing of the recovery.
    private mutating func goOnElsewhere() {
        guard var left, left.canGoOn else { return }
        let dying = left.root.live.sorted().filter { _ in random.chance(0.15) }
        left.root.live.subtract(dying)
        // What it frees it frees over there.
        for block in dying { left.stored[block] = nil }
        for _ in 0..<(1 + random.below(3)) {
            let block: BlockID = random.id()
            left.stored[block] = left.root.gcEpoch
            left.root.live.insert(block)
        }
        left.root.sequence += 1
        self.left = left
        tally[.commits] += 1
    }

    /// Servers give each other what they lack.
    private mutating func meet(_ server: ServerID) {
        guard var left, !left.dropped.contains(server) else { return }
        left.near.insert(server)
        let needed = root.pins.reduce(into: root.live.union(left.isWanted ? left.root.live : [])) { $0.formUnion($1.live) }
        for block in needed.sorted() {
            guard let tag = [stored[block], left.stored[block]].compactMap({ $0 }).max() else { continue }
            stored[block] = tag
            left.stored[block] = tag
        }
        self.left = left
    }

    /// The client that may write looks who is there.
    private mutating func examine(_ client: Int) {
        guard clients[client].base.sequence == root.sequence else { return clients[client].base = root }
        guard let left, root.watch?.isOver != true else { return }
        let members = [LeftSide.survivor] + LeftSide.servers.filter { !left.dropped.contains($0) }
        var watch = root.watch ?? RecoveryWatch(awaiting: members)
        watch.ignoresQuorum = mutant == .ignoresQuorum
        var standings: [ServerID: RecoveryWatch.Standing] = [LeftSide.survivor: .followed]
        var pins = root.pins
        for server in left.near.sorted() where !left.dropped.contains(server) {
            let isBehind = !left.followed.contains(server)
            standings[server] = isBehind ? .behind(LeftSide.keepers) : .followed
            let pin = Pin(sequence: left.root.sequence, live: left.root.live)
            if isBehind, !pins.contains(pin) { pins.append(pin) }
        }
        watch.note(standings, members: members)
        guard watch != root.watch || pins != root.pins else { return }
        tally[.pins] += pins.count - root.pins.count
        choose(client) { root in
            root.watch = watch
            root.pins = pins
        }
    }

    /// It becomes a keeper of this side, and its record gives way: by then that is pinned.
    private mutating func takeBack(_ client: Int, _ server: ServerID) {
        guard let left, left.near.contains(server), !left.dropped.contains(server) else { return }
        let isPinned = root.pins.contains { $0.sequence == left.root.sequence }
        guard isPinned || !left.followed.isEmpty else { return }
        self.left?.followed.insert(server)
    }

    /// A person gives a server up for good.
    private mutating func drop(_ client: Int, _ server: ServerID) {
        guard let left, !left.followed.contains(server), !left.dropped.contains(server) else { return }
        self.left?.near.remove(server)
        self.left?.dropped.insert(server)
    }

    private mutating func unpin(_ client: Int) {
        guard clients[client].base.sequence == root.sequence else { return clients[client].base = root }
        guard !root.pins.isEmpty else { return }
        let index = random.below(root.pins.count)
        choose(client) { $0.pins.remove(at: index) }
    }

    /// Everybody comes back, and no snapshot is kept.
    mutating func reunite() throws {
        guard left != nil else { return }
        for server in LeftSide.servers { meet(server) }
        examine(0)
        for server in LeftSide.servers where left?.dropped.contains(server) == false { left?.followed.insert(server) }
        examine(0)
        try checkLeftBehind("is gone at the end")
        choose(0) { $0.pins = [] }
        guard root.watch?.isOver == true else { throw Violation(description: "the recovery stays open for ever") }
        // What a server has that was given up is no concern of this volume.
        if left?.near.isEmpty == true { left = nil }
    }
}
