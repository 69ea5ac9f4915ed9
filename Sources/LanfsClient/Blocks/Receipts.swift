import LanfsProtocol
import Synchronization

/// Which blocks servers said they had on their disks (B2), the newest of them: who does not have such a block when it is
/// read lost it, or lied.
final class Receipts: Sendable {
    private static let limit = 1 << 14

    fileprivate struct State {
        var servers: [BlockID: [ServerID]] = [:]
        /// The oldest first, from `next` on.
        var order: [BlockID] = []
        var next = 0
    }

    private let state = Mutex(State())

    func note(_ blocks: some Sequence<BlockID>, of server: ServerID) {
        state.withLock { state in
            for block in blocks {
                if state.servers[block]?.contains(server) ?? false { continue }
                if state.servers[block] == nil { state.remember(block, limit: Self.limit) }
                state.servers[block, default: []].append(server)
            }
        }
    }

    func has(_ block: BlockID, of server: ServerID) -> Bool {
        state.withLock { $0.servers[block]?.contains(server) ?? false }
    }
}

extension Receipts.State {
    fileprivate mutating func remember(_ block: BlockID, limit: Int) {
        guard order.count == limit else { return order.append(block) }
        servers[order[next]] = nil
        order[next] = block
        next = (next + 1) % limit
    }
}
