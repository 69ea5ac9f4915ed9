import LanfsProtocol

/// Hash and signature that cost next to nothing and that no simulated party tries to forge.
struct SimulatedAuthority: RecordSigner {
    private func digest(_ bytes: [UInt8], salt: UInt64) -> UInt64 {
        bytes.withUnsafeBytes { raw in
            var hash = salt ^ UInt64(raw.count)
            var offset = 0
            while offset < raw.count {
                var word: UInt64 = 0
                if offset + 8 <= raw.count {
                    word = raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                } else {
                    for index in offset..<raw.count { word = word << 8 | UInt64(raw[index]) }
                }
                hash = (hash ^ word) &* 0x9E37_79B9_7F4A_7C15
                hash ^= hash >> 29
                offset += 8
            }
            return hash
        }
    }

    func hash(_ bytes: [UInt8]) -> RecordHash {
        let hash = digest(bytes, salt: 1)
        return RecordHash(word0: hash, word1: ~hash, word2: hash &* 3, word3: hash &* 5)
    }

    func sign(_ message: [UInt8]) -> [UInt8] {
        withUnsafeBytes(of: digest(message, salt: 2)) { Array($0) }
    }

    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool {
        signature == sign(message)
    }
}
