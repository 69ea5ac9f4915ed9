@testable import LanfsProtocol

/// The volume's client: uploads, commits, frees and collects (G1 to G8).
struct SimulatedUploader {
    struct Upload {
        let block: BlockID
        var tag: UInt64
        var acknowledgedBy: [Int] = []
        var sent: Int64 = .min / 2
    }

    var gcEpoch: UInt64 = 0
    /// What the chosen root reaches.
    var live: Set<BlockID> = []
    var uploads: [Upload] = []
    var dead: [BlockID] = []
    var collection: GarbageCollection?
    /// What the root that it marks reaches.
    var marked: [BlockID] = []
    /// Which server says next what it stores.
    var listing = 0
    var nextCollection: Int64 = 20 * RepairWorld.second
    var tender = SimulatedTender()
}

extension RepairWorld {
    mutating func act() throws {
        guard !isHealed else { return }
        push(.act, in: Int64(200 + random.below(1200)) * Self.millisecond)
        switch random.below(10) {
        case 0..<4: if client.live.count + client.uploads.count < 22 { upload() }
        case 4..<7: try commit()
        case 7: free()
        case 8 where random.chance(0.1): client.uploads = []  // it died
        default: try collect()
        }
        for index in client.uploads.indices where now - client.uploads[index].sent > 2 * Self.second { resend(index) }
    }

    private mutating func upload() {
        counts[.uploads] += 1
        client.uploads.append(SimulatedUploader.Upload(block: random.id(), tag: client.gcEpoch))
        resend(client.uploads.count - 1)
    }

    /// B3: the first R in rank that the client finds up; it may be wrong about that.
    private mutating func resend(_ index: Int) {
        client.uploads[index].sent = now
        let upload = client.uploads[index]
        let ranking = BlockPlacement(config).ranking(of: upload.block).compactMap { places[$0] }
        let up = ranking.filter { servers[$0].isUp && !random.chance(misjudgement) }
        if !up.starts(with: ranking.prefix(replicas)) { counts.note(.B3) }
        for server in up.prefix(replicas) where !upload.acknowledgedBy.contains(server) {
            send(Envelope(from: nil, to: server, body: .put(upload.block, tag: upload.tag)))
        }
    }

    mutating func answerClient(_ block: BlockID, _ tag: UInt64, _ server: Int) {
        if !isHealed, random.chance(loss) { return counts[.lost] += 1 }
        push(.acknowledged(block, tag: tag, by: server), in: delay())
    }

    mutating func acknowledged(_ block: BlockID, _ tag: UInt64, _ server: Int) {
        guard let index = client.uploads.firstIndex(where: { $0.block == block && $0.tag == tag }),
            !client.uploads[index].acknowledgedBy.contains(server),
            // Its disk was lost meanwhile, and the connection with it.
            servers[server].isLiar || servers[server].disk[block] != nil
        else { return }
        client.uploads[index].acknowledgedBy.append(server)
    }

    /// B2, G2.
    private mutating func commit() throws {
        let active = config.servers.filter { $0.state == .active }.compactMap { places[$0.server] }
        var left: [SimulatedUploader.Upload] = []
        var added: [BlockID] = []
        for var upload in client.uploads {
            if !UploadFence.allows(base: client.gcEpoch, tag: upload.tag) {
                upload = SimulatedUploader.Upload(block: upload.block, tag: client.gcEpoch)
                counts.note(.G2)
            }
            let copies = upload.acknowledgedBy.count { active.contains($0) }
            if copies > 0, copies < config.requiredCopies { counts.note(.B2) }
            if copies >= config.requiredCopies, random.chance(0.7) {
                added.append(upload.block)
            } else {
                left.append(upload)
            }
        }
        let dying = client.live.sorted().filter { _ in random.chance(0.08) }
        client.uploads = left
        client.live.formUnion(added)
        client.live.subtract(dying)
        client.dead += dying
        counts[.commits] += 1
        for block in added { try checkLive(block, "committed") }
    }

    /// G8. Some frees are forgotten: they are for the audit to find.
    private mutating func free() {
        guard !client.dead.isEmpty else { return }
        if random.chance(0.6) { broadcast(.remove(client.dead, gcEpoch: nil, cutoff: client.gcEpoch)) }
        client.dead = []
    }

    mutating func broadcast(_ body: Envelope.Body) {
        for server in servers.indices where isMember(server) {
            send(Envelope(from: nil, to: server, body: body))
            // Some come again much later.
            if !isHealed, random.chance(duplication) {
                push(.deliver(Envelope(from: nil, to: server, body: body)), in: Int64(random.below(60)) * Self.second)
            }
        }
    }

    // MARK: Collecting

    /// G4, then one server's list at a time, then G5.
    private mutating func collect() throws {
        guard client.collection != nil else {
            guard now >= client.nextCollection else { return }
            let pause = mutant == .provesWithoutTag ? 3 : 10 + random.below(30)
            client.nextCollection = now + Int64(pause) * Self.second
            return beginCollection()
        }
        if client.listing < servers.count {
            listForCollection(client.listing)
            client.listing += 1
        } else {
            endCollection()
        }
    }

    mutating func beginCollection() {
        counts[.collections] += 1
        client.gcEpoch += 1
        client.collection = GarbageCollection(gcEpoch: client.gcEpoch)
        client.marked = client.live.sorted()
        client.listing = 0
    }

    mutating func listForCollection(_ server: Int) {
        guard servers[server].isUp, isMember(server) else { return }
        for block in servers[server].page(after: nil, limit: .max, quarantinedToo: false) {
            client.collection?.consider(block)
        }
    }

    mutating func endCollection() {
        guard var collection = client.collection else { return }
        client.collection = nil
        let candidates = collection.candidateCount
        for block in client.marked { collection.mark(block) }
        counts.note(.G4, times: candidates - collection.candidateCount)
        guard let cutoff = collection.cutoff else { return }
        let unreached = collection.unreached()
        guard !unreached.isEmpty else { return }
        broadcast(.remove(unreached, gcEpoch: collection.gcEpoch, cutoff: cutoff))
    }
}
