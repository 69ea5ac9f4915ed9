import Testing

@testable import LanfsCrypto

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
