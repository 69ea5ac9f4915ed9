import LanfsClient

/// Which volume key a command uses: the name of a key file in the user's keys folder, or a file anywhere.
enum KeyReference: Hashable, Sendable, ArgumentValue {
    case named(String)
    case file(LocalPath)

    static let defaultKey = KeyReference.named(VolumeKeys.defaultName)
    static var completion: Completion { .key }

    /// A word with a slash in it, or one that ends in `.key`, is a file; anything else is a name.
    init(argument: Argument) throws(BadValue) {
        if argument.bytes.contains(UInt8(ascii: "/")) || argument.bytes.suffix(4) == Array(".key".utf8)[...] {
            self = .file(try TextPath(argument: argument).path)
            return
        }
        self = .named(try KeyName(argument: argument).name)
    }
}

/// The name of a volume key: what the key file is called without `.key`.
struct KeyName: Hashable, Sendable, ArgumentValue {
    let name: String
    static var completion: Completion { .key }

    init(argument: Argument) throws(BadValue) {
        let text = try readText(argument, what: "the name of a key", limit: 64)
        let allowed = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard allowed, text.utf8.first != UInt8(ascii: "."), text.utf8.first != UInt8(ascii: "-") else {
            throw BadValue(
                "\(argument.quoted) cannot name a key; use letters, digits, '.', '_' and '-' (a file has a '/' in it)")
        }
        name = text
    }
}

/// The user's name from which, with a password, a volume key is derived.
struct UserName: Hashable, Sendable, ArgumentValue {
    let name: String
    static var completion: Completion { .nothing }
    init(argument: Argument) throws(BadValue) {
        name = try readText(argument, what: "the name of a user", limit: 255)
    }
}

/// What a server calls itself in the list of `lanfs discover`.
struct ServerName: Hashable, Sendable, ArgumentValue {
    let name: String
    static var completion: Completion { .nothing }
    init(argument: Argument) throws(BadValue) {
        name = try readText(argument, what: "the name of a server", limit: 63)
    }
}

/// A volume that a server admits, and how much it may store there: `ID[:QUOTA]`.
struct Admission: Hashable, Sendable, ArgumentValue {
    /// The volume's id: the 32 bytes of its public key.
    let volume: [UInt8]
    /// Nil: as much as the server has.
    let quota: ByteSize?

    static let identifierLength = 32
    static var completion: Completion { .nothing }

    init(argument: Argument) throws(BadValue) {
        let colon = argument.bytes.firstIndex(of: UInt8(ascii: ":"))
        let digits = argument.bytes[..<(colon ?? argument.bytes.endIndex)]
        guard let volume = decodeHexadecimal(digits), volume.count == Self.identifierLength else {
            throw BadValue(
                "\(Argument(Array(digits)).quoted) is not a volume id; 'lanfs keygen --show-id' prints one, "
                    + "\(2 * Self.identifierLength) hexadecimal digits")
        }
        self.volume = volume
        guard let colon else {
            quota = nil
            return
        }
        let quota = try ByteSize(argument: Argument(Array(argument.bytes[(colon + 1)...])))
        guard quota.bytes > 0 else { throw BadValue("a quota of 0 admits nothing; leave the volume out instead") }
        self.quota = quota
    }
}

private func decodeHexadecimal(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
    guard digits.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in digits {
        let value: UInt8
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): value = digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): value = digit - UInt8(ascii: "A") + 10
        default: return nil
        }
        if let first = high {
            bytes.append(first << 4 | value)
            high = nil
        } else {
            high = value
        }
    }
    return bytes
}

/// A snapshot of the volume, as `lanfs status` lists them: `120-1a2b3c4d`.
struct SnapshotName: Hashable, Sendable, ArgumentValue {
    let text: String
    static var completion: Completion { .nothing }
    init(argument: Argument) throws(BadValue) {
        text = try readText(argument, what: "the name of a snapshot", limit: 64)
    }
}

/// What a person calls a server of the volume: a name, an address or a fingerprint.
struct ServerWord: Hashable, Sendable, ArgumentValue {
    let text: String
    static var completion: Completion { .host }
    init(argument: Argument) throws(BadValue) {
        text = try readText(argument, what: "the name of a server", limit: 255)
    }
}
