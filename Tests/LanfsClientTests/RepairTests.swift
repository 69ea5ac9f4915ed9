import LanfsNetwork
import LanfsProtocol
import LanfsServer
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `Servers of a client's volume` {
    @Test func `have two copies of every block again when one of them is lost`() async throws {
        let cluster = Cluster(members: .hasty)
        let volume = try await cluster.make(of: 0..<3)
        for number in 0..<30 {
            try await volume.put(pattern(5000 + number), as: "\(number)")
            try await volume.save().get()
        }
        await cluster.stop(2)
        let left = volume.servers.lanes.filter { $0.server != cluster.identity(2) }
        try await eventually {
            for lane in left {
                guard case .status(let status) = try await volume.blocks.ask(.status, of: lane).response,
                    let seen = status.membership?.members.first(where: { $0.server == cluster.identity(2) }),
                    seen.health == .lost
                else { return false }
            }
            let copies = try await cluster.copies(of: volume, at: left.map(\.server))
            return copies.count >= 30 && copies.values.allSatisfy { $0 == 2 }
        }
        for number in 0..<30 { #expect(try await volume.contents(of: "\(number)") == pattern(5000 + number)) }
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }

    /// Far more blocks than the queue holds, passes that give it 32 each, and a rate that any machine reaches: what is measured
    /// is whether it idles.
    @Test func `replace a lost one at the rate they may, however many blocks there are`() async throws {
        var members = MemberOptions.hasty
        // So low that copying is the least of what a busy machine has to do.
        members.repair.rate = 256 << 10
        members.repair.burst = 0
        members.repair.queueLimit = 32
        members.repair.shortestPass = .seconds(5)
        members.repair.passInterval = .seconds(3600)
        let cluster = Cluster(members: members)
        let volume = try await cluster.make(of: 0..<3)
        let (count, size) = (2000, 6000)
        for number in 0..<count {
            let block = SealedBlock(frames: [pattern(size) + Array("\(number)".utf8)])
            try await volume.blocks.upload(block, gcEpoch: volume.current { $0.chain.record.gcEpoch })
        }
        try await volume.blocks.flush()
        let left = [0, 1].map(cluster.identity)
        let before = try await cluster.statuses(of: volume, at: left).map(\.blocks)
        await cluster.stop(2)
        var start = ContinuousClock.now
        try await eventually {
            if try await cluster.statuses(of: volume, at: left).map(\.blocks) == before { start = .now }
            let copies = try await cluster.copies(of: volume, at: left)
            return copies.count >= count && copies.values.allSatisfy { $0 == 2 }
        }
        let seconds = UInt64((ContinuousClock.now - start).components.seconds)
        let after = try await cluster.statuses(of: volume, at: left).map(\.blocks)
        let copied = zip(before, after).map { ($1 - $0) * UInt64(size) }
        let most = try #require(copied.max())
        #expect(most >= members.repair.rate * 8 / 10 * seconds, "\(copied) bytes in \(seconds) s")
        #expect(most <= members.repair.rate * (seconds + 1) + UInt64(Limits.blockSize), "\(copied) bytes in \(seconds) s")
        #expect(try await volume.close() == nil)
        await cluster.stopAll()
    }
}

extension MemberOptions {
    /// For tests that wait for what servers do in minutes.
    static var hasty: MemberOptions {
        var members = MemberOptions()
        members.timing.heartbeat = .milliseconds(50)
        members.timing.suspect = .seconds(1)
        members.timing.grace = .milliseconds(500)
        members.repair.rate = 1 << 30
        members.repair.shortestPass = .milliseconds(100)
        members.repair.passInterval = .milliseconds(500)
        members.surplus.age = .milliseconds(200)
        members.surplus.retry = .milliseconds(500)
        return members
    }
}

extension Cluster {
    /// How many of these servers have each block, by their own word.
    func copies(of volume: Volume, at servers: [ServerID]) async throws -> [BlockID: Int] {
        var copies: [BlockID: Int] = [:]
        for server in servers {
            let lane = try #require(volume.servers.lane(of: server))
            var after: BlockID?
            while case .listed(let page) = try await volume.blocks.ask(.list(after: after), of: lane).response, !page.isEmpty {
                for block in page { copies[block.block, default: 0] += 1 }
                after = page.last?.block
            }
        }
        return copies
    }

    /// What each of these servers says of itself.
    func statuses(of volume: Volume, at servers: [ServerID]) async throws -> [ServerStatus] {
        var statuses: [ServerStatus] = []
        for server in servers {
            let lane = try #require(volume.servers.lane(of: server))
            guard case .status(let status) = try await volume.blocks.ask(.status, of: lane).response else {
                throw VolumeError.busy
            }
            statuses.append(status)
        }
        return statuses
    }
}

func eventually(_ body: () async throws -> Bool) async throws {
    for _ in 0..<1000 {
        if try await body() { return }
        try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record("it did not happen in time")
}
