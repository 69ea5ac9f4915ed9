import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import SystemPackage

/// Why a volume cannot be opened, read or saved, in words for the person who uses it.
public enum VolumeError: Error, Sendable, CustomStringConvertible {
    case network(NetworkError)
    case local(LocalFileError)
    /// The keeper's journals are gone or rolled back (A5, A6): it does not vote any more.
    case keeperLost(ServerID)
    case refused(Refusal)
    /// Nobody answered.
    case noServer
    /// No server that was reached knows the volume (F5).
    case unknownVolume(VolumeID)
    case alreadyExists(VolumeID)
    /// What is stored does not decode or open: `what` says which piece.
    case damaged(String)
    /// The chosen root is older than, or no descendant of, what this machine has seen (F1).
    case rolledBack(String)
    /// Another client holds the write lease and does not give it back.
    case busy
    /// Another client committed on top of a root that our acknowledged work was based on (L6).
    case overtaken
    case timedOut
    case closed
    /// F1: what was seen here is not in the volume since it was recovered by force (M3).
    case leftBehind(seen: UInt64, recovered: UInt64)
    /// F1: what was seen here belongs to one of two volumes that forced recoveries made of one (M3), and this is the other.
    case otherSide(seen: UInt64, shown: UInt64)
    /// The person said no (M3).
    case notRecovered
    /// M3: the epoch was being ended already.
    case movingKeepers
    /// The volume has no such snapshot (M3), but these.
    case noSnapshot(String, known: [String])
    /// M3: these servers may still have, or make, roots that a recovery by force left behind.
    case recoveryOpen(awaited: String)
    /// Blocks of a snapshot are only on servers that are away.
    case snapshotAway(String)
    /// Somebody took the server back into the volume (B6).
    case drainEnded
    /// The file system itself says no.
    case failed(Errno)

    public var description: String {
        switch self {
        case .network(let error): "\(error)"
        case .local(let error): "\(error)"
        case .keeperLost(let server):
            "the server \(server.hex.prefix(16)) lost its record of the volume's newest state and must not vote on it any more; "
                + "what its disk still holds is untouched"
        case .refused(let refusal): "the server refused: \(refusal.detail)"
        case .unknownVolume(let id):
            "no server here knows the volume \(id.hex.prefix(16)). If it is new, create it with --create; if it exists, "
                + "start its servers or name one with --server HOST"
        case .noServer:
            "no lanfs server answered on this network. Start one with: lanfs serve; or name its host with --server HOST"
        case .alreadyExists(let id): "the volume \(id.hex.prefix(16)) exists already"
        case .damaged(let what): "\(what) is damaged: it does not open or decode"
        case .rolledBack(let what):
            "ALARM: the servers show an older state of the volume than this machine has seen: \(what). Nothing was "
                + "changed. A server was put back from a backup, or it lies"
        case .busy: "another client is writing to this volume and does not hand over; try again later"
        case .overtaken:
            "another client changed the volume while this one was cut off with unsaved work; unmount: what could not be saved is kept "
                + "on this machine then"
        case .timedOut: "the servers did not answer in time"
        case .closed: "the volume is being closed"
        case .leftBehind(let seen, let recovered):
            "ALARM: the volume was recovered by force from a server that had only the commits up to \(recovered), and this "
                + "machine has seen commit \(seen). Nothing was changed. 'lanfs mount --recover-force' here accepts that the "
                + "rest is gone"
        case .otherSide(let seen, let shown):
            "ALARM: the volume was recovered by force on two sides that did not know of each other, and is two volumes now: "
                + "this machine has seen commit \(seen) of one, and these servers show commit \(shown) of the other. Nothing "
                + "was changed. Start the servers of the side that is to stay, and stop the others; "
                + "'lanfs mount --recover-force' here accepts the side that answers"
        case .notRecovered: "nothing was recovered"
        case .movingKeepers:
            "the keepers of the volume were being changed when they were lost: start one of the servers that are away"
        case .noSnapshot(let name, let known):
            "the volume has no snapshot '\(name)'"
                + (known.isEmpty ? "; it has none at all" : "; those it has: \(known.joined(separator: ", "))")
        case .recoveryOpen(let awaited):
            "the recovery by force is not over: \(awaited) may still have what it left behind, and nothing of that is given up "
                + "before. Take each of them back with 'lanfs drain --cancel SERVER', or out of the volume with 'lanfs drain SERVER'"
        case .snapshotAway(let name):
            "the snapshot \(name) cannot be read whole now: start the servers that are away, or drop it with 'lanfs rm --snapshot \(name)'"
        case .drainEnded: "the server was taken back into the volume meanwhile"
        case .failed(let errno): "\(errno)"
        }
    }

    public var errno: Errno {
        switch self {
        case .refused(let refusal) where refusal.reason == .full: .noSpace
        case .failed(let errno): errno
        case .network(.cancelled): .interrupted
        default: .ioError
        }
    }
}
