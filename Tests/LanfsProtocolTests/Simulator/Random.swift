import LanfsProtocol
import TestSupport

extension SplitMix64 {
    mutating func id<Tag>(_ type: ID<Tag>.Type = ID<Tag>.self) -> ID<Tag> {
        ID(word0: next(), word1: next(), word2: next(), word3: next())
    }

    mutating func wide() -> UInt128 { UInt128(next()) << 64 | UInt128(next()) }
}
