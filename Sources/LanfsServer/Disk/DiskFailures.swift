import LanfsProtocol
import LanfsStore
import Logging
import Synchronization

/// Says in the log that the disk failed: at once, then at most once a second, because one bad disk fails a thousand
/// requests.
final class DiskFailures: Sendable {
    private struct State {
        var last: ContinuousClock.Instant?
        var unsaid = 0
    }

    private let logger: Logger
    private let state = Mutex(State())

    init(_ logger: Logger) { self.logger = logger }

    func report(_ error: StoreError, _ activity: String) {
        guard error.isDiskFailure else { return }
        let unsaid = state.withLock { state -> Int? in
            let now = ContinuousClock.now
            if let last = state.last, now - last < .seconds(1) {
                state.unsaid += 1
                return nil
            }
            state.last = now
            defer { state.unsaid = 0 }
            return state.unsaid
        }
        guard let unsaid else { return }
        logger.error("\(activity) failed: \(error)", metadata: unsaid > 0 ? ["more": "\(unsaid)"] : [:])
    }
}

extension StoreError {
    /// Whether the disk is to blame, rather than the request or the room left.
    var isDiskFailure: Bool {
        switch self {
        case .system, .unflushedLost, .stopped, .damaged, .amnesiac: true
        case .full, .notFound, .outOfRange, .tooLong, .epochTooHigh, .staleSweep, .inUse, .unknownVolume, .closed: false
        }
    }
}

extension Refusal {
    /// What a client may know of it: the errors' own texts name paths of this machine.
    init(_ error: StoreError) {
        switch error {
        case .full(let shortage, let needed, let available, _):
            let what =
                switch shortage {
                case .quota: "the volume's quota on this server"
                case .capacity: "the capacity of this server"
                case .fileSystem: "this server's disk"
                }
            self.init(.full, "\(what) is used up: \(needed) bytes wanted, \(available) left")
        case .notFound, .outOfRange: self.init(.notFound, error.description)
        case .tooLong, .epochTooHigh: self.init(.invalid, error.description)
        case .staleSweep: self.init(.staleSweep, error.description)
        case .closed: self = .closing
        case .unflushedLost:
            self.init(.diskFailed, "this server's disk lost blocks before they were flushed: send them again")
        case .system, .stopped, .damaged, .amnesiac, .inUse, .unknownVolume:
            let reason = error.errno.map { " (\($0))" } ?? ""
            self.init(.diskFailed, "this server's disk failed\(reason); its log says more")
        }
    }
}
