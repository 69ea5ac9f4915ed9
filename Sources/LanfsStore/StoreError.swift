import LanfsProtocol
import SystemPackage

/// Why the server's disk could not do it. Every message says what failed, on what, why, and what to do next.
public enum StoreError: Error, Equatable, Sendable {
    /// What ran out first.
    public enum Shortage: Equatable, Sendable {
        case quota, capacity, fileSystem
    }

    case system(action: String, path: FilePath, errno: Errno)
    /// Nothing was written. Bytes.
    case full(Shortage, needed: UInt64, available: UInt64, path: FilePath)
    case notFound(BlockID)
    case outOfRange(BlockID, offset: Int, length: Int, blockLength: Int)
    case tooLong(length: Int, limit: Int)
    /// A gcEpoch beyond `BlockStore.epochLimit`: no honest volume gets there.
    case epochTooHigh(UInt64)
    /// G6.
    case staleSweep(gcEpoch: UInt64, newest: UInt64)
    /// Another process has the data directory.
    case inUse(path: FilePath, pid: Int32?)
    /// A failed fsync took blocks that were not flushed yet; they were never acknowledged (section 7).
    case unflushedLost(path: FilePath, errno: Errno)
    /// The disk failed in a way that leaves nothing safe to write to; reading goes on.
    case stopped(path: FilePath, reason: String)
    case damaged(path: FilePath, reason: String)
    case unknownVolume(VolumeID)
    /// A5, A6: this keeper must never vote again under its identity.
    case amnesiac(path: FilePath, reason: String)
    case closed(path: FilePath)

    /// The system's reason, where there is one.
    public var errno: Errno? {
        switch self {
        case .system(_, _, let errno), .unflushedLost(_, let errno): errno
        case .full: .noSpace
        default: nil
        }
    }
}

extension StoreError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .system(let action, let path, let errno):
            "cannot \(action) \(path): \(errno); check the disk and the permissions, then try again"
        case .full(.quota, let needed, let available, let path):
            "the volume's quota is used up (\(needed) bytes wanted, \(available) left in \(path)): "
                + "delete files, or raise its quota in the server's `authorized` list"
        case .full(.capacity, let needed, let available, let path):
            "the server's capacity is used up (\(needed) bytes wanted, \(available) left in \(path)): "
                + "delete files, or serve with a larger --capacity"
        case .full(.fileSystem, let needed, let available, let path):
            "the disk is full (\(needed) bytes wanted, \(available) left above the reserve at \(path)): "
                + "free space on that file system, or add a server"
        case .notFound(let block):
            "block \(block) is not stored here; ask another server"
        case .outOfRange(let block, let offset, let length, let blockLength):
            "\(length) bytes from \(offset) on of block \(block) do not exist: it has \(blockLength)"
        case .tooLong(let length, let limit):
            "\(length) bytes are more than the \(limit) allowed"
        case .epochTooHigh(let epoch):
            "collection number \(epoch) is beyond what any volume can reach; the request is not from a sound client"
        case .staleSweep(let gcEpoch, let newest):
            "a sweep of collection \(gcEpoch) came after one of \(newest); start a new collection"
        case .inUse(let path, let pid):
            "\(path) is in use by another lanfs server\(pid.map { " (pid \($0))" } ?? ""): "
                + "stop that one, or give this one its own --data-dir"
        case .unflushedLost(let path, let errno):
            "writing \(path) to disk failed (\(errno)): blocks that were not flushed yet are lost; send them again, "
                + "and check the disk"
        case .stopped(let path, let reason):
            "the store at \(path) takes no more writes: \(reason); check the disk, then restart the server"
        case .damaged(let path, let reason):
            "\(path) is damaged: \(reason)"
        case .unknownVolume(let volume):
            "volume \(volume) has no folder on this server"
        case .amnesiac(let path, let reason):
            "the register journals beside \(path) cannot be trusted (\(reason)): this server must not vote on the "
                + "volume again; remove it as a keeper, then let it join anew"
        case .closed(let path):
            "the store at \(path) is closed"
        }
    }
}

/// Something found wrong on disk that did not stop the store; to be logged, and the blocks fetched from a peer.
public struct StoreIssue: Equatable, Sendable, CustomStringConvertible {
    public var path: FilePath
    public var offset: UInt64
    /// Bytes; 0 when the whole file is meant.
    public var length: UInt64
    public var reason: String

    public var description: String {
        length == 0 ? "\(path): \(reason)" : "\(path), bytes \(offset)..<\(offset + length): \(reason)"
    }
}
