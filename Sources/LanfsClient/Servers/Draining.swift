import LanfsNetwork
import LanfsProtocol

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
        guard config.servers.contains(where: { $0.server == server && $0.isPlaced }) else { return nil }
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
        var most: UInt64 = 0
        while true {
            try await replaceKeeper(server)
            let config = current { $0.chain.record.newestConfig }
            guard let member = config.servers.first(where: { $0.server == server }), member.state != .gone else { return }
            guard member.state == .draining else { throw .drainEnded }
            // A witness has none now, but may have had some before it became one.
            var proof = CopyProof(of: config, copies: member.takesNoBlocks ? max(1, config.requiredCopies) : nil)
            while !proof.isComplete {
                let start = ContinuousClock.now
                guard try await advance(&proof) else { break }
                let size = try await averageBlockSize()
                // What is missing for long may be dead by now: then only another root tells.
                let nextRoot = ContinuousClock.now + max(.seconds(30), (.now - start) * 4)
                while !proof.isComplete, ContinuousClock.now < nextRoot {
                    most = max(most, UInt64(proof.lacking.count))
                    progress.report(.began(name: name, size: most * size))
                    progress.report(.moved(bytes: (most - UInt64(proof.lacking.count)) * size, resumed: false))
                    try? await Task.sleep(for: .milliseconds(500))
                    if isClosed.load(ordering: .relaxed) { throw .closed }
                    if current({ $0.chain.record.newestConfig.version }) != config.version { break }
                    await askAgain(&proof)
                }
            }
            guard proof.isComplete else { continue }
            try await changeServers { next in
                // Any other config may have had fewer copies made, or this very server store blocks again.
                guard next.version == proof.configVersion, !next.keepers.members.contains(server) else { return }
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
                    "draining waits: the server votes on the volume's root until others do, and not all of those answer. Start them, or drain first one that is lost",
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

    private func averageBlockSize() async throws(VolumeError) -> UInt64 {
        let status = try await blocks.status()
        return max(1, status.usedByVolume / max(1, status.blocks))
    }
}

extension Member {
    /// A witness, which has none.
    fileprivate var takesNoBlocks: Bool { weight == 0 }

    /// It takes blocks, or did before it was lost.
    fileprivate var isPlaced: Bool { weight > 0 && (state == .active || state == .lost) }
}

extension VolumeConfig {
    fileprivate mutating func setState(_ state: Member.State, of server: ServerID) {
        // Gone is for good.
        guard let index = servers.firstIndex(where: { $0.server == server }), servers[index].state != .gone else { return }
        servers[index].state = state
    }
}
