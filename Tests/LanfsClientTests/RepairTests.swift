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
        let volume = try await cluster.make(of: 0..<3)
        let bytes = pattern(3 << 20)
        try await volume.put(bytes, as: "large")
        for number in 0..<20 { try await volume.put(pattern(5000 + number), as: "small\(number)") }
        try await volume.save().get()

        // The keeper stays, and with it the volume can be read.
        await cluster.stop(2)
        let left = volume.servers.lanes.filter { $0.server != cluster.identity(2) }
        try await eventually {
            var held: [Set<BlockID>] = []
            for lane in left {
                guard case .listed(let page) = try await volume.blocks.ask(.list(after: nil), of: lane).response,
                    case .status(let status) = try await volume.blocks.ask(.status, of: lane).response,
                    let seen = status.membership?.members.first(where: { $0.server == cluster.identity(2) }),
                    seen.health == .lost
                else { return false }
                held.append(Set(page.map(\.block)))
            }
            return held.count == 2 && held[0] == held[1]
        }
        #expect(try await volume.close() == nil)
        await cluster.stop(1)
        let last = try await cluster.open(at: [0])
        #expect(try await last.contents(of: "large") == bytes)
        for number in 0..<20 { #expect(try await last.contents(of: "small\(number)") == pattern(5000 + number)) }
        // It can save nothing any more, with one server for two copies.
        _ = try? await last.close()
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
