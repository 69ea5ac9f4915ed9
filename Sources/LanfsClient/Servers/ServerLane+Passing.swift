import LanfsNetwork
import LanfsProtocol

/// Blocks that the servers pass on to each other (B2).
extension ServerLane {
    /// A block that was taken in goes along a chain: to this server by `pass`, or to it from another server.
    func expect(_ block: BlockID) {
        state.withLock { $0.uploads[block]?.isPassedOn = true }
    }

    /// Sends a block that was expected, to be passed on to these (B2). A report tells what came of it.
    func pass(_ block: BlockID, to servers: [ServerID]) {
        let (gcEpoch, isAwaited) = state.withLock { state in
            state.uploads[block]?.isPassedOn = false
            return (state.uploads[block]?.gcEpoch, state.uploads[block]?.isAwaited ?? false)
        }
        guard let gcEpoch else { return }
        defer { if isAwaited { flush([]) } }
        let tell: @Sendable ([ServerID]) -> Void = { [self] failed in
            report(self, .passed(block, gcEpoch: gcEpoch, to: servers, failed: failed))
        }
        guard let connection, let (upload, sending) = begin(block, on: connection) else { return tell(servers) }
        let request = Request.pass(
            block: block, length: UInt32(upload.bytes.readableBytes), gcEpoch: upload.gcEpoch, to: servers)
        connection.call(request, payload: upload.bytes) { [self] result in
            switch try? result.get().response {
            case .done: tell([])
            case .passed(let failed):
                if failed.contains(server) { forgetSent([sending]) }
                tell(failed)
            default:
                forgetSent([sending])
                tell(servers)
            }
        }
        isSent(sending)
    }

    /// It was brought, or has to be sent from here.
    func stopExpecting(_ block: BlockID, gcEpoch: UInt64, isThere: Bool) {
        let connection = connection?.number
        state.withLock { state in
            guard var upload = state.uploads[block], upload.isPassedOn, upload.gcEpoch == gcEpoch else { return }
            upload.isPassedOn = false
            if isThere {
                upload.connection = connection
                upload.isSent = connection != nil
                upload.wasPassedOn = true
                upload.attempt += 1
            }
            state.uploads[block] = upload
        }
    }
}
