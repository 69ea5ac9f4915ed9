import Glibc
import TestSupport

/// Bytes that no compression makes smaller and that differ by seed.
func randomBytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    return [UInt8](unsafeUninitializedCapacity: count + 8) { buffer, filled in
        let raw = UnsafeMutableRawBufferPointer(buffer)
        var place = 0
        while place + 8 <= raw.count, place < count {
            raw.storeBytes(of: random.next(), toByteOffset: place, as: UInt64.self)
            place += 8
        }
        filled = count
    }
}

/// A number from the environment, for longer runs.
func setting(_ name: String, default value: Int) -> Int {
    getenv(name).flatMap { Int(String(cString: $0)) } ?? value
}

func contains(_ bytes: [UInt8], _ word: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { all in
        var place = 0
        while let first = word.first, all.count - place >= word.count, let base = all.baseAddress {
            guard let hit = memchr(base + place, Int32(first), all.count - place) else { return false }
            let offset = UnsafeRawPointer(hit) - base
            guard all.count - offset >= word.count else { return false }
            if memcmp(base + offset, word, word.count) == 0 { return true }
            place = offset + 1
        }
        return false
    }
}
