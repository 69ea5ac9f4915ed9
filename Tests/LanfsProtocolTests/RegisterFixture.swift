import TestSupport
@testable import LanfsProtocol

/// A volume with `count` keepers, its first record, and a few words for tests that script single steps.
struct RegisterFixture {
    let authority = SimulatedAuthority()
    let volume: VolumeID
    let servers: [ServerID]
    let genesis: RootRecord
    static let alice: ProposerID = 0xA11CE
    static let bob: ProposerID = 0xB0B

    init(keepers count: Int = 1) {
        var random = SplitMix64(seed: 5)
        volume = random.id()
        servers = (0..<count).map { _ in random.id() }
        let config = VolumeConfig(
            version: 1, servers: servers.map { Member(server: $0, weight: 1) }, keepers: Keepers(servers), replicas: 1)
        let ballot = Ballot(counter: 1, proposer: 1)
        genesis = RootRecord(creating: volume, config: config, contents: [0], ballot: ballot)
            .signed(ballot: ballot, authority)
    }

    func emptyKeeper(_ index: Int = 0, now: Duration = .zero) -> Keeper<SimulatedAuthority> {
        Keeper(server: servers[index], volume: volume, recovery: .empty, verifier: authority, now: now)
    }

    func keeper(_ index: Int = 0, now: Duration = .zero) -> Keeper<SimulatedAuthority> {
        var keeper = emptyKeeper(index, now: now)
        _ = keeper.step(request(.initialize(genesis, next: nil)), now: now)
        return keeper
    }

    func restarted(_ keeper: Keeper<SimulatedAuthority>, now: Duration) -> Keeper<SimulatedAuthority> {
        Keeper(
            server: keeper.server, volume: volume, recovery: .state(keeper.state), verifier: authority, now: now)
    }

    func request(
        _ body: RegisterRequest.Body, epoch: UInt64 = 1, from sender: ProposerID = alice,
        chosen: ChosenEvidence? = nil
    ) -> RegisterRequest {
        RegisterRequest(epoch: epoch, sender: sender, chosen: chosen, body: body)
    }

    func child(of parent: RootRecord, _ ballot: Ballot, contents: [UInt8] = [1], epoch: UInt64 = 1) -> RootRecord {
        parent.child(RootChange(contents: contents, gcEpoch: 0), epoch: epoch, ballot: ballot, signer: authority)
    }

    func proposer(_ id: ProposerID = alice) -> Proposer<SimulatedAuthority> {
        Proposer(id: id, volume: volume, epoch: 1, keepers: Keepers(servers), signer: authority)
    }
}

func ballot(_ counter: UInt64, _ proposer: ProposerID = RegisterFixture.alice) -> Ballot {
    Ballot(counter: counter, proposer: proposer)
}

extension KeeperStep {
    var isYes: Bool {
        switch response?.verdict {
        case .yes, .accepted: true
        case .refused, .silence, nil: false
        }
    }

    var refusal: RegisterRefusal? {
        if case .refused(let refusal) = response?.verdict { refusal } else { nil }
    }
}
