@testable import LanfsProtocol

extension GarbageWorld {
    /// Two of three keepers, which were given up by a recovery by force (M3), go on by themselves for a while, move to a fourth
    /// server that had no root, come back one by one, leave again, and are taken back or off the list.
    struct LeftSide {
        static let survivor = ServerID(word0: 1, word1: 0, word2: 0, word3: 0)
        static let pair = [
            ServerID(word0: 2, word1: 0, word2: 0, word3: 0), ServerID(word0: 3, word1: 0, word2: 0, word3: 0),
        ]
        static let outsider = ServerID(word0: 4, word1: 0, word2: 0, word3: 0)
        static let servers = pair + [outsider]
        static let keepers = Keepers([survivor] + pair)
        static let nextKeepers = Keepers([outsider])

        /// What they agreed on last.
        var root: Root
        /// The seal that says that the outsider is the keeper from now on, which the pair shows.
        var seal: Root?
        /// It has heard of that.
        var isMoved = false
        /// What is on their disks.
        var stored: [BlockID: UInt64]
        /// Those that can be reached.
        var near: Set<ServerID> = []
        var followed: Set<ServerID> = []
        var dropped: Set<ServerID> = []
        /// The commits that were pinned at one time.
        var kept: Set<UInt64> = []

        /// The keepers on whose word the next step depends: nobody else sees them, and no person gave one up or took one back.
        var canGoOn: Bool {
            let keepers = isMoved ? [Self.outsider] : Self.pair
            return !keepers.contains { near.contains($0) || followed.contains($0) || dropped.contains($0) }
        }
        /// All of it is to be had again.
        var isWanted: Bool { dropped.isEmpty && !kept.contains(root.sequence) }
        /// What is on their disks can be had and deleted from this side.
        var isReached: Bool { !near.isDisjoint(with: isMoved ? Self.servers : Self.pair) }
        /// Nobody is left who may choose a root.
        var isSettled: Bool {
            (seal == nil ? Self.pair : Self.servers).allSatisfy { followed.contains($0) || dropped.contains($0) }
        }

        /// What a server shows that is not on this side; `nil`: no root.
        func shown(by server: ServerID) -> Root? {
            if server == Self.outsider { isMoved ? root : nil } else { seal ?? root }
        }
    }

    // MARK: The servers together

    /// The highest tag at those that can be reached (G1).
    func tag(of block: BlockID) -> UInt64? {
        let far = left.flatMap { $0.isReached ? $0.stored[block] : nil }
        return [stored[block], far].compactMap { $0 }.max()
    }

    mutating func delete(_ block: BlockID) {
        stored[block] = nil
        if left?.isReached == true { left?.stored[block] = nil }
    }

    var listed: [BlockID] {
        var blocks = Set(stored.keys)
        if let left, left.isReached { blocks.formUnion(left.stored.keys) }
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
        if let left, left.isWanted, let lost = left.root.live.first(where: isLost) {
            throw Violation(description: "block \(lost) of the root that was left behind \(fate)")
        }
    }

    // MARK: Steps

    mutating func changeSides(_ client: Int) throws {
        guard left != nil else { return try recover(client) }
        switch random.below(14) {
        case 0..<2: goOnElsewhere()
        case 2..<5: meet(random.pick(LeftSide.servers))
        case 5: left?.near.formIntersection(random.chance(0.5) ? [LeftSide.outsider] : [])
        case 6..<8: examine(client)
        case 8..<12: takeBack(client, random.pick(LeftSide.servers))
        case 12: if random.chance(0.2) { drop(client, random.pick(LeftSide.servers)) }
        default: if random.chance(0.1) { unpin(client) }
        }
        // All is as it should be again: something else may happen.
        if let left, left.isSettled, root.watch?.isOver == true, root.pins.isEmpty {
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
        // The fourth server is on this side, or away.
        left = LeftSide(root: beyond, stored: theirs, near: random.chance(0.5) ? [LeftSide.outsider] : [])
        choose(client) { root in
            root.recovery = before.sequence
            root.watch = nil
        }
        tally[.recoveries] += 1
        tally.note(.M3)
    }

    /// By the word of clients that know nothing of the recovery.
    private mutating func goOnElsewhere() {
        guard var left else { return }
        guard left.seal == nil || left.isMoved else { return openElsewhere() }
        guard left.canGoOn else { return }
        if left.seal == nil, random.chance(0.2) { return sealElsewhere() }
        let dying = left.root.live.sorted().filter { _ in random.chance(0.15) }
        left.root.live.subtract(dying)
        // What it frees it frees over there; what is pinned is on servers that came back.
        for block in dying where !root.pins.contains(where: { $0.live.contains(block) }) { left.stored[block] = nil }
        for _ in 0..<(1 + random.below(3)) {
            let block: BlockID = random.id()
            left.stored[block] = left.root.gcEpoch
            left.root.live.insert(block)
        }
        left.root.sequence += 1
        self.left = left
        tally[.commits] += 1
    }

    /// M2: the fourth server is going to be the keeper.
    private mutating func sealElsewhere() {
        guard var left else { return }
        left.root.sequence += 1
        left.seal = left.root
        self.left = left
    }

    /// By whoever saw the seal.
    private mutating func openElsewhere() {
        guard let left, ![left.near, left.followed, left.dropped].contains(where: { $0.contains(LeftSide.outsider) }) else { return }
        self.left?.isMoved = true
    }

    /// Servers give each other what they lack.
    private mutating func meet(_ server: ServerID) {
        guard var left, !left.dropped.contains(server) else { return }
        left.near.insert(server)
        guard left.isReached else { return self.left = left }
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
        watch.ignoresSeals = mutant == .ignoresSeals
        var standings: [ServerID: RecoveryWatch.Standing] = [LeftSide.survivor: .followed]
        var pins = root.pins
        for server in left.near.sorted() where !left.dropped.contains(server) {
            if left.followed.contains(server) {
                standings[server] = .followed
            } else if let shown = left.shown(by: server) {
                standings[server] = .behind(
                    server == LeftSide.outsider ? [LeftSide.nextKeepers]
                        : left.seal == nil ? [LeftSide.keepers] : [LeftSide.keepers, LeftSide.nextKeepers])
                // What its own side freed since is not to be had.
                let pin = Pin(sequence: shown.sequence, live: shown.live.filter { stored[$0] != nil || left.stored[$0] != nil })
                if !pins.contains(where: { $0.sequence == pin.sequence }) { pins.append(pin) }
                self.left?.kept.insert(pin.sequence)
            } else {
                standings[server] = .empty
            }
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
        guard clients[client].base.sequence == root.sequence else { return clients[client].base = root }
        guard let left, left.near.contains(server), !left.dropped.contains(server) else { return }
        examine(client)
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
        guard !root.pins.isEmpty, root.watch?.isOver == true else { return }
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
        if left?.near.isDisjoint(with: LeftSide.pair) == true { left = nil }
    }
}
