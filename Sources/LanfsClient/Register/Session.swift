import LanfsProtocol
import Synchronization

/// L4: where this client is registered as a session, kept from one question to the next.
final class Session: Sendable {
    private let state = Mutex((epoch: UInt64(0), tickets: SessionTickets()))

    func tickets(in epoch: UInt64) -> SessionTickets {
        state.withLock { $0.epoch == epoch ? $0.tickets : SessionTickets() }
    }

    func keep(_ tickets: SessionTickets, in epoch: UInt64) {
        state.withLock { state in if epoch >= state.epoch { state = (epoch, tickets) } }
    }
}
