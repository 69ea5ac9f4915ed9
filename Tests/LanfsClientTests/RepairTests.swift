import LanfsNetwork
import LanfsProtocol
import LanfsServer
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `Servers of a client's volume` {
    @Test func `make up for one that is lost, so that another may go after it`() async throws {
        var members = MemberOptions()
        members.timing.heartbeat = .milliseconds(50)
        members.timing.suspect = .seconds(1)
        members.timing.grace = .milliseconds(500)
        members.repair.rate = 1 << 30
        members.repair.shortestPass = .milliseconds(100)
        members.repair.passInterval = .milliseconds(500)
        let cluster = Cluster(members: members)
        let volume = try await cluster.make(of: 0..<5)
        // Blocks enough that some have both copies on the two servers that go.
        for number in 0..<50 {
            try await volume.put(pattern(5000 + number), as: "\(number)")
            try await volume.save().get()
        }
        await cluster.stop(4)
        let left = volume.servers.lanes.filter { $0.server != cluster.identity(4) }
        try await eventually {
            var copies: [BlockID: Int] = [:]
            for lane in left {
                guard case .listed(let page) = try await volume.blocks.ask(.list(after: nil), of: lane).response,
                    case .status(let status) = try await volume.blocks.ask(.status, of: lane).response,
                    let seen = status.membership?.members.first(where: { $0.server == cluster.identity(4) }),
                    seen.health == .lost
                else { return false }
                for block in page { copies[block.block, default: 0] += 1 }
            }
            return copies.values.allSatisfy { $0 >= 2 }
        }
        await cluster.stop(3)
        #expect(try await volume.close() == nil)
        let again = try await cluster.open(at: [0])
        for number in 0..<50 { #expect(try await again.contents(of: "\(number)") == pattern(5000 + number)) }
        _ = try await again.close()
        await cluster.stopAll()
    }

    private func eventually(_ body: () async throws -> Bool) async throws {
        for _ in 0..<1000 {
            if try await body() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        Issue.record("it did not happen in time")
    }
}
