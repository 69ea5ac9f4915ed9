import TestSupport
@testable import LanfsProtocol

/// Random but valid values of every kind, for the tests of codecs.
extension SplitMix64 {
    mutating func ballot() -> Ballot { Ballot(counter: next() >> 20, proposer: wide()) }

    mutating func maybe<Value>(_ make: (inout SplitMix64) -> Value) -> Value? {
        chance(0.5) ? make(&self) : nil
    }

    mutating func list<Value>(upTo limit: Int, _ make: (inout SplitMix64) -> Value) -> [Value] {
        (0..<below(limit + 1)).map { _ in make(&self) }
    }

    mutating func config(servers count: Int) -> VolumeConfig {
        let members = (0..<count).map { _ in
            Member(server: id(), state: pick([.active, .draining, .gone, .lost]), weight: UInt16(truncatingIfNeeded: next()))
        }
        let keepers = Keepers(members.prefix(1 + below(min(count, 5))).map(\.server))
        return VolumeConfig(version: next(), servers: members, keepers: keepers, replicas: UInt8(1 + below(5)))
    }

    mutating func record(servers count: Int? = nil) -> RootRecord {
        let config = config(servers: count ?? 1 + below(8))
        var record = RootRecord(creating: id(), config: config, contents: bytes(below(300)), ballot: ballot())
        record.epoch = next()
        record.sequence = next()
        record.previous = id()
        record.gcEpoch = next()
        if chance(0.3) { record.sealedNext = Keepers([pick(config.servers).server]) }
        record.signature = bytes(64)
        return record
    }

    mutating func frameRef() -> FrameRef {
        FrameRef(
            block: id(), key: id(), index: UInt32(truncatingIfNeeded: next()),
            offset: UInt32(truncatingIfNeeded: next()), length: UInt32(truncatingIfNeeded: next()))
    }

    mutating func contents() -> RootContents {
        var contents = RootContents(
            tree: maybe { $0.frameRef() }, treeSequence: next(), newestChange: maybe { $0.frameRef() },
            changesSinceCheckpoint: UInt32(below(64)),
            transaction: TransactionID(incarnation: wide(), number: next()))
        contents.recoveries = recoveries()
        contents.carried = (0..<below(RootContents.carriedLimit + 1)).map { _ in id() }
        return contents
    }

    mutating func recoveries() -> RecoveryHistory {
        var recoveries = RecoveryHistory()
        for _ in 0..<below(4) { recoveries.add(RecoveryPoint(id: next(), of: record(), SimulatedAuthority())) }
        return recoveries
    }

    mutating func keeperState() -> KeeperState {
        var state = KeeperState()
        state.revision = next()
        state.isAmnesiac = chance(0.2)
        state.promised = ballot()
        state.released = ballot()
        state.learned = ballot()
        if chance(0.8) {
            state.accepted = record()
            state.epoch = 1 + next() >> 8
        }
        return state
    }

    mutating func registerRequest() -> RegisterRequest {
        let bodies: [RegisterRequest.Body] = [
            .read(known: maybe { $0.ballot() }), .watch(known: ballot(), knowsWanted: chance(0.5)), .prepare(ballot()),
            .accept(record(), next: maybe { $0.ballot() }), .learn(ballot()), .renew(ballot()), .release(ballot()),
            .join(known: maybe { $0.ballot() }, ticket: maybe { $0.next() }), .admit(ballot(), list(upTo: 9) { $0.joinTicket() }),
            .sessions(list(upTo: 9) { $0.wide() }), .leave,
            .initialize(record(), next: maybe { $0.ballot() }), .recover(record(), next: maybe { $0.ballot() }),
        ]
        let chosen = maybe {
            ChosenEvidence(epoch: $0.next(), ballot: $0.ballot(), acknowledgedBy: $0.list(upTo: 5) { $0.id() })
        }
        return RegisterRequest(epoch: next(), sender: wide(), chosen: chosen, body: pick(bodies))
    }

    mutating func registerResponse() -> RegisterResponse {
        let record = record()
        let verdicts: [RegisterResponse.Verdict] = [
            .yes, .accepted(record.ballot, record), .accepted(ballot(), nil), .refused(.outbid),
            .silence(list(upTo: 9) { $0.maybe { UInt32(truncatingIfNeeded: $0.next()) } }),
            .refused(.held(milliseconds: 77)), .refused(.wrongEpoch(record)), .refused(.uninitialized),
            .refused(.occupied(record)), .refused(.amnesiac), .refused(.invalid(.badSignature)),
        ]
        let verdict = pick(verdicts)
        var isRefusal = false
        if case .refused = verdict { isRefusal = true }
        return RegisterResponse(
            epoch: next(), highest: ballot(), learned: ballot(), wanted: chance(0.5),
            leased: !isRefusal && chance(0.5), ticket: maybe { $0.next() }, mayRead: !isRefusal && chance(0.5), isAlone: !isRefusal && chance(0.5),
            joining: list(upTo: 4) { $0.joinTicket() }, verdict: verdict)
    }

