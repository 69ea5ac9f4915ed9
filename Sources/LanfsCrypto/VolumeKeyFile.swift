/// Why a text is no usable volume key file. Line numbers count from 1.
public enum KeyFileError: Error, Equatable, Sendable {
    case tooLarge(bytes: Int)
    case notAKeyFile
    case unsupportedVersion(String)
    case missingLine(String)
    case malformedLine(number: Int, expected: String)
    /// Well formed, but something was changed since it was written.
    case checksumMismatch
    /// The checksum is right and yet the key belongs to another volume than the file says: put together by hand.
    case otherVolume
}

extension KeyFileError: CustomStringConvertible {
    public var description: String {
        let remedy = "use a copy of the file, or import the phrase you wrote down"
        return switch self {
        case .tooLarge(let bytes):
            "\(bytes) bytes are too many for a volume key file (at most \(VolumeKeyFile.sizeLimit)): another file?"
        case .notAKeyFile: "this is not a lanfs volume key file: it does not begin with a \"lanfs-volume-key\" line"
        case .unsupportedVersion(let version):
            "the key file has format version \(version), this program knows version 1: use a newer lanfs"
        case .missingLine(let name): "the key file ends before its \"\(name)\" line: \(remedy)"
        case .malformedLine(let number, let expected):
            "line \(number) of the key file is damaged, expected \(expected): \(remedy)"
        case .checksumMismatch: "the key file is damaged, its checksum does not match: \(remedy)"
        case .otherVolume: "the key in this file is not the key of the volume it names: \(remedy)"
        }
    }
}

/// The text of a volume key file: comments, a version line, the volume's id, the key, and a checksum over all three.
///
///     # lanfs volume key ...
///     lanfs-volume-key 1
///     volume 64 hexadecimal digits
///     key 64 hexadecimal digits
///     check 16 hexadecimal digits
///
/// Strict on purpose: lowercase, these lines in this order. Only comments, empty lines and trailing blanks are free.
public enum VolumeKeyFile {
    static let sizeLimit = 4096
    private static let signature = "lanfs-volume-key"
    private static let version = "1"
    private static let checkSize = 8
    private static let comment = """
        # lanfs volume key: whoever has this file can read and change the whole volume.
        # Keep a copy in a safe place: without it nobody can open the volume again.

        """

    /// The file's contents, to be written with mode 0600.
    public static func encode(_ key: VolumeKey) -> SecretBytes {
        let check = checksum(volumeID: key.volumeID, key: key.secret.bytes)
        var text = SecretText(
            capacity: comment.utf8.count + "\(signature) \(version)\nvolume \nkey \ncheck \n".utf8.count
                + 2 * (key.volumeID.count + key.secret.count + check.count))
        text.append(comment)
        text.append("\(signature) \(version)\nvolume ")
        key.volumeID.withUnsafeBytes { text.append(hexOf: $0) }
        text.append("\nkey ")
        key.secret.withUnsafeBytes { text.append(hexOf: $0) }
        text.append("\ncheck ")
        check.withUnsafeBytes { text.append(hexOf: $0) }
        text.append("\n")
        return text.finish()
    }

    public static func decode(_ file: UnsafeRawBufferPointer) throws(KeyFileError) -> VolumeKey {
        guard file.count <= sizeLimit else { throw .tooLarge(bytes: file.count) }
        var lines = KeyFileLines(file)
        guard let first = lines.next(), let version = first.value(of: signature) else { throw .notAKeyFile }
        guard version.elementsEqual(Self.version.utf8) else {
            throw .unsupportedVersion(String(decoding: version.prefix(16), as: UTF8.self))
        }
        let volumeID = try lines.hex("volume", count: SigningKey.publicKeySize)
        let secret = try lines.hex("key", count: VolumeKey.size)
        let check = try lines.hex("check", count: checkSize)
        if let extra = lines.next() { throw .malformedLine(number: extra.number, expected: "the end of the file") }

        let idBytes = volumeID.withUnsafeBytes { Array($0) }
        guard checksum(volumeID: idBytes, key: secret).withUnsafeBytes({ check.isEqual(to: $0) }) else {
            throw .checksumMismatch
        }
        let key = VolumeKey(checkedSecret: secret)
        guard key.volumeID == idBytes else { throw .otherVolume }
        return key
    }

