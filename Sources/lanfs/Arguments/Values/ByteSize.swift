/// A number of bytes, as people write it: `10G`, `512MiB`, `1.5T`, `4096`.
///
/// As in dd, head and restic, `K M G T P E` and `KiB MiB …` are powers of 1024 and `KB MB …` powers of 1000; case does
/// not matter. At most 2^63 - 1, the largest size of a file.
struct ByteSize: Hashable, Comparable, Sendable, ArgumentValue {
    let bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }
    static func mebibytes(_ count: UInt64) -> ByteSize { ByteSize(bytes: count << 20) }
    static func gibibytes(_ count: UInt64) -> ByteSize { ByteSize(bytes: count << 30) }

    static func < (left: ByteSize, right: ByteSize) -> Bool { left.bytes < right.bytes }

    static var completion: Completion { .nothing }

    init(argument: Argument) throws(BadValue) {
        if argument.bytes.first == UInt8(ascii: "-") {
            throw BadValue("\(argument.quoted) is negative; a size is 0 or more")
        }
        guard let (number, rest) = DecimalNumber.parse(argument.bytes[...]), let unit = Self.unit(rest) else {
            throw BadValue("\(argument.quoted) is not a size; write one like 512MiB, 10G or 1.5T")
        }
        guard number.isWhole || unit > 1 else {
            throw BadValue("\(argument.quoted) is not a whole number of bytes; add a unit, as in 1.5G")
        }
        guard let bytes = number.scaled(by: unit) else {
            throw BadValue("\(argument.quoted) is too large; the largest size is 8 EiB less one byte")
        }
        self.bytes = bytes
    }

    /// Bytes in the unit with this name; nil when there is none.
    private static func unit(_ name: ArraySlice<UInt8>) -> UInt64? {
        let letters = name.map { $0 | 0x20 }  // ASCII lower case
        guard let first = letters.first else { return 1 }
        if letters == [UInt8(ascii: "b")] { return 1 }
        guard let power = Array("kmgtpe".utf8).firstIndex(of: first) else { return nil }
        switch letters.dropFirst() {
        case [], [UInt8(ascii: "i"), UInt8(ascii: "b")]: return 1 << (10 * UInt64(power + 1))
        case [UInt8(ascii: "b")]: return (0...power).reduce(1) { unit, _ in unit * 1000 }
        default: return nil
        }
    }
}

extension ByteSize: CustomStringConvertible {
    /// The shortest way to type exactly this size: `256MiB`, `1GiB`, `4097`.
    var description: String {
        let units = ["", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        guard bytes > 0 else { return "0" }
        let power = min(bytes.trailingZeroBitCount / 10, units.count - 1)
        return "\(bytes >> (10 * UInt64(power)))\(units[power])"
    }
}
