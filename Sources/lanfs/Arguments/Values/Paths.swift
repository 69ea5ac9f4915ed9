/// A path on this machine, byte for byte.
struct LocalPath: Hashable, Sendable, ArgumentValue {
    let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    static var completion: Completion { .file }

    init(argument: Argument) throws(BadValue) {
        guard !argument.bytes.isEmpty else { throw BadValue("a path must not be empty") }
        guard argument.bytes.count < 4096 else {
            throw BadValue("the path has \(argument.bytes.count) bytes; the system accepts at most 4095")
        }
        // A process cannot be started with a zero byte in a word, but an fstab option or a test can hold one.
        guard !argument.bytes.contains(0) else { throw BadValue("a path must not contain a zero byte") }
        self.bytes = argument.bytes
    }

    /// The path as it may be shown in a message.
    var shown: String { Printable.text(bytes) }

    /// Exact for a path that was read as `TextPath` or `LocalFolder`.
    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The last component without trailing slashes, the name a copy gets; nil for `/`, `.` and `..`.
    var lastComponent: [UInt8]? {
        let parts = bytes.split(separator: UInt8(ascii: "/"))
        guard let last = parts.last, last != [UInt8(ascii: ".")], last != [UInt8(ascii: "."), UInt8(ascii: ".")] else {
            return nil
        }
        return Array(last)
    }

    /// Whether it ends in a slash, and so can only mean a folder.
    var namesFolder: Bool { bytes.last == UInt8(ascii: "/") }
}

/// A path on this machine that others than the system's calls have to understand: it must be UTF-8.
struct TextPath: Hashable, Sendable, ArgumentValue {
    let path: LocalPath
    static var completion: Completion { .file }

    init(argument: Argument) throws(BadValue) {
        path = try LocalPath(argument: argument)
        guard argument.text != nil else { throw BadValue("\(argument.quoted) is not valid UTF-8, as this path must be") }
    }
}

/// A folder on this machine, of the same kind.
struct LocalFolder: Hashable, Sendable, ArgumentValue {
    let path: LocalPath
    static var completion: Completion { .directory }
    init(argument: Argument) throws(BadValue) { path = try TextPath(argument: argument).path }
}

/// A path in the volume. It always starts at the volume's root, with or without a leading slash.
struct VolumePath: Hashable, Sendable, ArgumentValue {
    /// The names from the root down; none for the root itself.
    let components: [[UInt8]]
    /// Whether it was written with a slash at the end (or is the root), and so can only mean a folder.
    let namesFolder: Bool

    static let root = VolumePath(components: [], namesFolder: true)
    static var completion: Completion { .nothing }

    private init(components: [[UInt8]], namesFolder: Bool) {
        self.components = components
        self.namesFolder = namesFolder
    }

    init(argument: Argument) throws(BadValue) {
        guard !argument.bytes.isEmpty else {
            throw BadValue("a path in the volume must not be empty; write / for the volume's root")
        }
        guard argument.bytes.count < 4096, !argument.bytes.contains(0) else {
            throw BadValue("a path in the volume has at most 4095 bytes, none of them zero")
        }
        var components: [[UInt8]] = []
        for part in argument.bytes.split(separator: UInt8(ascii: "/")) {
            if part == [UInt8(ascii: ".")] { continue }
            // Taking away the name before it would be wrong where that name is a symbolic link.
            guard part != [UInt8(ascii: "."), UInt8(ascii: ".")] else {
                throw BadValue("\(argument.quoted): '..' is not understood in the volume; write the path from its root")
            }
            guard part.count <= 255 else {
                throw BadValue("a name in the path has \(part.count) bytes; the longest name has 255")
            }
            components.append(Array(part))
        }
        let folder = argument.bytes.last == UInt8(ascii: "/") || argument.bytes.suffix(2) == [0x2F, 0x2E]
        self.init(components: components, namesFolder: components.isEmpty || folder)
    }

    /// The path as it may be shown in a message, with a leading slash.
    var shown: String { Printable.text(bytes) }

    /// The path with a leading slash and none at the end.
    var bytes: [UInt8] {
        if components.isEmpty { return [UInt8(ascii: "/")] }
        return components.flatMap { [UInt8(ascii: "/")] + $0 }
    }
}
