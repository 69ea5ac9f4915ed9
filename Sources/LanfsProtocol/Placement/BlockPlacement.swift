/// Which servers hold a block: weighted rendezvous hashing over the active servers (B4). Computed, never looked up: any
/// two parties with the same configuration agree, and a server that joins or leaves moves only its own share.
public struct BlockPlacement: Sendable {
    private struct Candidate: Sendable {
        let server: ServerID
        let seed: UInt64
        let weight: Double
    }

    private let candidates: [Candidate]
    public let replicas: Int

    public init(_ config: VolumeConfig) {
        replicas = Int(config.replicas)
        candidates = config.servers.filter { $0.state == .active && $0.weight > 0 }.map {
            Candidate(server: $0.server, seed: Self.seed($0.server), weight: Double($0.weight))
        }
    }

    /// The servers a new copy goes to, first choice first: R of them, or all when there are fewer.
    public func replicas(of block: BlockID) -> [ServerID] {
        Array(ranking(of: block).prefix(replicas))
    }

    /// Every active server, first choice first; when one is down the next takes its place (B3).
    public func ranking(of block: BlockID) -> [ServerID] {
        if candidates.count == 1 { return [candidates[0].server] }
        let scores = candidates.map { candidate in
            (score: Self.score(block, seed: candidate.seed, weight: candidate.weight), server: candidate.server)
        }
        return scores.sorted { $0.score == $1.score ? $0.server < $1.server : $0.score > $1.score }.map(\.server)
    }

    /// weight / -ln(u), u uniform in (0, 1): the highest of these is server i with probability weight i / sum.
    private static func score(_ block: BlockID, seed: UInt64, weight: Double) -> Double {
        // Block ids are SHA-256, so two words of one are random already; the seed decorrelates the servers.
        let hash = mix(block.word0 ^ mix(block.word1 &+ seed))
        // 53 bits, moved off 0 and 1.
        let u = (Double(hash >> 11) + 0.5) / Double(1 << 53 as UInt64)
        return weight / -logarithm(u)
    }

    private static func seed(_ server: ServerID) -> UInt64 {
        mix(server.word0 ^ mix(server.word1 ^ mix(server.word2 ^ mix(server.word3))))
    }

    /// SplitMix64's finalizer: a bijection whose output bits each depend on every input bit.
    private static func mix(_ input: UInt64) -> UInt64 {
        var z = input &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// ln, by operations that IEEE 754 defines to the last bit. A C library's logarithm may differ by one bit between
    /// versions, and then two clients would look for a block in different places.
    static func logarithm(_ x: Double) -> Double {
        var exponent = Double(x.exponent)
        var significand = x.significand
        if significand > 1.5 {
            significand /= 2
            exponent += 1
        }
        // ln m = 2 artanh((m - 1) / (m + 1)); |y| <= 1/5, so twelve terms reach the precision of a Double.
        let y = (significand - 1) / (significand + 1)
        let square = y * y
        var sum = 0.0
        for divisor in stride(from: 23.0, through: 1.0, by: -2.0) {
            sum = sum * square + 1 / divisor
        }
        return exponent * 0.693147180559945309417 + 2 * y * sum
    }
}
