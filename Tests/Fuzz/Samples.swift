import LanfsProtocol

/// Identifiers that a person recognizes in a dump.
func sampleID<Tag>(_ number: UInt8) -> ID<Tag> {
    let word = UInt64(number) << 56
    return ID(word0: word, word1: word, word2: word, word3: word)
}

let sampleBallot = Ballot(counter: 3, proposer: 7)

func sampleFrameRef(block: UInt8 = 1) -> FrameRef {
    FrameRef(block: sampleID(block), key: sampleID(2), index: 3, offset: 4, length: 5)
}

func sampleRecord(servers: UInt8 = 3) -> RootRecord {
    let members = (1...servers).map { Member(server: sampleID($0), weight: 10) }
    let config = VolumeConfig(
        version: 1, servers: members, keepers: Keepers(members.map(\.server)), replicas: 2)
    let contents = RootContents(
        tree: sampleFrameRef(), treeSequence: 5, newestChange: sampleFrameRef(block: 8), changesSinceCheckpoint: 2,
        transaction: TransactionID(incarnation: 9, number: 4))
    var record = RootRecord(
        creating: sampleVolume, config: config, contents: contents.encoded, ballot: sampleBallot)
    record.signature = [UInt8](repeating: 0, count: 64)
    return record
}

let sampleVolume: VolumeID = sampleID(1)

/// What members tell each other.
let sampleMessages: [MemberMessage] = {
    var hears = MemberSet()
    hears.insert(2)
    return [
        .heartbeat(Heartbeat(incarnation: 5, number: 6, configVersion: 1, hears: hears)),
        .holdings(HoldingsQuery(page: 1, blocks: [HoldingsQuery.Entry(block: sampleID(1), gcEpoch: 2)])),
        .held(HoldingsAnswer(page: 1, held: [true, false])),
        .copy(CopyOrder(block: sampleID(1), length: 9, gcEpoch: 3)),
        .copied(CopyAnswer(block: sampleID(1), outcome: .swept)),
        .challenge(PossessionChallenge(block: sampleID(1), nonce: 4, configVersion: 1, gcEpoch: 2)),
        .possession(PossessionAnswer(block: sampleID(1), nonce: 4, digest: sampleID(7))), .wanted(sampleID(1)),
        .pass(CopyOrder(block: sampleID(1), length: 9, gcEpoch: 3), to: [sampleID(2), sampleID(3)]),
        .passed(sampleID(1), failed: [sampleID(3)]),
    ]
}()

/// Believes every signature and tells records apart by length: what lies behind both checks is reached.
struct AgreeableVerifier: RecordVerifier {
    func hash(_ bytes: [UInt8]) -> RecordHash { sampleID(UInt8(truncatingIfNeeded: bytes.count)) }
    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool { true }
}
