import LanfsNetwork
import LanfsProtocol
import NIOCore
import Synchronization

/// A block on its way along the servers that keep it (`Request.pass`).
extension ServedVolume {
    /// Stores the block and passes it on, at the same time. `stored` runs on a worker when it is stored here or refused;
    /// `answer` once when that is so and the others have answered, with those that did not take it.
    func pass(
        _ order: CopyOrder, _ payload: ByteBuffer, to servers: [ServerID],
        stored: @escaping @Sendable (Refusal?) -> Void, answer: @escaping @Sendable ([ServerID]) -> Void
    ) {
        let halves = TwoHalves(answer)
        members.context.threads.work { [self] in
            members.pass(order, payload, to: servers) { halves.arrived($0) }
            store(order.block, payload, gcEpoch: order.gcEpoch) { [self] refusal in
                stored(refusal)
                halves.arrived(refusal == nil ? [] : [members.context.server])
            }
        }
    }
}

extension VolumeMembers {
    /// On to the first of these that there is a connection to, which passes it on to the rest. One that has gone quiet is
    /// left to the client (B3).
    fileprivate func pass(
        _ order: CopyOrder, _ payload: ByteBuffer, to servers: [ServerID],
        _ done: @escaping @Sendable ([ServerID]) -> Void
    ) {
        let connections = state.withLock { state in servers.map { state.links[$0]?.current } }
        guard let next = connections.firstIndex(where: { !($0?.isQuiet ?? true) }), let connection = connections[next] else {
            return done(servers)
        }
        let failed = Array(servers[..<next])
        let rest = Array(servers[(next + 1)...])
        connection.call(.ask(.pass(order, to: rest)), payload: payload) { result in
            if case .success(let reply) = result, case .told(.passed(order.block, let more)) = reply.response {
                done(failed + more)
            } else {
                // It may have come further; the client sends it again, which does no harm.
                done(servers)
            }
        }
    }
}

/// Waits for both.
private final class TwoHalves: Sendable {
    private struct State {
        var failed: [ServerID] = []
        var missing = 2
    }

    private let answer: @Sendable ([ServerID]) -> Void
    private let state = Mutex(State())

    init(_ answer: @escaping @Sendable ([ServerID]) -> Void) { self.answer = answer }

    func arrived(_ failed: [ServerID]) {
        let all = state.withLock { state -> [ServerID]? in
            state.failed += failed
            state.missing -= 1
            return state.missing == 0 ? state.failed : nil
        }
        if let all { answer(all) }
    }
}
