import LanfsCrypto
import LanfsProtocol

@testable import LanfsServer

struct KeySigner: RecordSigner {
    let key: SigningKey

    func hash(_ bytes: [UInt8]) -> RecordHash { RegisterVerifier().hash(bytes) }
    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool {
        RegisterVerifier().isValid(signature: signature, of: message, by: volume)
    }
    func sign(_ message: [UInt8]) -> [UInt8] { key.sign(message) }
}

/// The real proposer over a real connection, with one keeper: carries its messages and keeps its time.
final class RegisterDriver {
    let client: TestClient
    var proposer: Proposer<KeySigner>
    /// Small blocks that go with the next Accept, in one request.
    var carried: [TestBlock] = []
    private let origin = ContinuousClock.now
    private var wake: Duration?

    init(_ client: TestClient, keeper: ServerID) {
        self.client = client
        proposer = Proposer(
            id: .random(in: 1...UInt128.max), volume: client.key.id, epoch: 1, keepers: Keepers([keeper]),
            signer: KeySigner(key: client.key.signingKey))
    }

    private var now: Duration { origin.duration(to: .now) }

    /// The first record of the volume (F5).
    static func create(_ client: TestClient, keeper: ServerID) async throws -> Response {
        let config = VolumeConfig(
            version: 1, servers: [Member(server: keeper, weight: 1)], keepers: Keepers([keeper]), replicas: 1)
        let record = RootRecord(
            creating: client.key.id, config: config, contents: [1, 2, 3], ballot: Ballot(counter: 1, proposer: 1)
        ).signed(ballot: Ballot(counter: 1, proposer: 1), KeySigner(key: client.key.signingKey))
        return try await client.ask(
            .register(RegisterRequest(epoch: 1, sender: 1, body: .initialize(record, next: nil))))
    }

    func acquire() async throws -> RootRecord {
        try await run(.acquire) { if case .acquired(let record) = $0 { record } else { nil } }
    }

    func commit(_ contents: [UInt8]) async throws -> RootRecord {
        try await run(.commit(RootChange(contents: contents, gcEpoch: 0))) {
            if case .committed(let record) = $0 { record } else { nil }
        }
    }

    func release() async throws {
        for case .send(_, let request) in proposer.step(.release, now: now, random: 0) {
            _ = try await client.ask(.register(request))
        }
    }

    private func ask(_ request: RegisterRequest) async throws -> Response {
        guard case .accept = request.body, !carried.isEmpty else { return try await client.ask(.register(request)) }
        defer { carried = [] }
        return try await client.commit([], carrying: carried, request)
    }

    private func run(_ event: ProposerEvent, until wanted: (ProposerEffect) -> RootRecord?) async throws -> RootRecord {
        var effects = proposer.step(event, now: now, random: .random(in: 0...UInt64.max))
        while true {
            var requests: [RegisterRequest] = []
            for effect in effects {
                if let record = wanted(effect) { return record }
                switch effect {
                case .send(_, let request): requests.append(request)
                case .wake(let time): wake = time
                default: break
                }
            }
            effects = []
            for request in requests {
                let sentAt = now
                let answer = try await ask(request)
                guard case .register(let response) = answer else { throw Unexpected() }
                effects += proposer.step(
                    .answered(proposer.keepers.members[0], request, sentAt: sentAt, response), now: now,
                    random: .random(in: 0...UInt64.max))
            }
            if requests.isEmpty {
                if let wake, wake > now { try await Task.sleep(for: wake - now) }
                effects = proposer.step(.tick, now: now, random: .random(in: 0...UInt64.max))
            }
        }
    }
}
