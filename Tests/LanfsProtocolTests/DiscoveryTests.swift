import TestSupport
import Testing

@testable import LanfsProtocol

@Suite("Discovery")
struct DiscoveryTests {
    @Test("never answers with more bytes than it was asked with")
    func doesNotAmplify() {
        #expect(Discovery.answerLimit <= Discovery.querySize)
        var random = SplitMix64(seed: 1)
        for _ in 0..<500 {
            #expect(random.discoveryAnswer().encoded.count <= Discovery.querySize)
        }
        #expect(DiscoveryQuery(nonce: 1).encoded.count == Discovery.querySize)
    }

    @Test("cuts a long name at a character")
    func cutsNames() {
        for (character, kept) in [("x", 64), ("ü", 32), ("日", 21), ("👍🏽", 8)] {
            let answer = DiscoveryAnswer(
                nonce: 1, server: .zero, port: 1, capacity: 1, free: 1, holdsVolume: false,
                name: String(repeating: character, count: 200))
            #expect(answer.name == String(repeating: character, count: kept))
            #expect(answer.encoded.count <= Discovery.answerLimit)
        }
    }

    @Test("names a volume differently every time, and only to those who know it")
    func volumeToken() {
        var random = SplitMix64(seed: 2)
        let volume: VolumeID = random.id()
        let other: VolumeID = random.id()
        let nonce = random.wide()
        let token = Discovery.token(volume: volume, nonce: nonce, SimulatedAuthority())
        #expect(token == Discovery.token(volume: volume, nonce: nonce, SimulatedAuthority()))
        #expect(token != Discovery.token(volume: volume, nonce: nonce + 1, SimulatedAuthority()))
        #expect(token != Discovery.token(volume: other, nonce: nonce, SimulatedAuthority()))
    }

    @Test("does not take a query for an answer, nor another version's datagrams")
    func tellsKindsApart() {
        var random = SplitMix64(seed: 3)
        let query = DiscoveryQuery(nonce: 7, need: 8, volumeToken: 9).encoded
        #expect(throws: DecodingError.self) { try DiscoveryAnswer(encoded: query) }
        #expect(throws: DecodingError.self) { try DiscoveryQuery(encoded: random.discoveryAnswer().encoded) }
        for index in 0..<6 {
            var wrong = query
            wrong[index] ^= 1
            #expect(throws: DecodingError.self) { try DiscoveryQuery(encoded: wrong) }
        }
    }

    @Test("signs a session's handshake hash under a name of its own")
    func sessionProofs() {
        #expect(sessionProof(handshakeHash: [1, 2]) == Array("lanfs session proof\0".utf8) + [1, 2])
    }
}
