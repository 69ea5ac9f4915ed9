import LanfsCrypto
import LanfsProtocol
import SystemPackage

/// A line of the authorized list that does not say what it should. Lines count from 1.
public struct AuthorizedListError: Error, Equatable, Sendable, CustomStringConvertible {
    public var path: FilePath
    /// 0: the file as a whole.
    public var line: Int
    public var reason: String

    public var description: String {
        let place = line == 0 ? "\(path)" : "\(path), line \(line)"
        return "\(place): \(reason); a line is: VOLUME-ID [QUOTA] [# comment]"
    }
}

/// The volumes a server admits, as a person writes them: `VOLUME-ID [QUOTA] [# comment]`, one per line.
enum AuthorizedList {
    /// Bytes of the file; some ten thousand volumes.
    static let sizeLimit = 1 << 20

    static func parse(
        _ text: [UInt8], path: FilePath
    ) throws(AuthorizedListError) -> [ServerConfiguration.Allowance] {
        var list: [ServerConfiguration.Allowance] = []
        var lineOf: [VolumeID: Int] = [:]
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (number, line) in zip(1..., lines) {
            let words = line.prefix { $0 != UInt8(ascii: "#") }.split(omittingEmptySubsequences: true) { isBlank($0) }
            guard let first = words.first else { continue }
            func refuse(_ reason: String) -> AuthorizedListError {
                AuthorizedListError(path: path, line: number, reason: reason)
            }
            guard let volume = VolumeID(hex: String(decoding: first, as: UTF8.self)) else {
                throw refuse("\(quoted(first)) is not a volume id (64 hexadecimal digits)")
            }
            if let earlier = lineOf[volume] { throw refuse("the same volume as in line \(earlier)") }
            lineOf[volume] = number
            var allowance = ServerConfiguration.Allowance(volume: volume)
            if words.count > 1 {
                guard let quota = bytes(words[1]), quota > 0 else {
                    throw refuse("\(quoted(words[1])) is not a quota like 500M, 20G or 1.5T")
                }
                allowance.quota = quota
            }
            guard words.count <= 2 else { throw refuse("\(quoted(words[2])) is one word too many") }
            list.append(allowance)
        }
        return list
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
    }

    /// What a person typed, as far as it can be shown on one line of a terminal.
    private static func quoted(_ word: ArraySlice<UInt8>) -> String {
        let shown = word.prefix(72).map { (0x21...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }
        return "\"" + String(decoding: shown, as: UTF8.self) + (word.count > 72 ? "..." : "") + "\""
    }

    /// `4096`, `512MiB`, `10G`, `1.5T`: `K` and `KiB` count by 1024, `KB` by 1000, in either case.
    static func bytes(_ word: ArraySlice<UInt8>) -> UInt64? {
        let isDigit = { (byte: UInt8) in (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
        let whole = word.prefix(while: isDigit)
        var rest = word.dropFirst(whole.count)
        var fraction = ArraySlice<UInt8>()
        if rest.first == UInt8(ascii: ".") {
            fraction = rest.dropFirst().prefix(while: isDigit)
            guard (1...6).contains(fraction.count) else { return nil }
            rest = rest.dropFirst(1 + fraction.count)
        }
        guard let count = UInt64(String(decoding: whole, as: UTF8.self)), let unit = unit(rest),
            fraction.isEmpty || unit > 1
        else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        var part: UInt64 = 0
        if !fraction.isEmpty {
            guard let digits = UInt64(String(decoding: fraction, as: UTF8.self)) else { return nil }
            let scale = (0..<fraction.count).reduce(UInt64(1)) { scale, _ in scale * 10 }
            part = unit / scale * digits + unit % scale * digits / scale
        }
        let (sum, tooMuch) = product.addingReportingOverflow(part)
        return tooMuch ? nil : sum
    }

    private static func unit(_ word: ArraySlice<UInt8>) -> UInt64? {
        let letters = word.map { $0 | 0x20 }  // ASCII lower case
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
