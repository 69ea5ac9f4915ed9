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
            guard case .listed(let page) = try await volume.blocks.ask(.list(after: nil), of: lane).response else {
                throw VolumeError.busy
            }
            for block in page { copies[block.block, default: 0] += 1 }
        }
        return copies
    }
}

func eventually(_ body: () async throws -> Bool) async throws {
    for _ in 0..<1000 {
        if try await body() { return }
        try await Task.sleep(for: .milliseconds(20))
    }
    Issue.record("it did not happen in time")
}
