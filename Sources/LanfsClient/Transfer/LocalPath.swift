/// A path on this machine, byte for byte: names need not be UTF-8.
public struct LocalPath: Hashable, Sendable {
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// It was written with a `/` at its end: a folder is meant.
    var isDirectory: Bool { bytes.last == UInt8(ascii: "/") }

    /// The last name as written; `nil` for `/` and where it is `.` or `..`.
    var name: [UInt8]? {
        guard let last = bytes.split(separator: UInt8(ascii: "/")).last.map(Array.init) else { return nil }
        return last == Array(".".utf8) || last == Array("..".utf8) ? nil : last
    }

    func appending(_ name: [UInt8]) -> LocalPath {
        LocalPath(bytes.isEmpty || isDirectory ? bytes + name : bytes + [UInt8(ascii: "/")] + name)
    }

    /// The folder it lies in, with a slash at its end; empty for the current one.
    var folder: LocalPath {
        var rest = bytes[...]
        while rest.last == UInt8(ascii: "/") { rest.removeLast() }
        guard let slash = rest.lastIndex(of: UInt8(ascii: "/")) else { return LocalPath([]) }
        return LocalPath(Array(bytes[...slash]))
    }

    /// Another name in the same folder.
    func replacingName(by name: [UInt8]) -> LocalPath { LocalPath(folder.bytes + name) }

    /// Calls `body` with the path as C knows it.
    func withCString<Value>(_ body: (UnsafePointer<CChar>) -> Value) -> Value {
        (bytes + [0]).withUnsafeBytes { buffer in
            buffer.withMemoryRebound(to: CChar.self) { body($0.baseAddress.unsafelyUnwrapped) }
        }
    }
}

/// A file or folder that a transfer speaks about.
public enum TransferPlace: Hashable, Sendable, CustomStringConvertible {
    case local(LocalPath)
    case volume(VolumePath)
    case standardInput
    case standardOutput

    public var description: String {
        switch self {
        case .local(let path): Self.shown(path.bytes)
        case .volume(let path): "\(path) in the volume"
        case .standardInput: "standard input"
        case .standardOutput: "standard output"
        }
    }

    /// Text where it is text; else the bytes above ASCII as `\xNN`.
    static func shown(_ bytes: [UInt8]) -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        return bytes.map { byte in
            byte < 0x80 ? String(UnicodeScalar(byte)) : "\\x" + String(byte, radix: 16)
        }.joined()
    }
}