    mutating func joinTicket() -> JoinTicket { JoinTicket(session: wide(), ticket: next()) }

    mutating func request() -> Request {
        let requests: [Request] = [
            .open(volume: id(), proof: bytes(64), isTransfer: chance(0.5)),
            .put(block: id(), length: UInt32(below(1 << 20)), gcEpoch: next()),
            .get(block: id(), offset: 5, length: 7), .flush(expecting: list(upTo: 9) { $0.id() }), .touch(blocks: list(upTo: 9) { $0.id() }, gcEpoch: next()),
            .free(blocks: list(upTo: 9) { $0.id() }, gcEpoch: next()),
            .sweep(blocks: list(upTo: 9) { $0.id() }, gcEpoch: next(), cutoff: next()), .list(after: maybe { $0.id() }),
            .register(registerRequest()), .commit(
                blocks: list(upTo: 9) { $0.id() },
                carrying: list(upTo: 9) { Request.Carried(block: $0.id(), length: UInt32($0.next() % 7000), gcEpoch: $0.next()) },
                registerRequest()), .status,
            .introduce(record: record(), endpoints: list(upTo: 3) { $0.endpoints() }),
            .member(volume: id(), record: record()), .ask(memberMessage()),
            .pass(block: id(), length: UInt32(below(1 << 20)), gcEpoch: next(), to: list(upTo: 4) { $0.id() }),
        ]
        return pick(requests)
    }

    mutating func response() -> Response {
        let responses: [Response] = [
            .done, .block(length: UInt32(below(1 << 20))), .missing(list(upTo: 9) { $0.id() }),
            .listed(list(upTo: 9) { StoredBlock(block: $0.id(), length: 9, gcEpoch: $0.next()) }),
            .register(registerResponse()),
            .status(
                ServerStatus(
                    capacity: next(), free: next(), usedByVolume: next(), blocks: next(),
                    membership: maybe { $0.membership() })),
            .refused(Refusal(.full, "the disk is full")), .told(memberMessage()), .record(record()),
            .passed(failed: list(upTo: 4) { $0.id() }),
        ]
        return pick(responses)
    }

    mutating func endpoints() -> MemberEndpoints {
        MemberEndpoints(server: id(), addresses: list(upTo: 9) { "192.168.1.\($0.below(256)):40000" })
    }

    mutating func membership() -> MembershipStatus {
        MembershipStatus(
            epoch: next(), configVersion: next(),
            members: list(upTo: 9) {
                MembershipStatus.Seen(server: $0.id(), health: $0.pick([.alive, .suspect, .lost]))
            }, copiesWaiting: 7, copiesUnderWay: 2, repairRate: next(), isDraining: chance(0.5))
    }

    mutating func memberMessage() -> MemberMessage {
        var hears = MemberSet()
        for _ in 0..<below(20) { hears.insert(below(256)) }
        let messages: [MemberMessage] = [
            .heartbeat(Heartbeat(incarnation: wide(), number: next(), configVersion: next(), hears: hears)),
            .holdings(
                HoldingsQuery(
                    page: next(), blocks: list(upTo: 9) { HoldingsQuery.Entry(block: $0.id(), gcEpoch: $0.next()) })),
            .held(HoldingsAnswer(page: next(), held: list(upTo: 30) { $0.chance(0.5) })),
            .copy(CopyOrder(block: id(), length: UInt32(below(Limits.blockSize)), gcEpoch: next())),
            .copied(CopyAnswer(block: id(), outcome: pick([.stored, .present, .swept, .failed]))),
            .challenge(
                PossessionChallenge(block: id(), nonce: wide(), configVersion: next(), gcEpoch: next())),
            .possession(PossessionAnswer(block: id(), nonce: wide(), digest: maybe { $0.id() })),
            .wanted(id()), .passed(id(), failed: list(upTo: 4) { $0.id() }),
            .pass(
                CopyOrder(block: id(), length: UInt32(below(Limits.blockSize)), gcEpoch: next()),
                to: list(upTo: 4) { $0.id() }),
        ]
        return pick(messages)
    }

    mutating func discoveryAnswer() -> DiscoveryAnswer {
        DiscoveryAnswer(
            nonce: wide(), server: id(), port: UInt16(truncatingIfNeeded: next()), capacity: next(), free: next(),
            holdsVolume: chance(0.5), name: String(repeating: pick(["x", "ü", "日", "👍🏽"]), count: below(80)))
    }
}
