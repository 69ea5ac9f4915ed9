import LanfsCrypto
import LanfsFileSystem
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import LanfsClient

/// Blocks that come to the keepers with the question for their vote (B2, P1).
@Suite("Votes that bring blocks") struct VotingTests {
    /// A client that is about to move the root of a cluster's volume, and dies in the act.
    private struct Dying {
        let servers: Servers
        let blocks: BlockPool
        let register: RootRegister
        let base: RootRecord

        /// - Parameter heard: the only server whose keeper is asked to accept anything.
        init(_ cluster: Cluster, _ volume: Volume, _ record: RootRecord, heard: ServerID) async throws {
            let servers = Servers(
                .init(
                    volume: volume.id, key: volume.key, pins: ServerPins(cluster.laboratory.directories),
                    eventLoop: MultiThreadedEventLoopGroup.singleton.next(), surroundings: Surroundings(),
                    log: cluster.laboratory.log))
            let members = record.config.servers.map(\.server)
            servers.reach(members)
            servers.follow(record)
            await servers.connect(members.count, of: members, until: .now + .seconds(5))
            let blocks = BlockPool(servers: servers, timeout: nil, log: cluster.laboratory.log)
            let reaches = servers.transport(blocks)
            let queries = RegisterQueries(
                volume: volume.id, sender: 7, signer: VolumeSigner(key: volume.key.signingKey), servers: servers,
                transport: { server, request, completion in
                    if case .accept = request.body, server != heard { completion(.lost) } else { reaches(server, request, completion) }
                })
            register = RootRegister(
                proposer: Proposer(
                    id: 7, volume: volume.id, epoch: record.epoch, keepers: record.config.keepers, signer: queries.signer),
                queries: queries, log: cluster.laboratory.log, eventLoop: servers.eventLoop, fetch: { _ in true })
            base = try #require(await register.acquire())
            (self.servers, self.blocks) = (servers, blocks)
        }

        /// Asks for the vote for a root that needs this block; nobody hears what becomes of it.
        func propose(_ block: SealedBlock, _ key: VolumeKey) throws {
            var contents = try Volume.contents(of: base, key: key).followed(by: TransactionID(incarnation: 7, number: 1))
            contents.carried = [block.id]
            let sealed = FrameSeal.seal(contents.encoded, key: key.treeKey, index: 0)
            blocks.hold(block, gcEpoch: base.gcEpoch)
            #expect(blocks.carriable(to: base.config.keepers) == [block.id])
            blocks.bring([block.id], to: base.config.keepers.members, with: sealed)
            Task { [register, base] in
                _ = await register.commit(RootChange(contents: sealed, gcEpoch: base.gcEpoch), on: base)
            }
        }
    }

    private func has(_ block: BlockID, _ cluster: Cluster, _ number: Int, _ volume: Volume) async -> Bool {
        guard let connection = volume.servers.lane(of: cluster.identity(number))?.connection else { return false }
        let reply = try? await connection.call(.flush(expecting: [block]))
        return reply?.response == .missing([])
    }

    /// Each had sent three more messages, and woken six threads more.
    @Test func `a commit tells nobody who the members are`() async throws {
        let cluster = Cluster()
        try await cluster.start(0..<3)
        let witness = try await Liar.start(before: 1, of: cluster)
        let volume = try await cluster.make(of: 0..<3, keepers: 3, copies: 3)
        try await volume.put(pattern(5000), as: "file")
        try await volume.save().get()
        witness.tell(.none)
        for number in 0..<20 {
            try await volume.put(pattern(5000 + number), as: "file")
            try await volume.save().get()
        }
        #expect(volume.current { $0.chain.record.config.keepers.members.count } == 3)
        let asked = witness.asked
        #expect(asked.contains { if case .commit = $0 { true } else { false } })
        #expect(!asked.contains { if case .introduce = $0 { true } else { false } })
        #expect(try await volume.close() == nil)
        await witness.stop()
        await cluster.stopAll()
    }

    @Test func `a commit on three servers is one round, and its blocks are on all of them`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3, keepers: 3, copies: 3)
        try await volume.put(pattern(5000), as: "file")
        try await volume.save().get()
        let (record, contents) = volume.current { ($0.chain.record, $0.chain.contents) }
        #expect(record.config.keepers.members.count == 3)
        #expect(contents.carried.contains { $0 == contents.newestChange?.block })
        for block in contents.carried {
            for number in 0..<3 { #expect(await has(block, cluster, number, volume)) }
        }
        #expect(volume.blocks.unflushed.isEmpty)
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    @Test func `what only one keeper has accepted is completed by another client, which gets the blocks to the others first`()
        async throws
    {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3, keepers: 3, copies: 3)
        try await volume.put(pattern(5000), as: "before")
        try await volume.save().get()
        let record = volume.current { $0.chain.record }
        #expect(try await volume.close() == nil)

        let dying = try await Dying(cluster, volume, record, heard: cluster.identity(0))
        let block = SealedBlock(frames: [Array("needed".utf8)])
        try dying.propose(block, volume.key)
        // Of three disks that it needs one has it.
        while dying.blocks.state.withLock({ $0.uploads[block.id]?.stored.isEmpty == true }) {
            try await Task.sleep(for: .milliseconds(10))
        }
        dying.servers.close()

        // Of the keepers that are left one has it.
        await cluster.stop(2)
        let again = try await cluster.open(at: [0, 1])
        let newest = again.current { $0.chain }
        #expect(newest.contents.transaction == TransactionID(incarnation: 7, number: 1))
        #expect(newest.record.ballot.proposer != 7, "it was proposed again")
        for number in 0..<2 { #expect(await has(block.id, cluster, number, again)) }
        #expect(try await again.contents(of: "before") == pattern(5000))
        #expect(try await again.close() == nil)
        await cluster.stopAll()
    }
}
