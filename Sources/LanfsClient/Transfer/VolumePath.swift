import LanfsFileSystem
import SystemPackage

/// A path in a volume: names from the root down. `.` and empty parts say nothing; `..` is refused, because a one-off
/// transfer has no place it stands in.
public struct VolumePath: Hashable, Sendable, CustomStringConvertible {
    public var names: [[UInt8]]
    /// It was written with a `/` at its end: a directory is meant.
    public var isDirectory: Bool

    public init(names: [[UInt8]] = [], isDirectory: Bool = false) {
        self.names = names
        self.isDirectory = isDirectory
    }

    /// `nil` for a path with `..`.
    public init?(_ text: [UInt8]) {
        let parts = text.split(separator: UInt8(ascii: "/")).map(Array.init).filter { $0 != Array(".".utf8) }
        guard !parts.contains(Array("..".utf8)) else { return nil }
        names = parts
        isDirectory = text.last == UInt8(ascii: "/") || parts.isEmpty
    }

    public var name: [UInt8]? { names.last }
    public var parent: VolumePath { VolumePath(names: Array(names.dropLast()), isDirectory: true) }

    public func appending(_ name: [UInt8]) -> VolumePath { VolumePath(names: names + [name]) }

    public var description: String { names.isEmpty ? "/" : String(decoding: Array(names.joined(separator: [UInt8(ascii: "/")])), as: UTF8.self) }
}

extension Outcome {
    /// The outcome, awaited.
    public func value() async throws(Errno) -> Value {
        switch self {
        case .done(let value): return value
        case .failed(let errno): throw errno
        case .later(let rest): return try await rest().get()
        }
    }
}

extension Volume {
    /// The attributes of what is at `path`; `nil` when there is nothing. Symbolic links are not followed.
    public func find(_ path: VolumePath) async throws(Errno) -> Attributes? {
        var attributes = try await attributes(of: rootInode).value()
        for name in path.names {
            guard attributes.type == .directory else { throw .notDirectory }
            let parent = attributes.inode
            do throws(Errno) {
                attributes = try await run { (state) throws(Pause) in
                    try state.read { (transaction) throws(Interruption) in try transaction.lookup(name, in: parent) }
                }
            } catch .noSuchFileOrDirectory {
                return nil
            }
        }
        return attributes
    }
}
