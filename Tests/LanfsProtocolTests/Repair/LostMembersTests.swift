import TestSupport
import Testing

@testable import LanfsProtocol

@Suite("Members that stay away")
struct LostMembersTests {
    private let ids: [ServerID]
    private let config: VolumeConfig

    init() {
        var random = SplitMix64(seed: 1)
        ids = (0..<5).map { _ in random.id(ServerID.self) }.sorted()
        config = VolumeConfig(
            version: 7, servers: ids.map { Member(server: $0, weight: 1) }, keepers: Keepers(Array(ids[0..<3])), replicas: 2)
    }

    /// These answer, and hold those for lost.
    private func reports(of places: [Int], lost: [Int], version: UInt64 = 7) -> [MemberReport] {
        places.map { place in
            MemberReport(
                server: ids[place],
                membership: MembershipStatus(
                    epoch: 1, configVersion: version,
                    members: ids.indices.map { .init(server: ids[$0], health: lost.contains($0) ? .lost : .alive) }))
        }
    }

    private func states(_ config: VolumeConfig) -> [Member.State] { config.servers.map(\.state) }

    @Test("are lost when more than half of the active ones say so, of the config that is asked about")
    func majority() {
        #expect(config.lost(by: reports(of: [0, 1, 2], lost: [4])) == [ids[4]])
        #expect(config.lost(by: reports(of: [0, 1], lost: [4])) == [])
        #expect(config.lost(by: reports(of: [0, 1, 2], lost: [4], version: 6)) == [])
        #expect(config.lost(by: reports(of: [0, 1, 2], lost: [4], version: 6), known: 6) == [ids[4]])
        // It is there, whatever others say.
        #expect(config.lost(by: reports(of: [0, 1, 2, 4], lost: [4])) == [])
        // Those that take nothing any more do not judge.
        var draining = config
        draining.servers[2].state = .draining
        #expect(draining.lost(by: reports(of: [0, 2, 3], lost: [4])) == [])
        #expect(draining.lost(by: reports(of: [0, 1, 3], lost: [4])) == [ids[4]])
        // Who knows nothing says nothing.
        #expect(config.lost(by: [0, 1, 2].map { MemberReport(server: ids[$0], membership: nil) }) == [])
    }

    @Test("take nothing new until they answer, as long as R servers are left that do")
    func follows() {
        let lost = config.following(reports(of: [0, 1, 2], lost: [3, 4]))
        #expect(states(lost) == [.active, .active, .active, .lost, .lost])
        #expect(lost.requiredCopies == 2)
        let back = lost.following(reports(of: [0, 1, 2, 3], lost: []))
        #expect(states(back) == [.active, .active, .active, .active, .lost])
        var needed = config
        needed.replicas = 4
        #expect(states(needed.following(reports(of: [0, 1, 2], lost: [3, 4]))) == [.active, .active, .active, .lost, .active])
        // A witness holds no copies.
        needed.replicas = 5
        needed.servers[4].weight = 0
        #expect(states(needed.following(reports(of: [0, 1, 2], lost: [3, 4]))) == [.active, .active, .active, .active, .lost])
        #expect(config.following(reports(of: [0, 1, 2, 3, 4], lost: [])) == config)
    }

    @Test("leave the list by a proof for this config, keepers not before they have given up their seat")
    func leave() {
        var lost = config
        lost.servers[1].state = .lost
        lost.servers[4].state = .lost
        #expect(lost.dispensable == [ids[4]])
        var proof = CopyProof(of: lost)
        proof.begin()
        proof.end()
        var next = lost
        next.removeDispensable(by: proof)
        #expect(next.servers.map(\.server) == Array(ids.prefix(4)))
        var later = lost
        later.version += 1
        later.removeDispensable(by: proof)
        #expect(later.servers.count == 5)
    }
}

@Suite("A proof that every block has its copies")
struct CopyProofTests {
    private let blocks: [BlockID]
    private var proof: CopyProof

    init() {
        var random = SplitMix64(seed: 2)
        blocks = (0..<4).map { _ in random.id(BlockID.self) }.sorted()
        let config = VolumeConfig(version: 1, servers: [], keepers: Keepers([random.id()]), replicas: 2)
        proof = CopyProof(of: config)
    }

    /// Walks a root that reaches these, of which the servers have so many copies.
    private mutating func walk(_ root: [Int], _ copies: [Int]) -> [BlockID] {
        proof.begin()
        for place in root { proof.reach(blocks[place]) }
        let asked = proof.takePending()
        proof.note(asked, copies: asked.map { block in blocks.firstIndex(of: block).map { copies[$0] } ?? 0 })
        proof.end()
        return asked
    }

    @Test("asks for all of the first root, and of the next only for what lacked copies")
    mutating func narrows() {
        #expect(!proof.isComplete)
        #expect(walk([0, 1, 2], [2, 1, 0, 0]) == [blocks[0], blocks[1], blocks[2]])
        #expect(!proof.isComplete)
        // Block 2 is dead by now, and 3 is new: the commit saw to its copies.
        #expect(walk([0, 1, 3], [0, 2, 0, 0]) == [blocks[1]])
        #expect(proof.isComplete)
    }

    @Test("is not complete in the middle of a walk, and begins a walk again that was broken off")
    mutating func interrupted() {
        proof.begin()
        proof.reach(blocks[0])
        #expect(!proof.isComplete)
        _ = proof.takePending()
        #expect(!proof.isComplete)
        #expect(walk([0, 1], [2, 0, 0, 0]) == [blocks[0], blocks[1]])
        proof.begin()
        #expect(!proof.isComplete)
        #expect(walk([0, 1], [0, 0, 0, 0]) == [blocks[1]])
        #expect(!proof.isComplete)
        proof.note([blocks[1]], copies: [2])
        #expect(proof.isComplete)
    }
}
