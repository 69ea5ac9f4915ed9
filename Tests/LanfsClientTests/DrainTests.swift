import LanfsProtocol
import LanfsServer
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `A server that is taken out of a volume` {
    private let silence = TransferProgress { _ in }

    @Test(arguments: [1, 3])
    func `leaves when all it held is elsewhere, a keeper too, while another client writes`(_ keepers: Int) async throws {
        let cluster = Cluster(members: .hasty)
        let volume = try await cluster.make(of: 0..<4, keepers: keepers)
        for number in 0..<40 {
            try await volume.put(pattern(20_000 + number), as: "\(number)")
            if number % 4 == 0 { try await volume.save().get() }
        }
        try await volume.save().get()
        let writer = try await cluster.open(at: [1])
        async let written: Int = {
            var count = 0
            while count < 5000, writer.current({ $0.chain.record.newestConfig.servers.contains { $0.state == .gone } }) == false {
                try? await writer.put(pattern(9000 + count), as: "new \(count)")
                guard case .success = await writer.save() else { break }
                count += 1
                try? await Task.sleep(for: .milliseconds(20))
            }
            return count
        }()
        let leaving = cluster.identity(0)
        #expect(try await volume.obstacle(toDraining: leaving) == nil)
        try await volume.setDraining(true, leaving)
        try await volume.finishDraining(leaving, name: [], progress: silence)
        let count = await written
        #expect(count > 0 && count < 5000)
        let config = volume.current { $0.chain.record.newestConfig }
        #expect(config.servers.first { $0.server == leaving }?.state == .gone)
        #expect(!config.keepers.members.contains(leaving))
        #expect(volume.servers.lane(of: leaving) == nil)

        // Nobody needs it any more.
        await cluster.stop(0)
        #expect(try await volume.close() == nil)
        try await writer.put(pattern(77), as: "after")
        #expect(try await writer.close() == nil)
        let again = try await cluster.open(at: [2])
        for number in 0..<40 { #expect(try await again.contents(of: "\(number)") == pattern(20_000 + number)) }
        for number in 0..<count { #expect(try await again.contents(of: "new \(number)") == pattern(9000 + number)) }
        #expect(try await again.contents(of: "after") == pattern(77))
        try await again.acquireLease()
        let copies = try await cluster.copies(of: again, at: (1..<4).map(cluster.identity))
        #expect(copies.count > 20)
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `stays until its last copy is made, over an interruption, and may come back`() async throws {
        var members = MemberOptions.hasty
        members.repair.rate = 300_000
        members.repair.burst = 150_000
        let cluster = Cluster(members: members)
        let volume = try await cluster.make(of: 0..<3)
        for number in 0..<20 {
            try await volume.put(pattern(100_000 + number), as: "\(number)")
            try await volume.save().get()
        }
        let leaving = cluster.identity(2)
        func state(_ volume: Volume) -> Member.State? {
            volume.current { $0.chain.record.newestConfig }.servers.first { $0.server == leaving }?.state
        }
        try await volume.setDraining(true, leaving)
        let drain = Task { [silence] in try await volume.finishDraining(leaving, name: [], progress: silence) }
        try await Task.sleep(for: .milliseconds(700))
        #expect(state(volume) == .draining)
        try await volume.setDraining(false, leaving)
        await #expect(throws: VolumeError.self) {
            try await volume.finishDraining(leaving, name: [], progress: silence)
        }
        try await volume.setDraining(true, leaving)
        // Its process ends, another goes on.
        #expect(try await volume.close() == nil)
        await #expect(throws: VolumeError.self) { try await drain.value }
        let again = try await cluster.open(at: [0])
        #expect(state(again) == .draining)
        try await again.finishDraining(leaving, name: [], progress: silence)
        #expect(state(again) == .gone)
        await cluster.stop(2)
        for number in 0..<20 { #expect(try await again.contents(of: "\(number)") == pattern(100_000 + number)) }
        _ = try await again.close()
        await cluster.stopAll()
    }

    @Test func `is not begun where the rest is too little`() async throws {
        let cluster = Cluster(members: .hasty)
        let volume = try await cluster.make(of: 0..<2)
        #expect(
            try await volume.obstacle(toDraining: cluster.identity(0)) == .tooFewServers(left: 1, copies: 2))
        await volume.keepCopies(1)
        #expect(try await volume.obstacle(toDraining: cluster.identity(0)) == nil)
        await volume.keepCopies(2)
        try await cluster.start([2], capacity: 24 << 20)
        try await cluster.take(in: 0..<3, to: volume)
        await volume.keepCopies(1)
        let large = pattern(1 << 20)
        for number in 0..<90 { try await volume.put(large, as: "\(number)") }
        try await volume.save().get()
        await cluster.stop(1)
        guard case .tooLittleRoom(let free, let needed)? = try await volume.obstacle(toDraining: cluster.identity(0)) else {
            Issue.record("24 MiB are enough?")
            return
        }
        #expect(free <= 24 << 20 && needed > free)
        _ = try await volume.close()
        await cluster.stopAll()
    }
}

@Suite(.serialized) struct `The number of copies` {
    @Test func `is changed, and the servers make and drop copies`() async throws {
        let cluster = Cluster(members: .hasty)
        let volume = try await cluster.make(of: 0..<4)
        for number in 0..<20 {
            try await volume.put(pattern(20_000 + number), as: "\(number)")
            try await volume.save().get()
        }
        let members = (0..<4).map(cluster.identity)
        await volume.keepCopies(3)
        #expect(volume.servers.placement.required == 3)
        try await eventually { try await cluster.copies(of: volume, at: members).values.allSatisfy { $0 == 3 } }
        // What is written meanwhile has as many at once.
        try await volume.put(pattern(20_000), as: "new")
        try await volume.save().get()
        await volume.keepCopies(2)
        try await eventually { try await cluster.copies(of: volume, at: members).values.allSatisfy { $0 == 2 } }
        for number in 0..<20 { #expect(try await volume.contents(of: "\(number)") == pattern(20_000 + number)) }

        await volume.keepCopies(9)
        #expect(volume.current { $0.chain.record.config.requiredCopies } == 4)
        try await eventually { try await cluster.copies(of: volume, at: members).values.allSatisfy { $0 == 4 } }
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    @Test func `is what the next session is told, and stays without a word`() async throws {
        let cluster = Cluster()
        var volume = try await cluster.make(of: 0..<2)
        #expect(try await volume.close() == nil)
        for (asked, expected) in [(nil, 2), (3, 3), (nil, 3)] as [(Int?, UInt8)] {
            volume = try await cluster.open(at: [0], copies: asked)
            #expect(volume.current { $0.chain.record.config.replicas } == expected)
            #expect(try await volume.close() == nil)
        }
        await cluster.stopAll()
    }
}
