import LanfsFileSystem
import LanfsNetwork
import LanfsProtocol
import LanfsTree

/// Why a server cannot be taken out of a volume as things are.
public enum DrainObstacle: Equatable, Sendable {
    /// Every block is to be on so many servers, and so many would be left.
    case tooFewServers(left: Int, copies: Int)
    /// Bytes that the others still take, and that they would have to.
    case tooLittleRoom(free: UInt64, needed: UInt64)
}

/// Taking a server out of the volume, and back in before it is gone (M1, B6).
extension Volume {
    private static let attemptsBeforeTelling = 15

    /// To be asked before a drain begins.
    public func obstacle(toDraining server: ServerID) async throws(VolumeError) -> DrainObstacle? {
        let config = current { $0.chain.record.newestConfig }
        guard config.servers.contains(where: { $0.server == server && $0.takesBlocks }) else { return nil }
        let rest = config.servers.filter { $0.takesBlocks && $0.server != server }.map(\.server)
        if rest.count < config.replicas { return .tooFewServers(left: rest.count, copies: Int(config.replicas)) }
        let statuses = try await blocks.statuses()
        // One that is away says nothing of what it holds, and takes nothing.
        let needed = statuses.first { $0.lane.server == server }?.status.usedByVolume ?? 0
        let free = statuses.reduce(UInt64(0)) { $0 + (rest.contains($1.lane.server) ? $1.status.free : 0) }
        return free < needed ? .tooLittleRoom(free: free, needed: needed) : nil
    }

    /// From now on nothing new is placed on the server and the others take over what it has; or, with `false`, it is one
    /// like any other again.
    public func setDraining(_ isDraining: Bool, _ server: ServerID) async throws(VolumeError) {
        try await changeServers { $0.setState(isDraining ? .draining : .active, of: server) }
    }

    /// Returns once a draining server has left the volume: no keeper any more, and every live block has R copies elsewhere,
    /// as a scan with the key proves (B6). To be called again after an interruption.
    ///
    /// - Parameter name: what progress calls it.
    public func finishDraining(
        _ server: ServerID, name: [UInt8], progress: TransferProgress
    ) async throws(VolumeError) {
        try await replaceKeeper(server)
        var most: UInt64 = 0
        while true {
            let root = try await settledRoot()
            let config = root.record.newestConfig
            guard let member = config.servers.first(where: { $0.server == server }), member.state != .gone else { return }
            guard member.state == .draining else { throw .drainEnded }
            var scan = DrainScan(copies: member.takesNoBlocks ? 0 : Int(config.replicas))
            let start = ContinuousClock.now
            do throws(VolumeError) {
                try await self.scan(root, &scan)
            } catch {
                // What another client freed meanwhile is no loss; what the newest root reaches has to be readable.
                if try await settledRoot().record.sequence == root.record.sequence { throw error }
                continue
            }
            let size = try await averageBlockSize()
            // What is missing for long may be dead by now: then only another scan tells.
            let nextScan = ContinuousClock.now + max(.seconds(30), (.now - start) * 4)
            while !scan.isProven {
                most = max(most, UInt64(scan.lacking.count))
                progress.report(.began(name: name, size: most * size))
                progress.report(.moved(bytes: (most - UInt64(scan.lacking.count)) * size, resumed: false))
                if scan.lacking.isEmpty || ContinuousClock.now >= nextScan { break }
                try? await Task.sleep(for: .milliseconds(500))
                if isClosed.load(ordering: .relaxed) { throw .closed }
                if current({ $0.chain.record.newestConfig.version }) != config.version { break }
                let asked = Array(scan.lacking.prefix(DrainScan.batch * 4))
                scan.note(asked, copies: await blocks.storedCopies(of: asked))
            }
            guard scan.isProven else { continue }
            // Later roots of this config need no scan: all their new blocks were on R servers that take blocks before
            // they were chosen (B2), and the others are in this root (G3).
            try await changeServers { next in
                // Any other config may have had fewer copies made, or this very server store blocks again.
                guard next.version == config.version, !next.keepers.members.contains(server) else { return }
                next.setState(.gone, of: server)
            }
        }
    }

