import LanfsCrypto
import LanfsLocal
import LanfsProtocol
import SystemPackage

/// Why `identity.key` cannot be used.
public enum IdentityError: Error, Equatable, Sendable {
    /// Its mode, its permissions, or the disk under it.
    case file(LocalFileError)
    case damaged(path: FilePath, reason: String)
    case newerVersion(path: FilePath)
}

extension IdentityError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .file(let error): "the server's identity: \(error)"
        case .damaged(let path, let reason):
            "the server's identity in \(path) is damaged: \(reason); put a copy of the file back. Without one, move it "
                + "away and start again: the server then gets a new identity, and every client must forget the old one"
        case .newerVersion(let path):
            "the server's identity in \(path) was written by a newer lanfs; use that one"
        }
    }
}

/// The server's X25519 key pair, in a file that is written once and never again:
///
///     # a comment
///     lanfs-server-identity 1
///     public 64 hexadecimal digits
///     private 64 hexadecimal digits
///     check 16 hexadecimal digits
///
/// The check is the beginning of the SHA-256 over both keys, public first.
enum ServerIdentity {
    private static let signature = Array("lanfs-server-identity".utf8)
    private static let version = Array("1".utf8)
    private static let checkSize = 8
    private static let comment = """
        # The identity of a lanfs server: whoever has this file can pretend to be it.
        # Keep it where it is: a server without it is a new server to every client.

        """

    /// What the file says; made when there is none.
    static func load(_ path: FilePath) throws(IdentityError) -> StaticKeyPair {
        do {
            if var text = try PrivateFile.read(path, limit: 4096) {
                defer { wipe(&text) }
                return try decode(text, path)
            }
            let pair = StaticKeyPair.generate()
            var text = encode(pair)
            defer { wipe(&text) }
            try PrivateFile.write(text, to: path, replacing: false)
            return pair
        } catch let error as LocalFileError {
            throw .file(error)
        } catch let error as IdentityError {
            throw error
        } catch {
            throw .damaged(path: path, reason: "\(error)")
        }
    }

    static func encode(_ pair: StaticKeyPair) -> [UInt8] {
        // Room for all of it at once: growing would leave copies of the key that nobody wipes.
        var text: [UInt8] = []
        text.reserveCapacity(512)
        text += Array(comment.utf8) + signature + [UInt8(ascii: " ")] + version
        text += Array("\npublic ".utf8)
        for byte in pair.publicKey { text.append(hex: byte) }
        text += Array("\nprivate ".utf8)
        pair.privateKey.withUnsafeBytes { for byte in $0 { text.append(hex: byte) } }
        text += Array("\ncheck ".utf8)
        for byte in check(pair) { text.append(hex: byte) }
        text.append(UInt8(ascii: "\n"))
        return text
    }

    static func decode(_ text: [UInt8], _ path: FilePath) throws(IdentityError) -> StaticKeyPair {
        let lines = text.split(separator: UInt8(ascii: "\n")).filter { $0.first != UInt8(ascii: "#") }
        guard let first = lines.first?.split(separator: UInt8(ascii: " ")), first.count == 2,
            first[0].elementsEqual(signature)
        else { throw .damaged(path: path, reason: "it does not begin as one") }
        guard first[1].elementsEqual(version) else { throw .newerVersion(path: path) }
        guard lines.count == 4 else { throw .damaged(path: path, reason: "\(lines.count) lines instead of 4") }

        let publicKey = try value(of: "public", lines[1], count: StaticKeyPair.keySize, path)
        var privateKey = try value(of: "private", lines[2], count: StaticKeyPair.keySize, path)
        defer { wipe(&privateKey) }
        let expected = try value(of: "check", lines[3], count: checkSize, path)
        guard let pair = try? StaticKeyPair(privateKey: SharedSecret(copying: privateKey)),
            pair.publicKey == publicKey, check(pair) == expected
        else { throw .damaged(path: path, reason: "its check does not match") }
        return pair
    }

    private static func check(_ pair: StaticKeyPair) -> [UInt8] {
        var hasher = SHA256Hasher()
        hasher.update(pair.publicKey)
        pair.privateKey.withUnsafeBytes { hasher.update($0) }
        return Array(hasher.finalize().prefix(checkSize))
    }

    private static func value(
        of name: StaticString, _ line: ArraySlice<UInt8>, count: Int, _ path: FilePath
    ) throws(IdentityError) -> [UInt8] {
        let fields = line.split(separator: UInt8(ascii: " "))
        let isNamed = name.withUTF8Buffer { fields.first?.elementsEqual($0) == true }
        guard isNamed, fields.count == 2, fields[1].count == 2 * count else {
            throw .damaged(path: path, reason: "no line \"\(name)\" with \(2 * count) hexadecimal digits")
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        for index in stride(from: fields[1].startIndex, to: fields[1].endIndex, by: 2) {
            guard let high = digit(fields[1][index]), let low = digit(fields[1][index + 1]) else {
                throw .damaged(path: path, reason: "the line \"\(name)\" is not hexadecimal")
            }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func digit(_ character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(hex byte: UInt8) {
        let digits: StaticString = "0123456789abcdef"
        append(digits.utf8Start[Int(byte >> 4)])
        append(digits.utf8Start[Int(byte & 15)])
    }
}
