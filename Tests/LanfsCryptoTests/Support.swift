import Testing

@testable import LanfsCrypto

/// The tests' only source of chance: a failure names its seed and is run again with it.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// Bytes of a hexadecimal literal; a wrong literal is a wrong test.
func hex(_ text: String) -> [UInt8] {
    guard let bytes = Hex.decode(text) else { fatalError("not hexadecimal: \(text)") }
    return bytes
}

func secret(_ bytes: [UInt8]) -> SharedSecret { SharedSecret(copying: bytes) }

func secret(_ text: String) -> SharedSecret { SharedSecret(copying: hex(text)) }

extension SecretBytes {
    borrowing func revealed() -> [UInt8] { withUnsafeBytes { Array($0) } }
}

extension SharedSecret {
    var revealed: [UInt8] { bytes.revealed() }
}

let keyBytes = [UInt8](0..<32)

/// 0, 1, and both sides of the frame size.
let sizes = [0, 1, 15, 16, 17, 63, 64, 65, 4095, 4096, 4097, 32_767, 32_768, 32_769]
