import LanfsFileSystem
import LanfsProtocol

/// Which blocks can be read right now. Nobody is asked while so few servers are away that each block has a copy elsewhere.
struct Reach: Sendable {
    /// A server that has not answered so long after the volume was opened is away, in the end.
    private static let patience = Duration.seconds(2)

    private let volume: Volume
    /// What people call the servers that are away; none: everything is within reach.
    let away: [String]

    init(of volume: Volume) async {
        self.volume = volume
        let servers = volume.servers
        let config = volume.current { $0.chain.record.newestConfig }
        let stores = config.servers.filter { $0.state != .gone && $0.weight > 0 }.map(\.server)
        let copies = max(1, config.requiredCopies)
        await servers.connect(stores.count - copies + 1, of: stores, until: servers.begun + Self.patience)
        let lost = stores.filter { servers.lane(of: $0)?.connection == nil }
        away = lost.count < copies ? [] : lost.map(servers.name)
    }

    /// Those of `files` that cannot be read whole: every server that has a certain block of theirs is away.
    func incomplete(_ files: [Attributes]) async throws(VolumeError) -> Set<InodeNumber> {
        if away.isEmpty { return [] }
        var files = files.filter { $0.type == .regular }.map { (inode: $0.inode, blocks: Set<BlockID>()) }
        for index in files.indices { files[index].blocks = try await volume.blocks(of: files[index].inode) }
        let lost = await volume.blocks.outOfReach(Array(files.reduce(into: Set()) { $0.formUnion($1.blocks) }), Self.patience)
        return Set(files.filter { !$0.blocks.isDisjoint(with: lost) }.map(\.inode))
    }
}

extension Servers {
    func name(of server: ServerID) -> String {
        let name = lane(of: server)?.link.name ?? "\(server.hex.prefix(16))"
        return setting.pins.endpoints(of: server).first.map { "\(name) (last at \($0))" } ?? name
    }
}

extension Volume {
    func blocks(of inode: InodeNumber) async throws(VolumeError) -> Set<BlockID> {
        var blocks: Set<BlockID> = []
        var chunk: UInt64? = 0
        while let first = chunk {
            let found = try await runToEnd { (state) throws(Pause) in
                try state.read { (transaction) throws(Interruption) in try transaction.blocks(of: inode, from: first) }
            }
            blocks.formUnion(found.blocks)
            chunk = found.next
        }
        return blocks
    }
}

extension BlockPool {
    /// Those that no server has that can be reached. One that does not answer in time is away; one that refuses may have all.
    fileprivate func outOfReach(_ blocks: [BlockID], _ patience: Duration) async -> Set<BlockID> {
        let near = servers.placement.members.compactMap(\.connection)
        var lost = Set(blocks.filter { unflushed($0) == nil })
        for start in stride(from: 0, to: blocks.count, by: Request.blockLimit) {
            let page = Array(blocks[start..<min(start + Request.blockLimit, blocks.count)])
            await withTaskGroup(of: Set<BlockID>.self) { group in
                for connection in near {
                    group.addTask {
                        let reply = await patiently(upTo: patience, on: nil) { try? await connection.call(.flush(expecting: page)) }
                        switch reply??.response {
                        case .missing(let missing): return Set(page).subtracting(missing)
                        case nil: return []
                        default: return Set(page)
                        }
                    }
                }
                for await held in group { lost.subtract(held) }
            }
        }
        return lost
    }
}
