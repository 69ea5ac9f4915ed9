import LanfsProtocol

extension Target {
    /// What a client sends, and what a keeper is asked.
    static let request = Target(
        name: "request",
        seeds: {
            let chosen = ChosenEvidence(epoch: 1, ballot: sampleBallot, acknowledgedBy: [sampleID(1), sampleID(2)])
            let bodies: [RegisterRequest.Body] = [
                .read(known: sampleBallot), .watch(known: sampleBallot, knowsWanted: true), .prepare(sampleBallot),
                .accept(sampleRecord(), next: sampleBallot), .learn(sampleBallot), .renew(sampleBallot),
                .release(sampleBallot), .initialize(sampleRecord(), next: nil), .recover(sampleRecord(), next: nil),
                .join(known: sampleBallot, ticket: 5), .admit(sampleBallot, [JoinTicket(session: 7, ticket: 5)]),
            ]
            let requests: [Request] =
                [
                    .open(volume: sampleVolume, proof: [UInt8](repeating: 1, count: 64)),
                    .put(block: sampleID(1), length: 100, gcEpoch: 2), .get(block: sampleID(1), offset: 5, length: 7),
                    .flush(expecting: [sampleID(4)]), .touch(blocks: [sampleID(1), sampleID(2)], gcEpoch: 3),
                    .free(blocks: [sampleID(1)], gcEpoch: 3), .sweep(blocks: [sampleID(1)], gcEpoch: 3, cutoff: 2),
                    .list(after: nil), .list(after: sampleID(1)), .status,
                    .commit(
                        blocks: [sampleID(1)], carrying: [Request.Carried(block: sampleID(2), length: 9, gcEpoch: 3)],
                        RegisterRequest(epoch: 1, sender: 7, chosen: chosen, body: bodies[3])),
                    .introduce(
                        record: sampleRecord(),
                        endpoints: [MemberEndpoints(server: sampleID(1), addresses: ["192.168.1.5:40000", "host:1"])]),
                    .member(volume: sampleVolume, record: sampleRecord()),
                    .pass(block: sampleID(1), length: 9, gcEpoch: 3, to: [sampleID(2)]),
                ] + sampleMessages.map { .ask($0) } + bodies.map { .register(RegisterRequest(epoch: 1, sender: 7, chosen: chosen, body: $0)) }
            return requests.map { request in encoding { request.encode(into: &$0) } }
        },
        run: { bytes in
            roundTrip(bytes, { try Request(from: &$0) }, { $0.encode(into: &$1) })
        })

    /// What a server answers.
    static let response = Target(
        name: "response",
        seeds: {
            let verdicts: [RegisterResponse.Verdict] = [
                .yes, .accepted(sampleBallot, sampleRecord()), .accepted(sampleBallot, nil), .refused(.outbid),
                .refused(.held(milliseconds: 77)), .refused(.wrongEpoch(sampleRecord())), .refused(.uninitialized),
                .refused(.occupied(sampleRecord())), .refused(.amnesiac), .refused(.invalid(.badSignature)),
            ]
            let responses: [Response] =
                [
                    .done, .block(length: 9), .missing([sampleID(1), sampleID(2)]),
                    .listed([StoredBlock(block: sampleID(1), length: 2, gcEpoch: 3)]),
                    .status(ServerStatus(capacity: 4, free: 3, usedByVolume: 2, blocks: 1)),
                    .status(
                        ServerStatus(
                            capacity: 4, free: 3, usedByVolume: 2, blocks: 1,
                            membership: MembershipStatus(
                                epoch: 1, configVersion: 2, members: [.init(server: sampleID(1), health: .lost)],
                                copiesWaiting: 3, copiesUnderWay: 1, repairRate: 9))),
                    .refused(Refusal(.full, "the disk is full")), .record(sampleRecord()),
                    .passed(failed: [sampleID(2)]),
                ] + sampleMessages.map { .told($0) }
                + verdicts.map {
                    .register(
                        RegisterResponse(
                            epoch: 1, highest: sampleBallot, learned: sampleBallot, wanted: true, leased: false,
                            ticket: 5, joining: [JoinTicket(session: 7, ticket: 5)], verdict: $0))
                }
            return responses.map { response in encoding { response.encode(into: &$0) } }
        },
        run: { bytes in
            roundTrip(bytes, { try Response(from: &$0) }, { $0.encode(into: &$1) })
        })

    /// A root record, its contents, and the states that are kept of it. The first byte says which.
    static let record = Target(
        name: "record",
        seeds: {
            var state = KeeperState()
            state.promised = sampleBallot
            state.accepted = sampleRecord()
            state.epoch = 1
            let record = sampleRecord()
            return [
                [0] + record.encoded, [1] + record.contents, [2] + state.encoded,
                [3] + RollbackMemory(record, RecoveryHistory(), AgreeableVerifier()).encoded,
            ]
        },
        run: { bytes in
            var input = Input(bytes)
            let kind = input.byte()
            let rest = input.all()
            switch kind {
            case 0:
                guard let record = try? RootRecord(encoded: rest) else { return }
                require((try? RootRecord(encoded: record.encoded)) == record, "a record changed on the way")
                _ = record.isSigned(for: sampleVolume, AgreeableVerifier())
                _ = record.hash(AgreeableVerifier())
            case 1:
                guard let contents = try? RootContents(encoded: rest) else { return }
                require((try? RootContents(encoded: contents.encoded)) == contents, "contents changed on the way")
            case 2:
                guard let state = try? KeeperState(encoded: rest) else { return }
                require((try? KeeperState(encoded: state.encoded)) == state, "a keeper's state changed on the way")
            default:
                guard let memory = try? RollbackMemory(encoded: rest) else { return }
                require((try? RollbackMemory(encoded: memory.encoded)) == memory, "a memory changed on the way")
            }
        })
}

func encoding(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter()
    write(&writer)
    return writer.bytes
}

/// What is accepted can be sent on, and means the same to the next.
private func roundTrip<Message: Equatable>(
    _ bytes: [UInt8], _ decode: (inout ByteReader) throws -> Message, _ encode: (Message, inout ByteWriter) -> Void
) {
    func read(_ bytes: [UInt8]) -> Message? {
        var reader = ByteReader(bytes)
        guard let message = try? decode(&reader), (try? reader.finish()) != nil else { return nil }
        return message
    }
    guard let message = read(bytes) else { return }
    require(read(encoding { encode(message, &$0) }) == message, "a message changed on the way: \(message)")
}
