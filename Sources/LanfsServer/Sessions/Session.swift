import LanfsNetwork
import LanfsProtocol
import NIOCore
import Synchronization

/// One client's connection: first `open`, then requests about that volume and no other.
final class Session: RequestHandler {
    private enum Phase {
        case new
        /// `open` is being decided; what came behind it waits.
        case opening([Received])
        case open(VolumeSession)
        case refused(Refusal)
        case ended
    }

    private struct Received {
        var request: Request
        var payload: ByteBuffer?
        var id: RequestID
    }

    private let connection: ServerConnection
    private let volumes: Volumes
    private let threads: DiskThreads
    private let phase = Mutex(Phase.new)

    /// `openLimit`: who has opened no volume by then has to leave, because there are only so many connections; `status`
    /// does not prolong it.
    init(connection: ServerConnection, volumes: Volumes, threads: DiskThreads, openLimit: Duration) {
        self.connection = connection
        self.volumes = volumes
        self.threads = threads
        endUnlessOpen(after: openLimit)
    }

    private func endUnlessOpen(after limit: Duration) {
        connection.eventLoop.scheduleTask(in: TimeAmount(limit)) { [weak self] in
            guard let self else { return }
            let isOpening = phase.withLock { phase -> Bool? in
                switch phase {
                case .opening: true
                case .new, .refused: false
                case .open, .ended: nil
                }
            }
            switch isOpening {
            case true?: endUnlessOpen(after: limit)
            case false?: connection.close()
            case nil: break
            }
        }
    }

    func received(_ request: Request, payload: ByteBuffer?, id: RequestID) {
        let received = Received(request: request, payload: payload, id: id)
        let volume = phase.withLock { phase -> VolumeSession? in
            switch phase {
            case .open(let volume): return volume
            case .opening(var waiting):
                phase = .ended  // so that the array is not copied
                waiting.append(received)
                phase = .opening(waiting)
                return nil
            case .new, .refused, .ended: return nil
            }
        }
        if let volume {
            carryOut(received, volume)
        } else {
            receivedBeforeOpen(received)
        }
    }

    func closed(_ reason: NetworkError) {
        let volume = phase.withLock { phase -> VolumeSession? in
            defer { phase = .ended }
            if case .open(let volume) = phase { return volume }
            return nil
        }
        volume?.left()
    }

    private func carryOut(_ received: Received, _ volume: VolumeSession) {
        if case .open = received.request {
            connection.reply(received.id, .refused(Refusal(.invalid, "this connection is about a volume already")))
        } else {
            volume.received(received.request, payload: received.payload, id: received.id)
        }
    }

    // MARK: Opening

    private func receivedBeforeOpen(_ received: Received) {
        enum Step {
            case open, status, refuse(Refusal), nothing
        }
        let step = phase.withLock { phase -> Step in
            switch phase {
            case .opening, .open, .ended: return .nothing  // it waits, or nobody hears the answer
            case .refused(let refusal): return .refuse(refusal)
            case .new:
                switch received.request {
                case .open:
                    phase = .opening([])
                    return .open
                case .status: return .status
                default: return .refuse(Refusal(.invalid, "open a volume first"))
                }
            }
        }
        switch step {
        case .nothing: break
        case .refuse(let refusal): connection.reply(received.id, .refused(refusal))
        case .status:
            threads.work { [connection, volumes] in
                connection.reply(received.id, .status(volumes.status(of: nil)))
            }
        case .open:
            guard case .open(let volume, let proof) = received.request else { return }
            threads.work { self.open(volume, proof: proof, id: received.id) }
        }
    }

    /// On a worker: the signature, the list and a new volume's folder take their time.
    private func open(_ volume: VolumeID, proof: [UInt8], id: RequestID) {
        let admitted = volumes.admit(
            volume, proof: proof, handshakeHash: connection.handshakeHash, address: connection.address)
        switch admitted {
        case .failure(let refusal):
            connection.reply(id, .refused(refusal))
            let waiting = phase.withLock { phase -> [Received] in
                guard case .opening(let waiting) = phase else { return [] }
                phase = .refused(refusal)
                return waiting
            }
            for received in waiting { connection.reply(received.id, .refused(refusal)) }
        case .success(let volume):
            connection.reply(id, .done)
            begin(VolumeSession(volume, connection: connection, volumes: volumes, threads: threads))
        }
    }

    /// Hands over what waited, in order; what comes meanwhile goes behind it.
    private func begin(_ volume: VolumeSession) {
        while true {
            let waiting = phase.withLock { phase -> [Received] in
                guard case .opening(let waiting) = phase else { return [] }
                phase = waiting.isEmpty ? .open(volume) : .opening([])
                return waiting
            }
            if waiting.isEmpty { return }
            for received in waiting { carryOut(received, volume) }
        }
    }
}
