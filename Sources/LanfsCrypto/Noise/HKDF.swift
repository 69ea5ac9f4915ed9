import CSodium

let hkdfOutputSize = 32

/// Noise's HKDF: two or three outputs of 32 bytes each to the start of `output`.
func hkdf(
    chainingKey: borrowing SecretBytes, input: UnsafeRawBufferPointer, outputs: Int, into output: inout SecretBytes
) {
    precondition((2...3).contains(outputs) && output.count >= outputs * hkdfOutputSize)
    precondition(chainingKey.count == hkdfOutputSize)
    var temporaryKey: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    withUnsafeMutableBytes(of: &temporaryKey) { temporaryKey in
        chainingKey.withUnsafeBytes { hmacSHA256(key: $0, input, into: temporaryKey) }
        let key = UnsafeRawBufferPointer(temporaryKey)
        output.withUnsafeMutableBytes { output in
            var previous = UnsafeRawBufferPointer(start: nil, count: 0)
            for number in 1...outputs {
                let place = output[(number - 1) * hkdfOutputSize..<number * hkdfOutputSize]
                let result = UnsafeMutableRawBufferPointer(rebasing: place)
                hmacSHA256(key: key, previous, UInt8(number), into: result)
                previous = UnsafeRawBufferPointer(result)
            }
        }
        wipe(temporaryKey)
    }
}

/// HMAC-SHA256 of `message`, followed by the byte `last` if there is one.
private func hmacSHA256(
    key: UnsafeRawBufferPointer, _ message: UnsafeRawBufferPointer, _ last: UInt8? = nil,
    into output: UnsafeMutableRawBufferPointer
) {
    var state = crypto_auth_hmacsha256_state()
    withUnsafeMutablePointer(to: &state) { state in
        crypto_auth_hmacsha256_init(state, key.baseAddress!, key.count)
        crypto_auth_hmacsha256_update(state, message.baseAddress, UInt64(message.count))
        if var last { crypto_auth_hmacsha256_update(state, &last, 1) }
        crypto_auth_hmacsha256_final(state, output.baseAddress!)
        sodium_memzero(state, MemoryLayout<crypto_auth_hmacsha256_state>.size)
    }
}
