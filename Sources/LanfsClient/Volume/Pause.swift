import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage

/// Why an operation did not finish. It has changed nothing; all but `failed` are run again from the start once what
/// they wait for is there.
enum Pause: Error {
    case failed(Errno)
    /// A tree node that is not in memory.
    case node(MissingNode)
    /// Frames of file data that are not in memory.
    case frames([FrameRef])
    /// The write lease (L1).
    case lease
    /// Memory for more unsaved data: wait until some of it is on the servers.
    case room
    /// Room on the servers: wait until what died since they were asked is free, and they said what there is. What still
    /// does not fit then fails with ENOSPC.
    case space
    /// A range of inode numbers to take new ones from (T4).
    case inodes

    /// What it waits for takes little computing once it is there.
    var isShort: Bool { if case .frames(let frames) = self { frames.count <= FrameFetcher.few } else { true } }

    init(_ interruption: Interruption) {
        switch interruption {
        case .failed(let errno): self = .failed(errno)
        case .missing(let node): self = .node(node)
        }
    }
}
