import LanfsFileSystem
import SystemPackage

/// A path in a volume: names from the root down.
public struct VolumePath: Hashable, Sendable, CustomStringConvertible {
    public var names: [[UInt8]]
    /// It was written with a `/` at its end: a directory is meant.
    public var isDirectory: Bool

    public init(names: [[UInt8]] = [], isDirectory: Bool = false) {
        self.names = names
        self.isDirectory = isDirectory
    }

    public var name: [UInt8]? { names.last }
    public var parent: VolumePath { VolumePath(names: Array(names.dropLast()), isDirectory: true) }

    public func appending(_ name: [UInt8]) -> VolumePath { VolumePath(names: names + [name]) }

    /// With a leading slash.
    public var bytes: [UInt8] {
        names.isEmpty ? [UInt8(ascii: "/")] : names.flatMap { [UInt8(ascii: "/")] + $0 }
    }

    public var description: String { TransferPlace.shown(bytes) }
}

extension Outcome {
    /// The outcome, awaited.
    public func value() async throws(Errno) -> Value {
        switch self {
        case .done(let value): return value
        case .failed(let errno): throw errno
        case .later(let rest, _): return try await rest().get()
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
