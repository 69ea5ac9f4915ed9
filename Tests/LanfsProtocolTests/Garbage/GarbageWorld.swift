import TestSupport
@testable import LanfsProtocol

/// Clients that upload, commit, die and collect, and servers that are one, whose messages arrive in any order, late and twice;
/// until a recovery by force makes two sides of them (`GarbageWorld+Recovery.swift`).
/// Roots are chosen one after the other, as the register sees to; what is deleted is gone at once, which is harder than
/// the quarantine of the real server (G7).
struct GarbageWorld {
    /// One rule broken on purpose.
    enum Mutant: CaseIterable, Sendable {
        /// G5: the cutoff one higher.
        case highCutoff
        /// G2: commits refer to blocks whatever their tag.
        case noFence
        /// G4: marks the root from before the gcEpoch was raised.
        case marksStaleRoot
        /// G4: misses 2% of what the root reaches.
        case marksIncompletely
        /// G5: the server does not look at the tag when it deletes.
        case ignoresTag
        /// G4: what a pinned root reaches is not marked.
        case marksNoPins
        /// G8: what a side that was left behind may need is freed as always.
        case freesWhatIsHeld
        /// G8: a block that is committed again after a recovery by force counts as made after it.
        case makesAnew
        /// G5: sweeps while a server may still come back.
        case sweepsWhileOpen
        /// M3: a side that can go on is taken for one that came back.
        case ignoresQuorum
        /// M3: nobody looks where a side went that was left behind.
        case ignoresSeals
    }

    struct Violation: Error, CustomStringConvertible {
        let description: String
    }

    struct Root {
        var sequence: UInt64 = 0
        var gcEpoch: UInt64 = 0
        var live: Set<BlockID> = []
        /// The newest commit before the newest recovery by force (M3).
        var recovery: UInt64?
        var watch: RecoveryWatch?
        var pins: [Pin] = []

        var hold: RecoveryHold {
            RecoveryHold(recovery: recovery, isOpen: watch.map { !$0.isOver } ?? true, pinsRoots: !pins.isEmpty)
        }
    }

    /// A root that was left behind, kept as a snapshot.
    struct Pin: Equatable {
        let sequence: UInt64
        let live: Set<BlockID>
    }

    struct Upload {
        let block: BlockID
        var tag: UInt64
        var isStored = false
    }

    enum Message {
        case put(BlockID, tag: UInt64, from: Int)
        case free([BlockID], gcEpoch: UInt64)
        case sweep([BlockID], gcEpoch: UInt64, cutoff: UInt64)
    }

    struct Client {
        var base = Root()
        var uploads: [Upload] = []
        /// Died by a commit of this client; the server is told later.
        var dead: [BlockID] = []
        var collection: GarbageCollection?
        var mayNotSweep = false
        /// What the collection has still to mark.
        var unmarked: [BlockID] = []
        /// Where the collection's listing is; `nil` when it is done.
        var listed: BlockID?
        var isListing = false
    }

    var random: SplitMix64
    let mutant: Mutant?
    var root = Root()
    var stored: [BlockID: UInt64] = [:]
    /// The newest commit that was known to whoever first committed a block.
    var made: [BlockID: UInt64] = [:]
    private var newestSweep: UInt64 = 0
    private var messages: [Message] = []
    var clients = [Client](repeating: Client(), count: 3)
    /// Servers that a recovery by force went on without, and what they have.
    var left: LeftSide?
    var tally = Tally()

    init(seed: UInt64, mutant: Mutant? = nil) {
        random = SplitMix64(seed: seed)
        self.mutant = mutant
    }

    /// Random steps, then two collections with nobody in the way: after them there is no garbage.
    mutating func run(steps: Int) throws {
        for _ in 0..<steps { try step() }
        messages = messages.shuffled(using: &random)
        while !messages.isEmpty { try deliver() }
        for client in clients.indices { clients[client] = Client(base: root) }
        try reunite()
        for _ in 0..<3 {
            try collect(0)
            while clients[0].collection != nil { goOnCollecting(0) }
            while !messages.isEmpty { try deliver() }
        }
        guard Set(stored.keys) == root.live, left?.stored.keys.allSatisfy(root.live.contains) ?? true else {
            throw Violation(description: "\(stored.count - root.live.count) blocks of garbage are left")
        }
    }

    private mutating func step() throws {
        let client = random.below(clients.count)
        switch random.below(100) {
        case 0..<28: if !messages.isEmpty { try deliver() }
        case 28..<36: try changeSides(client)
        case 36..<60: upload(client)
        case 60..<78: try commit(client)
        case 78..<84: tellDead(client)
        case 84..<86: clients[client] = Client(base: root)  // it died, and came back knowing nothing
        case 86..<90: if clients[client].collection == nil { try collect(client) }
        default: goOnCollecting(client)
        }
    }

    // MARK: Server

