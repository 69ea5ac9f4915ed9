/// Bytes that strangers chose (names in a volume, names of servers) made harmless for a terminal: escape sequences,
/// line breaks and marks that turn the direction of writing are shown instead of obeyed, and so are bytes that are not
/// UTF-8.
enum Printable {
    /// The text to show: what cannot be shown becomes `\xNN`, byte by byte.
    static func text(_ bytes: some Collection<UInt8>) -> String {
        if bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return String(decoding: bytes, as: UTF8.self) }
        var text = ""
        forEachScalar(Array(bytes)) { scalar, encoded in
            if let scalar, isHarmless(scalar) {
                text.unicodeScalars.append(scalar)
            } else {
                for byte in encoded { text += "\\x" + hexadecimal(byte) }
            }
        }
        return text
    }

    /// Whether `text` would show these bytes differently.
    static func needsEscape(_ bytes: [UInt8]) -> Bool {
        if bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return false }
        var needs = false
        forEachScalar(bytes) { scalar, _ in
            if !(scalar.map(isHarmless) ?? false) { needs = true }
        }
        return needs
    }

    static func hexadecimal(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return byte < 16 ? "0" + digits : digits
    }

    /// Calls `body` with each scalar and its bytes, or with nil and the byte where there is no valid scalar.
    private static func forEachScalar(_ bytes: [UInt8], _ body: (Unicode.Scalar?, ArraySlice<UInt8>) -> Void) {
        var index = 0
        while index < bytes.count {
            let length = encodedLength(bytes[index])
            let encoded = bytes[index..<min(bytes.count, index + length)]
            if let text = String(validating: encoded, as: UTF8.self), let scalar = text.unicodeScalars.first {
                body(scalar, encoded)
                index += length
            } else {
                body(nil, bytes[index...index])
                index += 1
            }
        }
    }

    private static func encodedLength(_ lead: UInt8) -> Int {
        switch lead {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 1
        }
    }

    private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0: false  // control characters
        case 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF: false  // direction marks, separators
        default: true
        }
    }
}
