import LanfsFileSystem
import LanfsNetwork
import LanfsProtocol

/// How a volume and its servers are at one moment.
public struct VolumeStatus: Sendable {
    public struct Server: Sendable {
        public var server: ServerID
        public var state: Member.State
        /// It votes on the root and keeps no blocks.
        public var isWitness: Bool
        public var isKeeper: Bool
        /// Where it is; `nil`: there is no connection to it.
        public var address: String?
        /// What it says of itself; `nil` without an answer in time.
        public var answer: ServerStatus?
        /// What the others make of it: `lost` when one of them says so. A server that answered is alive.
        public var health: MemberHealth
    }

    public var volume: VolumeID
    public var epoch: UInt64
    /// Of the newest chosen root: how many commits there were.
    public var commits: UInt64
    public var replicas: Int
    public var keeperQuorum: Int
    /// Those that have not left, in the order of their ids.
    public var servers: [Server]
    /// What recoveries by force left behind, and what for its sake is not freed (M3).
    public var recovery: Recovery
    /// Paths of what lost a conflict (L6) and was neither renamed nor deleted since.
    public var conflicts: [String]

    public struct Recovery: Sendable {
        /// Names of snapshots, in the order of their commits.
        public var snapshots: [String] = []
        /// Space of data from before the newest recovery is given back by audits only, or not at all.
        public var holdsBack = false
        /// Servers that may still come back with something that is not known here: nothing of that data is freed before.
        public var awaited: [ServerID] = []
    }

    private var memberships: [MembershipStatus] { servers.compactMap { $0.answer?.membership } }
    /// Copies that are to be made, as far as the servers that answered have looked.
    public var missingCopies: Int {
        memberships.reduce(0) { $0 + Int($1.copiesWaiting) + Int($1.copiesUnderWay) }
    }
    /// Bytes a second.
    public var repairRate: UInt64 { memberships.reduce(0) { $0 + $1.repairRate } }
    /// Seconds until the copies are made at the present rate; `nil` when nothing is to be copied, or nothing is.
    public var repairSeconds: UInt64? {
        let answers = servers.compactMap(\.answer)
        let blocks = answers.reduce(0) { $0 + $1.blocks }
        guard missingCopies > 0, repairRate > 0, blocks > 0 else { return nil }
        let size = answers.reduce(0) { $0 + $1.usedByVolume } / blocks
        return UInt64(missingCopies) * size / repairRate
    }
    public var keepersReached: Int { servers.count { $0.isKeeper && $0.answer != nil } }
    /// B2: so many servers must have a block before a commit may name it.
    public var requiredCopies: Int { min(replicas, servers.count { $0.isStore }) }
    /// Whether changes can be committed right now.
    public var isWritable: Bool {
        keepersReached >= keeperQuorum && servers.count { $0.isStore && $0.answer != nil } >= requiredCopies
    }
}

extension VolumeStatus.Server {
    /// It takes new blocks.
    var isStore: Bool { state == .active && !isWitness }
}

extension Volume {
    /// Asks every server; those that have not answered after `patience` are away.
    public func status(patience: Duration) async -> VolumeStatus {
        let record = current { $0.chain.record }
        let config = record.newestConfig
        let members = config.servers.filter { $0.state != .gone }
        await servers.connect(members.count, of: members.map(\.server), until: .now + patience)
        let answers = await withTaskGroup(of: (ServerID, ServerStatus?).self) { group in
            for member in members {
                group.addTask { [servers] in (member.server, await servers.status(of: member.server, patience)) }
            }
            return await group.reduce(into: [ServerID: ServerStatus]()) { $0[$1.0] = $1.1 }
        }
        let seen = answers.values.compactMap(\.membership).flatMap(\.members)
        return VolumeStatus(
            volume: id, epoch: record.sealedNext == nil ? record.epoch : record.epoch + 1, commits: record.sequence,
            replicas: Int(config.replicas), keeperQuorum: config.keepers.quorum,
            servers: members.map { member in
                let opinions = seen.filter { $0.server == member.server }.map(\.health)
                let health: MemberHealth =
                    answers[member.server] != nil
                    ? .alive : member.state == .lost || opinions.contains(.lost) ? .lost : .suspect
                return VolumeStatus.Server(
                    server: member.server, state: member.state, isWitness: member.weight == 0,
                    isKeeper: config.keepers.members.contains(member.server),
                    address: servers.lane(of: member.server)?.connection?.address, answer: answers[member.server],
                    health: health)
            },
            recovery: await recoveryStatus(patience: patience),
            conflicts: await patiently(upTo: patience, on: nil) { try? await self.conflicts() }.flatMap { $0 } ?? [])
    }
}

extension Volume {
    /// Nothing when the tree cannot be read in time.
    private func recoveryStatus(patience: Duration) async -> VolumeStatus.Recovery {
        let (recoveries, config) = current { ($0.chain.contents.recoveries, $0.chain.record.newestConfig) }
        guard let newest = recoveries.newest else { return .init() }
        let status = await patiently(upTo: patience, on: nil) { () -> VolumeStatus.Recovery? in
            try? await self.runToEnd { (state) throws(Pause) in
                try state.read { (transaction) throws(Interruption) in
                    let watch = try transaction.recoveryWatch(of: newest.id)
                    // Before anybody has looked: who votes here has followed.
                    let members = config.servers.filter { $0.state != .gone && !config.keepers.members.contains($0.server) }
                    return VolumeStatus.Recovery(
                        snapshots: try transaction.pinnedRoots().map(\.name),
                        holdsBack: try transaction.recoveryHold(after: recoveries).isInForce,
                        awaited: watch?.awaited ?? members.map(\.server))
                }
            }
        }
        return status.flatMap { $0 } ?? .init()
    }
}

extension Servers {
    fileprivate func status(of server: ServerID, _ patience: Duration) async -> ServerStatus? {
        guard let connection = lane(of: server)?.connection else { return nil }
        return await withTaskGroup(of: ServerStatus?.self) { group in
            group.addTask {
                guard case .status(let status)? = try? await connection.call(.status).response else { return nil }
                return status
            }
            group.addTask {
                try? await Task.sleep(for: patience)
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}
