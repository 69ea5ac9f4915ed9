import LanfsCrypto
import LanfsProtocol
import Logging
import Synchronization

/// Notices keepers that go back: one that shows an older root than it accepted before had its disk put back, or lies. The
/// register needs no such notice, it believes a majority; people do.
final class KeeperWatch: Sendable {
    private struct Known: Comparable {
        var epoch: UInt64
        var ballot: Ballot

        static func < (left: Self, right: Self) -> Bool { (left.epoch, left.ballot) < (right.epoch, right.ballot) }
    }

    private struct State {
        var known: [ServerID: Known] = [:]
        /// They are told of once.
        var caught: Set<ServerID> = []
    }

    private let log: Logger
    private let state = Mutex(State())

    init(log: Logger) { self.log = log }

    func watching(_ transport: @escaping RootRegister.Transport) -> RootRegister.Transport {
        { [self] server, request, completion in
            // Answers may overtake each other: only what was known when it was asked counts.
            let before = state.withLock { $0.known[server] }
            transport(server, request) { answer in
                if let response = answer.response { self.note(request, response, of: server, before) }
                completion(answer)
            }
        }
    }

    private func note(
        _ request: RegisterRequest, _ response: RegisterResponse, of server: ServerID, _ before: Known?
    ) {
        let shown: Known
        switch (request.body, response.verdict) {
        case (.accept(let record, _), .yes): shown = Known(epoch: request.epoch, ballot: record.ballot)
        case (_, .accepted(let ballot, _)): shown = Known(epoch: response.epoch, ballot: ballot)
        default: return
        }
        let isCaught = state.withLock { state in
            state.known[server] = max(shown, state.known[server] ?? shown)
            guard let before, shown < before else { return false }
            return state.caught.insert(server).inserted
        }
        if isCaught {
            log.error(
                "a server shows an older root than it accepted before: its disk was put back, or it lies. The others are believed",
                metadata: ["server": "\(fingerprint(of: server.bytes))"])
        }
    }
}
