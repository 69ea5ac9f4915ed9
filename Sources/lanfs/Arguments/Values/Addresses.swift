import Glibc

/// A TCP or UDP port somebody can be reached at: 1 to 65535.
struct Port: Hashable, Sendable, ArgumentValue {
    let number: UInt16
    init(_ number: UInt16) { self.number = number }

    static var completion: Completion { .nothing }

    init(argument: Argument) throws(BadValue) {
        guard let number = decimalPort(argument.bytes[...]), number > 0 else {
            throw BadValue("\(argument.quoted) is not a port; ports are numbers from 1 to 65535")
        }
        self.number = number
    }
}

/// A port to listen on, where 0 leaves the choice to the system.
struct ListenPort: Hashable, Sendable, ArgumentValue {
    let number: UInt16
    static let chosenBySystem = ListenPort(0)
    init(_ number: UInt16) { self.number = number }

    static var completion: Completion { .nothing }

    init(argument: Argument) throws(BadValue) {
        guard let number = decimalPort(argument.bytes[...]) else {
            throw BadValue(
                "\(argument.quoted) is not a port; ports are numbers from 1 to 65535, or 0 for any free one")
        }
        self.number = number
    }
}

/// A server as it is named on the command line: `HOST`, `HOST:PORT`, `[IPV6]:PORT`. Without a port the server is asked
/// for it through discovery.
struct HostPort: Hashable, Sendable, ArgumentValue, CustomStringConvertible {
    /// A name, or an address without brackets.
    let host: String
    let port: UInt16?

    init(host: String, port: UInt16?) {
        self.host = host
        self.port = port
    }

    static var completion: Completion { .host }

    init(argument: Argument) throws(BadValue) {
        let notOne = BadValue(
            "\(argument.quoted) is not a server; write HOST or HOST:PORT, an IPv6 address in brackets: [fe80::1]:4445"
        )
        guard let text = argument.text, !text.isEmpty, text.utf8.count <= 300 else { throw notOne }
        if text.utf8.first == UInt8(ascii: "[") {
            guard let close = text.firstIndex(of: "]") else { throw notOne }
            let inside = String(text[text.index(after: text.startIndex)..<close])
            let after = text[text.index(after: close)...]
            guard isAddress(inside, family: AF_INET6) else { throw notOne }
            self.init(host: inside, port: try Self.port(after, of: argument, otherwise: notOne))
        } else if text.utf8.count(where: { $0 == UInt8(ascii: ":") }) > 1 {
            guard isAddress(text, family: AF_INET6) else { throw notOne }
            self.init(host: text, port: nil)
        } else {
            let colon = text.firstIndex(of: ":") ?? text.endIndex
            let host = String(text[..<colon])
            guard Self.isHostName(host) || isAddress(host, family: AF_INET) else { throw notOne }
            self.init(host: host, port: try Self.port(text[colon...], of: argument, otherwise: notOne))
        }
    }

    /// Reads what follows the host: nothing, or a colon and a port.
    private static func port(
        _ text: Substring, of argument: Argument, otherwise notOne: BadValue
    ) throws(BadValue) -> UInt16? {
        if text.isEmpty { return nil }
        guard text.first == ":" else { throw notOne }
        guard let port = decimalPort(Array(text.utf8.dropFirst())[...]), port > 0 else {
            throw BadValue("\(argument.quoted): the port after the colon must be a number from 1 to 65535")
        }
        return port
    }

    /// Letters, digits, `-`, `_` and single dots; not a number in disguise such as `10.0.0` or `300.1.1.1`.
    private static func isHostName(_ text: String) -> Bool {
        guard text.utf8.count <= 253 else { return false }
        var labels = text.split(separator: ".", omittingEmptySubsequences: false)
        if labels.count > 1, labels.last?.isEmpty == true { labels.removeLast() }
        for label in labels {
            guard (1...63).contains(label.utf8.count), label.utf8.first != UInt8(ascii: "-") else { return false }
            for byte in label.utf8 {
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    continue
                case 0x80...: continue  // an internationalised name; the resolver judges it
                default: return false
                }
            }
        }
        return labels.last?.utf8.contains { $0 < UInt8(ascii: "0") || $0 > UInt8(ascii: "9") } ?? false
    }

    var description: String {
        guard let port else { return host }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// An address of this machine to listen on.
struct ListenAddress: Hashable, Sendable, ArgumentValue {
    let address: String

    static var completion: Completion { .nothing }

    init(argument: Argument) throws(BadValue) {
        guard let text = argument.text, isAddress(text, family: AF_INET) || isAddress(text, family: AF_INET6) else {
            throw BadValue(
                "\(argument.quoted) is not an address; write one of this machine's, such as 192.168.1.10 or ::1"
            )
        }
        self.address = text
    }
}

/// Whether `text` is an address in numbers; an IPv6 one may name its interface after `%`.
private func isAddress(_ text: String, family: Int32) -> Bool {
    var digits = Substring(text)
    if family == AF_INET6, let percent = text.firstIndex(of: "%") {
        let zone = text[text.index(after: percent)...]
        guard (1...15).contains(zone.utf8.count), !Printable.needsEscape(Array(zone.utf8)),
            !zone.contains("/"), !zone.contains(" "), !zone.contains("%")
        else { return false }
        digits = text[..<percent]
    }
    guard !digits.utf8.contains(0) else { return false }
    var storage = in6_addr()
    return inet_pton(family, String(digits), &storage) == 1
}

private func decimalPort(_ bytes: ArraySlice<UInt8>) -> UInt16? {
    guard !bytes.isEmpty, bytes.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }) else { return nil }
    return UInt16(String(decoding: bytes, as: UTF8.self))
}
