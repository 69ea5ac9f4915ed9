import LanfsNetwork
import LanfsProtocol
import NIOCore
import Synchronization

/// What a connection is about, once that is decided.
protocol OpenSession: AnyObject, Sendable {
    func received(_ request: Request, payload: ByteBuffer?, id: RequestID)
    /// The connection has ended.
    func left()
}

/// One connection: first a client's `open` or a server's `member`, then requests about that volume and no other.
final class Session: RequestHandler {
    private enum Phase {
        case new
        /// The first request is being decided; what came behind it waits.
        case opening([Received])
        case open(any OpenSession)
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
        let volume = phase.withLock { phase -> (any OpenSession)? in
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
        let volume = phase.withLock { phase -> (any OpenSession)? in
            defer { phase = .ended }
            if case .open(let volume) = phase { return volume }
            return nil
        }
        volume?.left()
    }

    private func carryOut(_ received: Received, _ volume: any OpenSession) {
        switch received.request {
        case .open, .member:
            connection.reply(received.id, .refused(Refusal(.invalid, "this connection is about a volume already")))
        default: volume.received(received.request, payload: received.payload, id: received.id)
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
                case .open, .member:
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
            threads.work { self.open(received.request, id: received.id) }
        }
    }

    /// On a worker: the signature, the list and a new volume's folder take their time.
    private func open(_ request: Request, id: RequestID) {
        switch admit(request) {
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
            begin(volume)
        }
    }

    private func admit(_ request: Request) -> Result<any OpenSession, Refusal> {
        switch request {
        case .open(let volume, let proof, let isTransfer):
            return volumes.admit(
                volume, proof: proof, handshakeHash: connection.handshakeHash, address: connection.address
            ).map {
                VolumeSession(
                    $0, connection: connection, volumes: volumes, threads: threads, isTransfer: isTransfer)
            }
        case .member(let volume, let record):
            guard let server = connection.client.flatMap({ ServerID($0.bytes) }) else { return .failure(.notMember) }
            return volumes.admit(server, of: volume, record, address: connection.address).map {
                $0.members.cameBy(server)
                return MemberSession(server, $0, connection: connection, threads: threads)
            }
        default: return .failure(Refusal(.invalid, "open a volume first"))
        }
    }

    /// Hands over what waited, in order; what comes meanwhile goes behind it.
    private func begin(_ volume: any OpenSession) {
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
