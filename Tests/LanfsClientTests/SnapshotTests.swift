import LanfsFileSystem
import LanfsProtocol
import SystemPackage
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `What a recovery by force left behind` {
    /// Blocks that any server gives out.
    private func stored(_ volume: Volume) async throws -> Set<BlockID> {
        var blocks: Set<BlockID> = []
        var after: BlockID?
        while case let page = try await volume.blocks.list(after: after), !page.isEmpty {
            blocks.formUnion(page.map(\.block))
            after = page.last?.block
        }
        return blocks
    }

    private func blocks(of name: String, _ volume: Volume) async throws -> Set<BlockID> {
        let file = try #require(try await volume.find(VolumePath(names: [Array(name.utf8)])))
        return try await volume.blocks(of: file.inode)
    }

    private func delete(_ name: String, _ volume: Volume) async throws {
        _ = try await volume.unlink(Array(name.utf8), in: rootInode, by: caller).value()
        try await volume.save().get()
        // What is freed at once is freed by then.
        try await eventually {
            try await volume.save().get()
            try await volume.afterCommit()
            return try await volume.runToEnd { (state) throws(Pause) in
                try state.read { (transaction) throws(Interruption) in try transaction.deadBlocks(before: .max, limit: 1) }
            }.isEmpty
        }
    }

    @Test func `is a snapshot once its servers come back, whatever was deleted and collected meanwhile`() async throws {
        let cluster = Cluster(members: .hasty)
        var volume = try await cluster.make(of: 0..<3, keepers: 3, copies: 3)
        let servers = (0..<3).map(cluster.identity)
        // The one that will be left has a copy of everything that it hears of: at first all have, and then it is the largest.
        try await volume.changeServers { config in
            for index in config.servers.indices { config.servers[index].weight = config.servers[index].server == servers[0] ? .max : 1 }
        }
        try await volume.put(pattern(300_000), as: "shared")
        try await volume.save().get()
        let shared = try await blocks(of: "shared", volume)
        try await eventually {
            let theirs = try await cluster.copies(of: volume, at: Array(servers[1...])).keys
            return try await Set(cluster.copies(of: volume, at: [servers[0]]).keys).isSuperset(of: theirs)
        }
        await volume.keepCopies(2)
        await cluster.stop(0)
        try await volume.put(pattern(2_000_000), as: "beyond")
        try await volume.save().get()
        let beyond = try await blocks(of: "beyond", volume)
        let newest = volume.current { $0.chain.record.sequence }
        #expect(try await volume.close() == nil)
        for server in 1...2 { await cluster.stop(server) }

        try await cluster.start([0])
        volume = try await cluster.open(at: [0], recovery: { $0.seen != nil && $0.lost.count == 2 })
        #expect(try await volume.contents(of: "beyond") == nil)
        try await delete("shared", volume)
        try await volume.put(pattern(400_000), as: "young")
        try await volume.save().get()
        let young = try await blocks(of: "young", volume)
        try await delete("young", volume)
        for _ in 0..<3 { #expect(try await volume.audit().sweptBlocks == 0) }
        #expect(try await stored(volume).isSuperset(of: shared), "what the others may need was freed")
        #expect(try await stored(volume).isDisjoint(with: young), "what they cannot have was not")
        var status = await volume.status(patience: .seconds(2))
        #expect(status.recovery.holdsBack && status.recovery.snapshots.isEmpty && status.recovery.awaited == servers[1...].sorted())

        try await cluster.start([1, 2])
        await volume.servers.connect(3, of: servers, until: .now + .seconds(10))
        for _ in 0..<2 { try await volume.tendMembership() }
        status = await volume.status(patience: .seconds(2))
        let name = try #require(status.recovery.snapshots.first)
        #expect(status.recovery.snapshots.count == 1 && (UInt64(name.prefix { $0 != "-" }) ?? 0) >= newest)
        // Together they may go on yet: nothing of theirs is given up before that is over.
        #expect(status.recovery.awaited == servers[1...].sorted())
        await #expect(throws: VolumeError.self) { try await volume.dropSnapshot(name) }
        for _ in 0..<3 { #expect(try await volume.audit().sweptBlocks == 0) }

        for server in servers[1...] { try await volume.setDraining(false, server) }
        for _ in 0..<2 { try await volume.tendMembership() }
        status = await volume.status(patience: .seconds(2))
        #expect(status.recovery.awaited.isEmpty && status.recovery.holdsBack && status.recovery.snapshots == [name])
        // Now garbage is collected again, and the snapshot is none.
        for _ in 0..<3 { _ = try await volume.audit() }
        #expect(try await stored(volume).isSuperset(of: shared.union(beyond)))

        let snapshot = try await cluster.open(at: [0, 1, 2], snapshot: name)
        #expect(try await snapshot.contents(of: "beyond") == pattern(2_000_000))
        #expect(try await snapshot.contents(of: "shared") == pattern(300_000))
        await #expect(throws: Errno.readOnlyFileSystem) { try await snapshot.put([1], as: "new") }
        snapshot.abandon()
        await #expect {
            _ = try await cluster.open(at: [0, 1, 2], snapshot: "7-none")
        } throws: { "\($0)".contains(name) }

        try await volume.dropSnapshot(name)
        for _ in 0..<3 { _ = try await volume.audit() }
        #expect(try await stored(volume).isDisjoint(with: shared.union(beyond)))
        #expect(await volume.status(patience: .seconds(2)).recovery.holdsBack == false)
        #expect(try await volume.contents(of: "beyond") == nil)
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }
}