    public static func decode(_ file: [UInt8]) throws(KeyFileError) -> VolumeKey {
        try file.withBytes { (file) throws(KeyFileError) in try decode(file) }
    }

    private static func checksum(volumeID: [UInt8], key: borrowing SecretBytes) -> [UInt8] {
        var input = SecretBytes(count: volumeID.count + key.count)
        input.withUnsafeMutableBytes { input in
            input.copyBytes(from: volumeID)
            let rest = UnsafeMutableRawBufferPointer(rebasing: input[volumeID.count...])
            key.withUnsafeBytes { rest.copyMemory(from: $0) }
        }
        return input.withUnsafeBytes { blake2b($0, personal: "lanfs-keyfile-v1", count: checkSize) }
    }
}

/// Text written straight into secret memory: a String would leave copies that nobody wipes.
private struct SecretText: ~Copyable {
    private var bytes: SecretBytes
    private var count = 0

    init(capacity: Int) { bytes = SecretBytes(count: capacity) }

    mutating func append(_ text: String) {
        for byte in text.utf8 { append(byte) }
    }

    mutating func append(hexOf data: UnsafeRawBufferPointer) {
        for byte in data {
            append(Hex.digit(byte >> 4))
            append(Hex.digit(byte & 15))
        }
    }

    private mutating func append(_ byte: UInt8) {
        let index = count
        bytes.withUnsafeMutableBytes { $0[index] = byte }
        count += 1
    }

    consuming func finish() -> SecretBytes {
        precondition(count == bytes.count, "a key file of \(count) bytes was expected to have \(bytes.count)")
        return bytes
    }
}

/// The lines that mean something, as views of the file's own memory.
private struct KeyFileLines {
    struct Line {
        var number: Int
        var text: Slice<UnsafeRawBufferPointer>

        /// What follows `name` and one space.
        func value(of name: String) -> Slice<UnsafeRawBufferPointer>? {
            guard text.starts(with: name.utf8) else { return nil }
            let rest = text.dropFirst(name.utf8.count)
            return rest.first == UInt8(ascii: " ") ? rest.dropFirst() : nil
        }
    }

    private var rest: Slice<UnsafeRawBufferPointer>
    private var number = 0

    init(_ file: UnsafeRawBufferPointer) { rest = file[...] }

    mutating func next() -> Line? {
        while !rest.isEmpty {
            number += 1
            let end = rest.firstIndex(of: UInt8(ascii: "\n"))
            var text = rest[..<(end ?? rest.endIndex)]
            rest = end.map { rest[($0 + 1)...] } ?? rest[rest.endIndex...]
            while let last = text.last, [UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r")].contains(last) {
                text = text.dropLast()
            }
            if !text.isEmpty, text.first != UInt8(ascii: "#") { return Line(number: number, text: text) }
        }
        return nil
    }

    /// The line `name` with exactly `count` bytes in lowercase hexadecimal.
    mutating func hex(_ name: String, count: Int) throws(KeyFileError) -> SecretBytes {
        guard let line = next() else { throw .missingLine(name) }
        let damaged = KeyFileError.malformedLine(
            number: line.number, expected: "\"\(name)\" and \(2 * count) digits 0-9 a-f")
        guard let digits = line.value(of: name), digits.count == 2 * count else { throw damaged }
        var bytes = SecretBytes(count: count)
        for index in 0..<count {
            let position = digits.startIndex + 2 * index
            guard let high = Hex.value(digits[position]), let low = Hex.value(digits[position + 1]) else {
                throw damaged
            }
            bytes.withUnsafeMutableBytes { $0[index] = high << 4 | low }
        }
        return bytes
    }
}
