import LanfsFileSystem
import LanfsProtocol
import LanfsServer
import NIOPosix
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `A volume of which too few keepers are left` {
    @Test func `goes on by force from one of two, and the other joins again when a person says so`() async throws {
        let cluster = Cluster(members: .hasty)
        var volume = try await cluster.make(of: 0..<2, keepers: 2)
        try await volume.put(pattern(50_000), as: "before")
        try await volume.save().get()
        #expect(try await volume.close() == nil)

        // Enough answer: nothing is forced.
        volume = try await cluster.open(at: [0, 1], recovery: { _ in false })
        #expect(volume.register.place?.epoch == 2)
        #expect(try await volume.close() == nil)

        await cluster.stop(1)
        await #expect(throws: VolumeError.self) { try await cluster.open(at: [0], recovery: { _ in false }) }
        volume = try await cluster.open(
            at: [0], recovery: { notice in notice.lost.count == 1 && notice.commit > 0 })
        #expect(volume.register.place?.epoch == 3)
        #expect(try await volume.contents(of: "before") == pattern(50_000))
        try await volume.put(pattern(60_000), as: "alone")
        try await volume.save().get()
        #expect(try await volume.close() == nil)

        try await cluster.start([1])
        volume = try await cluster.open(at: [1, 0])
        #expect(volume.register.place?.epoch == 3)
        let other = cluster.identity(1)
        #expect(volume.current { $0.chain.record.config }.servers.first { $0.server == other }?.state == .draining)
        try await volume.setDraining(false, other)
        try await volume.tendMembership()
        try await volume.put(pattern(70_000), as: "together")
        try await volume.save().get()
        #expect(volume.current { $0.chain.record.newestConfig }.keepers.members.count == 2)
        #expect(volume.register.place?.epoch == 4)
        #expect(volume.current { $0.chain.record.newestConfig }.requiredCopies == 2)
        try await eventually {
            try await cluster.copies(of: volume, at: (0..<2).map(cluster.identity)).values.allSatisfy { $0 == 2 }
        }
        #expect(try await volume.close() == nil)
        await cluster.stop(0)
        volume = try await cluster.open(at: [1])
        for (name, size) in [("before", 50_000), ("alone", 60_000), ("together", 70_000)] {
            #expect(try await volume.contents(of: name) == pattern(size))
        }
        _ = try await volume.close()
        await cluster.stopAll()
    }

    @Test func `is opened where it went on, also when at first only the keeper that was left behind answers`() async throws {
        let cluster = Cluster(members: .hasty)
        var volume = try await cluster.make(of: 0..<2, keepers: 2)
        try await volume.put(pattern(50_000), as: "before")
        try await volume.save().get()
        #expect(try await volume.close() == nil)
        await cluster.stop(1)
        volume = try await cluster.open(at: [0], recovery: { _ in true })
        try await volume.put(pattern(60_000), as: "alone")
        try await volume.save().get()
        #expect(try await volume.close() == nil)

        // It knows nothing of the recovery and answers for its epoch alone (P4).
        await cluster.stop(0)
        try await cluster.start([1])
        await #expect {
            _ = try await cluster.open(at: [1])
        } throws: { error in
            guard case VolumeError.rolledBack(let what) = error else { return false }
            return what.contains("away")
        }
        async let opened = cluster.open(at: [1])
        try await Task.sleep(for: .seconds(1))
        try await cluster.start([0])
        volume = try await opened
        #expect(volume.register.place?.epoch == 3)
        #expect(try await volume.contents(of: "alone") == pattern(60_000))
        #expect(try await volume.close() == nil)
        // Both answer at once, and the one that was left behind may be the first.
        for _ in 0..<5 {
            volume = try await cluster.open(at: [1, 0])
            #expect(volume.register.place?.epoch == 3)
            #expect(try await volume.close() == nil)
        }
        await cluster.stopAll()
    }

    @Test func `that was recovered on both sides alarms those who have seen the other`() async throws {
        let log = LogMemory()
        let cluster = Cluster(members: .hasty, log: log)
        var volume = try await cluster.make(of: 0..<2, keepers: 2)
        try await volume.put(pattern(50_000), as: "before")
        try await volume.save().get()
        // What was stored while there was one server, too.
        try await eventually {
            try await cluster.copies(of: volume, at: (0..<2).map(cluster.identity)).values.allSatisfy { $0 == 2 }
        }
        #expect(try await volume.close() == nil)
        await cluster.stop(1)
        volume = try await cluster.open(at: [0], recovery: { $0.seen == nil })
        try await volume.put(pattern(60_000), as: "zero")
        try await volume.save().get()
        #expect(try await volume.close() == nil)

        await cluster.stop(0)
        try await cluster.start([1])
        // This machine has seen more, which is said before anybody agrees.
        await #expect(throws: VolumeError.self) { try await cluster.open(at: [1], recovery: { $0.seen == nil }) }
        volume = try await cluster.open(at: [1], recovery: { ($0.seen ?? 0) > $0.commit })
        for number in 0..<6 {
            try await volume.put(pattern(70_000), as: "one\(number)")
            try await volume.save().get()
        }
        #expect(try await volume.close() == nil)

        await cluster.stop(1)
        try await cluster.start([0])
        await #expect {
            _ = try await cluster.open(at: [0])
        } throws: { error in
            guard case VolumeError.otherSide = error else { return false }
            return "\(error)".contains("two volumes")
        }
        // A person may choose it all the same; from then on the other one is the wrong one.
        volume = try await cluster.open(at: [0], recovery: { _ in false })
        #expect(try await volume.contents(of: "zero") == pattern(60_000))
        for number in 0..<6 {
            try await volume.put(pattern(80_000), as: "more\(number)")
            try await volume.save().get()
        }
        #expect(try await volume.close() == nil)
        try await cluster.start([1])
        await #expect {
            _ = try await cluster.open(at: [1])
        } throws: { if case VolumeError.otherSide = $0 { true } else { false } }
        await cluster.stopAll()
    }

    @Test func `keeps and names what the lost keeper comes back with`() async throws {
        let cluster = Cluster(members: .hasty)
        var volume = try await cluster.make(of: 0..<2, keepers: 2)
        try await volume.put(pattern(50_000), as: "before")
        try await volume.save().get()
        let record = volume.current { $0.chain.record }
        #expect(try await volume.close() == nil)
        let further = try await propose(on: record, at: 1, of: cluster, volume)
        await cluster.stop(1)
        volume = try await cluster.open(at: [0], recovery: { _ in true })
        #expect(volume.current { $0.chain.contents.recoveries.newest?.sequence } == record.sequence)
        try await volume.put(pattern(60_000), as: "alone")
        try await volume.save().get()
        try await cluster.start([1])
        await volume.servers.connect(2, of: record.config.servers.map(\.server), until: .now + .seconds(10))
        try await volume.setDraining(false, cluster.identity(1))
        try await volume.tendMembership()
        try await volume.save().get()
        #expect(try await volume.pinnedRoots() == [PinnedRoot(further, further.hash(VolumeSigner(key: volume.key.signingKey)))])
        // Looking again pins it no second time, and its keeper is one of this side now.
        try await volume.tendMembership()
        #expect(try await volume.pinnedRoots().count == 1)
        let recovery = try #require(volume.current { $0.chain.contents.recoveries.newest })
        #expect(try await volume.recoveryWatch(of: recovery)?.isOver == true)
        #expect(volume.current { $0.chain.record.newestConfig }.keepers.members.count == 2)
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    /// A commit that reaches one of two keepers only.
    private func propose(
        on record: RootRecord, at number: Int, of cluster: Cluster, _ volume: Volume
    ) async throws -> RootRecord {
        let signer = VolumeSigner(key: volume.key.signingKey)
        let config = record.newestConfig
        let servers = Servers(
            .init(
                volume: volume.id, key: volume.key, pins: ServerPins(cluster.laboratory.directories),
                eventLoop: MultiThreadedEventLoopGroup.singleton.next(), surroundings: Surroundings(),
                log: cluster.laboratory.log))
        servers.reach(config.servers.map(\.server))
        await servers.connect(2, of: config.servers.map(\.server), until: .now + .seconds(5))
        let ballot = Ballot(counter: record.ballot.counter + 5000, proposer: 99)
        var further = record
        further.sequence += 1
        further.previous = record.hash(signer)
        further.epoch = record.sealedNext == nil ? record.epoch : record.epoch + 1
        further.config = config
        further.sealedNext = nil
        further = further.signed(ballot: ballot, signer)
        let queries = RegisterQueries(
            volume: volume.id, sender: 99, signer: signer, servers: servers, transport: servers.transport(volume.blocks))
        let request = RegisterRequest(epoch: further.epoch, sender: 99, body: .accept(further, next: nil))
        let answer = await withCheckedContinuation { continuation in
            queries.transport(cluster.identity(number), request) { continuation.resume(returning: $0) }
        }
        #expect(answer.response?.verdict == .yes)
        servers.close()
        return further
    }
}