    private mutating func deliver() throws {
        let index = random.below(messages.count)
        let message = messages[index]
        // Some come again.
        if !random.chance(0.1) { messages.remove(at: index) }
        switch message {
        case .put(let block, let tag, let client):
            if let before = stored[block], before != tag { tally.note(.G1) }
            stored[block] = max(tag, stored[block] ?? 0)
            for index in clients[client].uploads.indices where clients[client].uploads[index].block == block {
                if clients[client].uploads[index].tag == tag { clients[client].uploads[index].isStored = true }
            }
        case .free(let blocks, let gcEpoch):
            for block in blocks where (tag(of: block) ?? .max) <= gcEpoch {
                delete(block)
                tally.note(.G8)
            }
        case .sweep(let blocks, let gcEpoch, let cutoff):
            guard gcEpoch >= newestSweep else { return tally.note(.G6) }
            newestSweep = gcEpoch
            for block in blocks {
                guard let tag = tag(of: block) else { continue }
                guard tag <= cutoff || mutant == .ignoresTag else {
                    tally.note(.G5)
                    continue
                }
                delete(block)
                tally[.deletions] += 1
            }
        }
        try check("is gone")
    }

    private func check(_ fate: String) throws {
        if let lost = root.live.first(where: { stored[$0] == nil }) {
            throw Violation(description: "block \(lost) of the chosen root \(fate)")
        }
        try checkLeftBehind(fate)
    }

    // MARK: Clients

    /// G1.
    private mutating func upload(_ client: Int) {
        let upload = Upload(block: random.id(), tag: clients[client].base.gcEpoch)
        clients[client].uploads.append(upload)
        messages.append(.put(upload.block, tag: upload.tag, from: client))
    }

    mutating func commit(_ client: Int) throws {
        if clients[client].base.sequence != root.sequence {
            // Somebody was faster: what was uploaded is used on the new root.
            clients[client].base = root
            return
        }
        let base = clients[client].base
        var added: [BlockID] = []
        var left: [Upload] = []
        for var upload in clients[client].uploads {
            if !UploadFence.allows(base: base.gcEpoch, tag: upload.tag), mutant != .noFence {
                // G2: sent again under the newest tag.
                tally.note(.G2)
                upload.tag = base.gcEpoch
                upload.isStored = false
                messages.append(.put(upload.block, tag: upload.tag, from: client))
            }
            if upload.isStored, random.chance(0.7) { added.append(upload.block) } else { left.append(upload) }
        }
        for block in added where made[block] == nil || mutant == .makesAnew { made[block] = base.sequence }
        let dying = base.live.sorted().filter { _ in random.chance(0.15) }
        clients[client].uploads = left
        clients[client].dead += dying
        choose(client) { $0.live = $0.live.union(added).subtracting(dying) }
        try check("was committed and is gone")
    }

    mutating func choose(_ client: Int, _ change: (inout Root) -> Void) {
        change(&root)
        root.sequence += 1
        clients[client].base = root
        tally[.commits] += 1
    }

    /// G8.
    private mutating func tellDead(_ client: Int) {
        guard !clients[client].dead.isEmpty else { return }
        let hold = clients[client].base.hold
        // What is held back is left to the audit.
        let free = clients[client].dead.filter {
            mutant == .freesWhatIsHeld || hold.allowsFreeing(made: made[$0] ?? 0)
        }
        tally[.held] += clients[client].dead.count - free.count
        messages.append(.free(free, gcEpoch: root.gcEpoch))
        clients[client].dead = []
    }

    // MARK: Collecting

    mutating func collect(_ client: Int) throws {
        guard clients[client].base.sequence == root.sequence else { return clients[client].base = root }
        let stale = root.live
        if mutant == .marksStaleRoot { try commit((client + 1) % clients.count) }
        clients[client].base = root
        choose(client) { $0.gcEpoch += 1 }
        clients[client].collection = GarbageCollection(gcEpoch: root.gcEpoch)
        clients[client].mayNotSweep = !root.hold.allowsSweeping && mutant != .sweepsWhileOpen
        let pinned = mutant == .marksNoPins ? [] : root.pins.reduce(into: Set()) { $0.formUnion($1.live) }
        clients[client].unmarked = (mutant == .marksStaleRoot ? stale : root.live).union(pinned).sorted()
        clients[client].listed = nil
        clients[client].isListing = true
        tally[.collections] += 1
    }

    /// One page of the list, then some of the marks, then the sweep.
    private mutating func goOnCollecting(_ client: Int) {
        guard var collection = clients[client].collection else { return }
        if clients[client].isListing {
            let page = listed.filter { $0 > clients[client].listed ?? .zero }.prefix(5)
            for block in page {
                let tag = tag(of: block) ?? 0
                // The mutant's cutoff is one higher: as if the tags were lower.
                collection.consider(
                    StoredBlock(block: block, length: 1, gcEpoch: mutant == .highCutoff && tag > 0 ? tag - 1 : tag))
            }
            clients[client].listed = page.last
            clients[client].isListing = !page.isEmpty
            clients[client].collection = collection
        } else if !clients[client].unmarked.isEmpty {
            let candidates = collection.candidateCount
            for block in clients[client].unmarked.prefix(5)
            where mutant != .marksIncompletely || !random.chance(0.02) {
                collection.mark(block)
            }
            tally.note(.G4, times: candidates - collection.candidateCount)
            clients[client].unmarked.removeFirst(min(5, clients[client].unmarked.count))
            clients[client].collection = collection
        } else {
            clients[client].collection = nil
            guard let cutoff = collection.cutoff, !clients[client].mayNotSweep else { return }
            let unreached = collection.unreached()
            guard !unreached.isEmpty else { return }
            messages.append(
                .sweep(unreached, gcEpoch: collection.gcEpoch, cutoff: mutant == .highCutoff ? cutoff + 1 : cutoff))
        }
    }
}
