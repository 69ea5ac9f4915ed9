import CSodium

/// BLAKE2b with a personalisation: 16 bytes that keep each use's outputs apart from every other use's, and part of the
/// format.
func blake2b(_ input: UnsafeRawBufferPointer, personal: StaticString, into output: UnsafeMutableRawBufferPointer) {
    precondition(personal.utf8CodeUnitCount == Int(crypto_generichash_blake2b_PERSONALBYTES))
    precondition((1...Int(crypto_generichash_blake2b_BYTES_MAX)).contains(output.count))
    Sodium.initialize()
    guard let destination = output.baseAddress else { return }
    // It fails only for sizes out of range, which the lines above exclude.
    let result = crypto_generichash_blake2b_salt_personal(
        destination, output.count, input.baseAddress, UInt64(input.count), nil, 0, nil, personal.utf8Start)
    precondition(result == 0, "BLAKE2b refused its parameters")
}

func blake2b(_ input: UnsafeRawBufferPointer, personal: StaticString, count: Int) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: count)
    output.withUnsafeMutableBytes { blake2b(input, personal: personal, into: $0) }
    return output
}

/// Subkey `id` of a 32-byte key: `crypto_kdf`, that is BLAKE2b keyed with the key, salted with the id.
func deriveSubkey(_ id: UInt64, context: StaticString, of key: borrowing SecretBytes) -> SecretBytes {
    precondition(context.utf8CodeUnitCount == Int(crypto_kdf_CONTEXTBYTES) && key.count == Int(crypto_kdf_KEYBYTES))
    var subkey = SecretBytes(count: Int(crypto_kdf_KEYBYTES))
    let result = subkey.withUnsafeMutableBytes { subkey in
        key.withUnsafeBytes { key in
            context.utf8Start.withMemoryRebound(to: CChar.self, capacity: context.utf8CodeUnitCount) { context in
                crypto_kdf_derive_from_key(subkey.baseAddress!, subkey.count, id, context, key.baseAddress!)
            }
        }
    }
    precondition(result == 0, "the key derivation refused its parameters")
    return subkey
}

/// Keyed BLAKE2b: whoever knows the key made this message. For datagrams, where there is no connection to vouch.
public enum MessageAuthentication {
    /// The two lengths are different functions: a short code is not the beginning of a long one.
    public enum Length: Int, Sendable {
        /// For datagrams: 2^-128 per guess.
        case short = 16
        case full = 32
    }

    /// `key` has 16 to 64 bytes.
    public static func code(
        for message: UnsafeRawBufferPointer, key: SharedSecret, length: Length = .full
    ) -> [UInt8] {
        let keySizes = Int(crypto_generichash_blake2b_KEYBYTES_MIN)...Int(crypto_generichash_blake2b_KEYBYTES_MAX)
        precondition(keySizes.contains(key.count), "a BLAKE2b key cannot have \(key.count) bytes")
        Sodium.initialize()
        var code = [UInt8](repeating: 0, count: length.rawValue)
        let result = key.withUnsafeBytes { key in
            crypto_generichash_blake2b(
                &code, code.count, message.baseAddress, UInt64(message.count), key.baseAddress, key.count)
        }
        precondition(result == 0, "BLAKE2b refused its parameters")
        return code
    }

    public static func code(for message: [UInt8], key: SharedSecret, length: Length = .full) -> [UInt8] {
        message.withUnsafeBytes { code(for: $0, key: key, length: length) }
    }

    /// Constant-time; `length` is the protocol's, not the sender's choice.
    public static func verify(
        _ code: UnsafeRawBufferPointer, for message: UnsafeRawBufferPointer, key: SharedSecret, length: Length = .full
    ) -> Bool {
        self.code(for: message, key: key, length: length).withUnsafeBytes { constantTimeEqual($0, code) }
    }

    public static func verify(
        _ code: [UInt8], for message: [UInt8], key: SharedSecret, length: Length = .full
    ) -> Bool {
        code.withUnsafeBytes { code in
            message.withUnsafeBytes { verify(code, for: $0, key: key, length: length) }
        }
    }
}
