import Glibc
import LanfsProtocol
import LanfsServer
import Synchronization
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `A server that stays away` {
    private func state(of server: ServerID, in volume: Volume) -> Member.State? {
        volume.current { $0.chain.record.newestConfig }.servers.first { $0.server == server }?.state
    }

    /// What a mounted volume does now and then.
    private func tend(_ volume: Volume) async throws {
        try await volume.tendMembership()
        try await volume.removeLostServers()
    }

    @Test func `comes back with an empty disk, and that one fills while the old one leaves the list`() async throws {
        let cluster = Cluster(members: .hasty)
        try await cluster.start(0..<3)
        let volume = try await cluster.open(at: [0], create: true, joins: true)
        try await volume.put(pattern(100), as: "takes the lease")
        try await volume.tendMembership()
        for number in 0..<30 {
            try await volume.put(pattern(5000 + number), as: "\(number)")
            try await volume.save().get()
        }
        let old = cluster.identity(2)
        await cluster.stop(2)
        try cluster.wipe(2)
        try await cluster.start([2])
        #expect(cluster.identity(2) != old)
        let members = (0..<3).map(cluster.identity)
        // Nobody waits for a moment in which nothing is written or deleted.
        let isOver = Atomic(false)
        async let written: Int = {
            var count = 0
            while !isOver.load(ordering: .relaxed) {
                try await volume.put(pattern(7000 + count), as: "new \(count % 10)")
                try await volume.save().get()
                count += 1
            }
            return count
        }()
        try await eventually {
            try await tend(volume)
            let config = volume.current { $0.chain.record.newestConfig }
            return Set(config.servers.map(\.server)) == Set(members) && Set(config.keepers.members) == Set(members)
        }
        isOver.store(true, ordering: .relaxed)
        let count = try await written
        try await eventually {
            try await volume.freeDeadBlocks()
            let copies = try await cluster.copies(of: volume, at: members)
            return copies.count >= 30 && copies.values.allSatisfy { $0 == 2 }
        }
        #expect(try await cluster.copies(of: volume, at: [members[2]]).count >= 5)
        #expect(try await volume.close() == nil)

        await cluster.stop(0)
        let again = try await cluster.open(at: [2])
        for number in 0..<30 { #expect(try await again.contents(of: "\(number)") == pattern(5000 + number)) }
        for number in max(0, count - 10)..<count {
            #expect(try await again.contents(of: "new \(number % 10)") == pattern(7000 + number))
        }
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `leaves the list when it is not needed, and joins again like a new one`() async throws {
        let cluster = Cluster(members: .hasty)
        try await cluster.start(0..<4)
        let volume = try await cluster.open(at: [0], create: true, joins: true)
        try await volume.put(pattern(100), as: "takes the lease")
        try await volume.tendMembership()
        for number in 0..<20 { try await volume.put(pattern(5000 + number), as: "\(number)") }
        try await volume.save().get()
        let away = cluster.identity(3)
        await cluster.stop(3)
        try await eventually {
            try await tend(volume)
            return state(of: away, in: volume) == nil
        }
        #expect(volume.servers.lane(of: away) == nil)
        try await cluster.start([3])
        try await eventually {
            try await tend(volume)
            return state(of: away, in: volume) == .active
        }
        for number in 0..<20 { #expect(try await volume.contents(of: "\(number)") == pattern(5000 + number)) }
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    @Test func `stays on the list while it alone has something, and takes its place again`() async throws {
        let cluster = Cluster(members: .hasty)
        let volume = try await cluster.make(of: 0..<4, copies: 1)
        for number in 0..<20 {
            try await volume.put(pattern(5000 + number), as: "\(number)")
            try await volume.save().get()
        }
        let away = cluster.identity(3)
        #expect(try await !cluster.copies(of: volume, at: [away]).isEmpty)
        await cluster.stop(3)
        try await eventually {
            try await tend(volume)
            return state(of: away, in: volume) == .lost
        }
        for _ in 0..<10 { try await tend(volume) }
        #expect(state(of: away, in: volume) == .lost)
        try await cluster.start([3])
        try await eventually {
            try await tend(volume)
            return state(of: away, in: volume) == .active
        }
        for number in 0..<20 { #expect(try await volume.contents(of: "\(number)") == pattern(5000 + number)) }
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    /// They are in the stored tree until the next checkpoint, and freed long before it.
    @Test func `need not be waited for because of blocks that died since the last checkpoint`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3)
        try await volume.put(pattern(200_000), as: "large")
        for number in 0..<300 where volume.current({ $0.chain.contents.treeSequence }) == 0 {
            try await volume.put(pattern(100 + number), as: "small")
            try await volume.save().get()
        }
        let large = try #require(try await volume.find(VolumePath(names: [Array("large".utf8)])))
        let dying = try await volume.blocks(of: large.inode)
        #expect(!dying.isEmpty)
        try await volume.put(pattern(200_123), as: "large")
        try await volume.save().get()
        try await eventually {
            try await volume.freeDeadBlocks()
            let stored = try await cluster.copies(of: volume, at: (0..<3).map(cluster.identity))
            return dying.allSatisfy { stored[$0] == nil }
        }
        var proof = CopyProof(of: volume.current { $0.chain.record.newestConfig })
        for _ in 0..<2 { #expect(try await volume.advance(&proof)) }
        #expect(proof.isComplete, "\(proof.lacking.count) blocks lack copies")
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }
}

extension Cluster {
    /// The disk of a server that is stopped is replaced by an empty one: its identity goes as well.
    fileprivate func wipe(_ number: Int) throws {
        let script = "rm -rf '\(folder(number).string)'"
        #expect(script.withCString { system($0) } == 0)
    }
}