    /// Returns once the server is no keeper any more (M2).
    private func replaceKeeper(_ server: ServerID) async throws(VolumeError) {
        for attempt in 0... {
            let config = current { $0.chain.record.newestConfig }
            guard config.keepers.members.contains(server) else { return }
            if attempt == Self.attemptsBeforeTelling {
                let away = config.servers.map(\.server).filter { servers.lane(of: $0)?.connection == nil }
                log.warning(
                    "draining waits: the server votes on the volume's root until others do, and not all of those answer",
                    metadata: ["away": "\(servers.names(of: away))"])
            }
            try await acquireLease()
            try await moveKeepers()
            try? await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Changes the servers by an ordinary commit (M1): again when another client's change came first, and not at all when
    /// `change` leaves everything as it is.
    func changeServers(_ change: (inout VolumeConfig) -> Void) async throws(VolumeError) {
        for attempt in 0... {
            try await acquireLease()
            let before = current { $0.chain.record.newestConfig }
            var next = before
            change(&next)
            guard next != before else { return }
            next.version += 1
            do throws(VolumeError) {
                try await self.change(.servers(next))
            } catch {
                // The lease may have been lost meanwhile.
                if attempt >= 5 { throw error }
                try? await Task.sleep(for: .milliseconds(100))
            }
            if current({ $0.chain.record.newestConfig }) == next { return }
        }
    }

    // MARK: The scan

    /// The newest root, with nothing of this client's own still to come.
    private func settledRoot() async throws(VolumeError) -> AuditedRoot {
        while true {
            try await acquireLease()
            let root = update { state -> AuditedRoot? in
                guard !state.hasUncommittedWork else { return nil }
                let chain = state.chain
                return AuditedRoot(
                    record: chain.record, contents: chain.contents, changeBlocks: chain.changeBlocks.map(\.block),
                    tree: state.tree)
            }
            if let root { return root }
            if case .failure(let errno) = await commitHousekeeping() { throw .failed(errno) }
        }
    }

    /// Asks the servers that take blocks for everything that the root reaches.
    private func scan(_ root: AuditedRoot, _ scan: inout DrainScan) async throws(VolumeError) {
        guard scan.copies > 0 else { return }
        for block in root.changeBlocks { scan.pending.insert(block) }
        for (tree, skipsStored) in [(Tree(root: root.contents.tree), false), (root.tree, true)] {
            try await walk(tree, skippingStored: skipsStored) { (nodes) throws(VolumeError) in
                for (place, node) in nodes { try scan.note(place, node) }
                if scan.pending.count >= DrainScan.batch { await self.ask(&scan) }
            }
        }
        await ask(&scan)
    }

    private func ask(_ scan: inout DrainScan) async {
        let blocks = Array(scan.pending)
        scan.pending = []
        scan.note(blocks, copies: await self.blocks.storedCopies(of: blocks))
    }

    private func averageBlockSize() async throws(VolumeError) -> UInt64 {
        let status = try await blocks.status()
        return max(1, status.usedByVolume / max(1, status.blocks))
    }
}

/// Which blocks lack copies, as far as a scan has come.
private struct DrainScan {
    static let batch = Request.blockLimit
    /// Further ones wait for a later scan: bounds the memory.
    private static let limit = 1 << 18

    let copies: Int
    /// To be asked for.
    var pending: Set<BlockID> = []
    private(set) var lacking: Set<BlockID> = []
    private var isCut = false

    init(copies: Int) { self.copies = copies }

    var isProven: Bool { lacking.isEmpty && !isCut }

    mutating func note(_ place: TreeWalk.Place, _ node: Node) throws(VolumeError) {
        if let stored = place.stored { pending.insert(stored.ref.block) }
        var failure: DecodingError?
        node.forEachEntry { key, value in
            do throws(DecodingError) {
                if let block = try blockReferred(by: key, value) { pending.insert(block) }
            } catch {
                failure = error
            }
        }
        if let failure { throw .damaged("a tree node (\(failure))") }
    }

    mutating func note(_ blocks: [BlockID], copies: [Int]) {
        for (block, count) in zip(blocks, copies) {
            if count >= self.copies {
                lacking.remove(block)
            } else if lacking.count < Self.limit {
                lacking.insert(block)
            } else {
                isCut = true
            }
        }
    }
}

extension BlockPool {
    /// A server that takes longer has none of them, for now.
    private static let answerTime = Duration.seconds(10)

    /// How many of the servers that take blocks have each of these on disk, by their own word (B2).
    fileprivate func storedCopies(of blocks: [BlockID]) async -> [Int] {
        let connections = servers.placement.stores.compactMap(\.connection)
        var copies = Array(repeating: 0, count: blocks.count)
        for start in stride(from: 0, to: blocks.count, by: Request.blockLimit) {
            let range = start..<min(start + Request.blockLimit, blocks.count)
            let answers = await withTaskGroup(of: Set<BlockID>?.self) { group in
                for connection in connections {
                    group.addTask {
                        let reply = await patiently(upTo: Self.answerTime, on: nil) {
                            try? await connection.call(.flush(expecting: Array(blocks[range])))
                        }
                        guard case .missing(let missing)? = reply??.response else { return nil }
                        return Set(missing)
                    }
                }
                return await group.reduce(into: [Set<BlockID>]()) { if let missing = $1 { $0.append(missing) } }
            }
            for missing in answers { for index in range where !missing.contains(blocks[index]) { copies[index] += 1 } }
        }
        return copies
    }
}

extension Member {
    /// A witness, which has none.
    fileprivate var takesNoBlocks: Bool { weight == 0 }
}

extension VolumeConfig {
    fileprivate var stores: [ServerID] { servers.filter(\.takesBlocks).map(\.server) }

    fileprivate func state(of server: ServerID) -> Member.State? { servers.first { $0.server == server }?.state }

    fileprivate mutating func setState(_ state: Member.State, of server: ServerID) {
        // Gone is for good.
        guard let index = servers.firstIndex(where: { $0.server == server }), servers[index].state != .gone else { return }
        servers[index].state = state
    }
}
