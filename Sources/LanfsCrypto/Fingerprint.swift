/// A short text for a public key that two people can compare by eye or over the phone: 80 bits as four groups of four,
/// in Crockford's base 32 (no i, l, o, u to confuse). Finding another key with the same one takes 2^80 attempts.
public func fingerprint(of publicKey: [UInt8]) -> String {
    let digest = publicKey.withUnsafeBytes { blake2b($0, personal: "lanfs-fingerprnt", count: 10) }
    let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
    var text: [UInt8] = []
    var bits: UInt32 = 0
    var bitCount: UInt32 = 0
    for byte in digest {
        bits = bits << 8 | UInt32(byte)
        bitCount += 8
        while bitCount >= 5 {
            bitCount -= 5
            if text.count % 5 == 4 { text.append(UInt8(ascii: "-")) }
            text.append(alphabet[Int(bits >> bitCount & 31)])
        }
    }
    return String(decoding: text, as: UTF8.self)
}
