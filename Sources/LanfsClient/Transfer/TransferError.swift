import LanfsFileSystem
import SystemPackage

/// Why a transfer, or a part of it, did not happen. Paths are as the person wrote them.
public enum TransferError: Error, Sendable, CustomStringConvertible {
    case local(action: String, path: String, Errno)
    case remote(action: String, path: String, Errno)
    case notFound(String)
    case exists(String)
    case isDirectory(String)
    case notDirectory(String)
    case badPath(String)
    case special(String)
    case damagedTemporary(String)

    public var description: String {
        switch self {
        case .local(let action, let path, let errno): "cannot \(action) \(path): \(errno)"
        case .remote(let action, let path, let errno): "cannot \(action) \(path) in the volume: \(errno)"
        case .notFound(let path): "there is no \(path)"
        case .exists(let path): "\(path) exists already; replace it with -f"
        case .isDirectory(let path): "\(path) is a directory; take it with everything in it with -r"
        case .notDirectory(let path): "\(path) is not a directory"
        case .badPath(let path): "\(path): '..' has no meaning in a volume's paths; write the path from the volume's root"
        case .special(let path): "\(path) is neither a file, a directory nor a symbolic link; skipped"
        case .damagedTemporary(let path): "\(path), left by an interrupted transfer, is not what it should be; remove it"
        }
    }
}

/// What a transfer tells about itself as it goes.
public struct TransferProgress: Sendable {
    public enum Event: Sendable {
        /// A file begins; `size` is `nil` when it is not known (standard input).
        case began(path: String, size: UInt64?)
        /// This many bytes more are done; `resumed` ones were done by an earlier, interrupted run.
        case moved(bytes: Int, resumed: Bool)
        case finished(path: String)
        /// This part was left out; the rest goes on.
        case skipped(TransferError)
    }

    public var report: @Sendable (Event) -> Void

    public init(report: @escaping @Sendable (Event) -> Void) {
        self.report = report
    }
}

public struct TransferOptions: Sendable {
    /// Directories with everything in them.
    public var isRecursive: Bool
    /// Existing targets are replaced.
    public var replaces: Bool

    public init(isRecursive: Bool, replaces: Bool) {
        self.isRecursive = isRecursive
        self.replaces = replaces
    }
}
