import LanfsProtocol

/// Runs the register's one-shot questions: carries their messages and keeps their time until they end.
struct RegisterQueries: Sendable {
    let volume: VolumeID
    let sender: ProposerID
    let signer: VolumeSigner
    let transport: RootRegister.Transport

    private enum Event: Sendable {
        case answered(ServerID, RegisterRequest, RegisterResponse)
        case tick
        /// The connection ended before the answer.
        case lost
    }

    /// One event source and one clock for a question.
    private struct Exchange: Sendable {
        let events: AsyncStream<Event>
        private let sink: AsyncStream<Event>.Continuation
        private let origin = ContinuousClock.now

        init() { (events, sink) = AsyncStream.makeStream(of: Event.self) }

        var now: Duration { ContinuousClock.now - origin }

        func send(_ request: RegisterRequest, to server: ServerID, by transport: RootRegister.Transport) {
            transport(server, request) { [sink] answer in
                sink.yield(answer.response.map { .answered(server, request, $0) } ?? .lost)
            }
        }

        func wake(at time: Duration) {
            Task { [sink, origin] in
                try? await Task.sleep(until: origin + time, clock: .continuous)
                sink.yield(.tick)
            }
        }
    }

    /// Any record that `server` has of the volume, signed; `nil` when it has none.
    func anyRecord(of server: ServerID) async throws(VolumeError) -> RootRecord? {
        let request = RegisterRequest(epoch: 1, sender: sender, body: .read(known: nil))
        let exchange = Exchange()
        exchange.send(request, to: server, by: transport)
        for await event in exchange.events {
            guard case .answered(_, _, let response) = event else { throw .noServer }
            switch response.verdict {
            case .accepted(_, let record?), .refused(.wrongEpoch(let record)), .refused(.occupied(let record)):
                guard record.isSigned(for: volume, signer) else { throw .damaged("the root record of this server") }
                return record
            case .refused(.uninitialized): return nil
            case .refused(.amnesiac): throw .keeperLost(server)
            default: throw .damaged("the answer of the keeper")
            }
        }
        throw .closed
    }

    /// P4: the newest chosen root; `nil` when a commit was left half done, which acquiring the lease completes.
    func chosenRecord(near record: RootRecord) async throws(VolumeError) -> RootRecord? {
        var read = FastRead(
            volume: volume, epoch: record.epoch, keepers: record.config.keepers, sender: sender, verifier: signer)
        let exchange = Exchange()
        var effects = read.start(now: exchange.now)
        var events = exchange.events.makeAsyncIterator()
        while true {
            for effect in effects {
                switch effect {
                case .send(let server, let request): exchange.send(request, to: server, by: transport)
                case .wake(let time): exchange.wake(at: time)
                case .chosen(let record): return record
                case .stuck: return nil
                case .moved(_, let epoch): throw .damaged("the volume's epoch, which moved on to \(epoch),")
                }
            }
            guard let event = await events.next() else { throw .closed }
            switch event {
            case .answered(let server, _, let response):
                effects = read.answered(server, response, now: exchange.now)
            case .tick: effects = read.tick(now: exchange.now)
            case .lost: effects = []  // the clock asks again
            }
        }
    }

    /// F5: makes the volume's first record known to its keepers.
    func create(_ record: RootRecord) async throws(VolumeError) -> RootRecord {
        var creation = VolumeCreation(creating: record, sender: sender, verifier: signer)
        let exchange = Exchange()
        var effects = creation.start(now: exchange.now)
        var events = exchange.events.makeAsyncIterator()
        while true {
            for effect in effects {
                switch effect {
                case .send(let server, let request): exchange.send(request, to: server, by: transport)
                case .wake(let time): exchange.wake(at: time)
                case .created(let record): return record
                case .exists, .conflict: throw .alreadyExists(volume)
                case .refused(let server, .amnesiac): throw .keeperLost(server)
                case .refused(_, let refusal): throw .damaged("the first record, which the server refused (\(refusal)),")
                }
            }
            guard let event = await events.next() else { throw .closed }
            switch event {
            case .answered(let server, let request, let response):
                effects = creation.answered(server, request, response, now: exchange.now)
            case .tick: effects = creation.tick(now: exchange.now)
            case .lost: effects = []  // the clock asks again
            }
        }
    }
}
