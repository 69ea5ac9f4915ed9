import LanfsProtocol

extension Target {
    /// A keeper under requests that somebody with the volume's key made up: pieces, each a time step and a request.
    static let keeper = Target(
        name: "keeper",
        seeds: {
            let bodies: [RegisterRequest.Body] = [
                .initialize(sampleRecord(), next: sampleBallot), .recover(sampleRecord(), next: nil), .prepare(Ballot(counter: 9, proposer: 7)),
                .accept(sampleRecord(), next: nil), .learn(sampleBallot),
                .watch(known: sampleBallot, knowsWanted: false),
                .renew(sampleBallot), .release(sampleBallot), .read(known: nil),
                .join(known: nil, ticket: 5), .admit(sampleBallot, [JoinTicket(session: 7, ticket: 5)]),
            ]
            let requests = bodies.map { body in
                encoding { RegisterRequest(epoch: 1, sender: 7, body: body).encode(into: &$0) }
            }
            return [Array(requests.map { [1] + piece($0) }.joined())] + requests.map { [0] + piece($0) }
        },
        run: { bytes in
            var input = Input(bytes)
            var now = Duration.zero
            var keeper = Keeper(
                server: sampleID(1), volume: sampleVolume, recovery: .empty, verifier: AgreeableVerifier(), now: now)
            while !input.isEmpty {
                now += .milliseconds(Int64(input.byte()) * 100)
                var reader = ByteReader(input.piece())
                guard let request = try? RegisterRequest(from: &reader) else { continue }
                let before = keeper.state
                let step = keeper.step(request, now: now)
                require(keeper.state.epoch >= before.epoch, "an epoch went back")
                if keeper.state.epoch == before.epoch {
                    require(keeper.state.promised >= before.promised, "a promise went back")
                }
                // What was learned is kept only along with something else.
                var unkept = before
                unkept.learned = keeper.state.learned
                require(step.persist == (keeper.state == unkept ? nil : keeper.state), "not all changes are kept")
                if let state = step.persist {
                    require((try? KeeperState(encoded: state.encoded)) == state, "a state that cannot be read again")
                }
                if let response = step.response { _ = encoding { response.encode(into: &$0) } }
            }
        })
}
