import LanfsNetwork
import LanfsProtocol
import SystemPackage

/// Why a volume cannot be opened, read or saved, in words for the person who uses it.
public enum VolumeError: Error, Sendable, CustomStringConvertible {
    case network(NetworkError)
    case refused(Refusal)
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

    public var description: String {
        switch self {
        case .network(let error): "\(error)"
        case .refused(let refusal): "the server refused: \(refusal.detail)"
        case .unknownVolume(let id):
            "no server here knows the volume \(id.hex.prefix(16)). If it is new, create it with --create; if it exists, "
                + "start its servers or name one with --server HOST"
        case .alreadyExists(let id): "the volume \(id.hex.prefix(16)) exists already"
        case .damaged(let what): "\(what) is damaged: it does not open or decode"
        case .rolledBack(let what):
            "ALARM: the servers show an older state of the volume than this machine has seen: \(what). Nothing was "
                + "changed. A server was put back from a backup, or it lies"
        case .busy: "another client is writing to this volume and does not hand over; try again later"
        case .overtaken:
            "another client changed the volume while this one was cut off with unsaved work; what could not be saved is kept aside"
        case .timedOut: "the servers did not answer in time"
        case .closed: "the volume is being closed"
        }
    }

    public var errno: Errno {
        switch self {
        case .refused(let refusal) where refusal.reason == .full: .noSpace
        case .timedOut: .ioError
        default: .ioError
        }
    }
}
