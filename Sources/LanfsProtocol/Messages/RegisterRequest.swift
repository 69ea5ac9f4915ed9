/// The latest chosen record a client knows of, and which keepers acknowledged it: a keeper named here that has less
/// was rolled back (A6).
public struct ChosenEvidence: Equatable, Sendable {
    public var epoch: UInt64
    public var ballot: Ballot
    public var acknowledgedBy: [ServerID]

    public init(epoch: UInt64, ballot: Ballot, acknowledgedBy: [ServerID]) {
        self.epoch = epoch
        self.ballot = ballot
        self.acknowledgedBy = acknowledgedBy
    }
}

/// One question of the root register (protocol.md section 2), client to keeper; the connection says which volume.
public struct RegisterRequest: Equatable, Sendable {
    /// A record is large: indirect, so that the others are small.
    public enum Body: Equatable, Sendable {
        /// P4: the accepted record, in whatever epoch; without its bytes when its ballot is `known`. Never refused
        /// but by a keeper that has nothing to say.
        case read(known: Ballot?)
        /// L4: `read`, by a session that counts on close-to-open: the first at each keeper registers it there. `ticket`: of the
        /// registration that the session has heard of; an answer counts only while that lasts.
        case join(known: Ballot?, ticket: UInt64?)
        /// L4: the session does not count on close-to-open any more, until it joins again.
        case leave
        /// L4: the holder of this ballot's lease has committed all that it acknowledged, and heard of these.
        case admit(Ballot, [JoinTicket])
        /// Like `read`, but answered only when there is news: a learned record newer than `known` that is not the sender's, or
        /// another client that waits for the sender's lease, unless `knowsWanted`; and with yes when the lease was given
        /// back and the sender is next (L7). A hint, never a proof.
        case watch(known: Ballot, knowsWanted: Bool)
        /// How long these sessions have been silent here; answered by `.silence`. A hint: what it is used for is fenced by
        /// the lease.
        case sessions([ProposerID])
        /// A1.
        case prepare(Ballot)
        /// A2; the record carries its ballot. `next` is the ballot of the same proposer's next Accept (P6).
        indirect case accept(RootRecord, next: Ballot?)
        /// P3: what was accepted under this ballot is chosen.
        case learn(Ballot)
        /// L1: keep the lease that goes with the promise of this ballot.
        case renew(Ballot)
        /// L2: the lease, and with it every promise up to this ballot, is given back.
        case release(Ballot)
        /// F5: the first record of a new volume; or M2: the sealing record of the epoch before, with the ballot that
        /// holds the lease in the new one. For an empty slot only.
        indirect case initialize(RootRecord, next: Ballot?)
        /// M3: as `initialize` with a seal that no quorum chose (``ForcedRecovery``), on top of what this keeper has accepted;
        /// refused by `occupied` when that is something else.
        indirect case recover(RootRecord, next: Ballot?)
    }

    public var epoch: UInt64
    /// Who asks: the same random number as in its ballots.
    public var sender: ProposerID
    public var chosen: ChosenEvidence?
    public var body: Body

    public init(epoch: UInt64, sender: ProposerID, chosen: ChosenEvidence? = nil, body: Body) {
        self.epoch = epoch
        self.sender = sender
        self.chosen = chosen
        self.body = body
    }
}

extension RegisterRequest {
    private enum Code: UInt8 {
        case read = 1, watch, prepare, accept, learn, renew, release, initialize, recover, join, admit, sessions, leave
    }

    /// Sessions that one question can name.
    public static let sessionLimit = 256

    public func encode(into writer: inout ByteWriter) {
        writer.append(epoch)
        writer.append(sender)
        writer.append(optional: chosen) { writer, chosen in
            writer.append(chosen.epoch)
            chosen.ballot.encode(into: &writer)
            writer.append(list: chosen.acknowledgedBy) { $0.append($1) }
        }
        switch body {
        case .read(let known):
            writer.append(Code.read.rawValue)
            writer.append(optional: known) { $1.encode(into: &$0) }
        case .join(let known, let ticket):
            writer.append(Code.join.rawValue)
            writer.append(optional: known) { $1.encode(into: &$0) }
            writer.append(optional: ticket) { $0.append($1) }
        case .leave: writer.append(Code.leave.rawValue)
        case .admit(let ballot, let tickets):
            writer.append(Code.admit.rawValue)
            ballot.encode(into: &writer)
            writer.append(list: tickets) { $1.encode(into: &$0) }
        case .watch(let known, let knowsWanted):
            writer.append(Code.watch.rawValue)
            known.encode(into: &writer)
            writer.append(knowsWanted)
        case .sessions(let sessions):
            writer.append(Code.sessions.rawValue)
            writer.append(list: sessions) { $0.append($1) }
        case .prepare(let ballot):
            writer.append(Code.prepare.rawValue)
            ballot.encode(into: &writer)
        case .accept(let record, let next):
            writer.append(Code.accept.rawValue)
            record.encode(into: &writer)
            writer.append(optional: next) { $1.encode(into: &$0) }
        case .learn(let ballot):
            writer.append(Code.learn.rawValue)
            ballot.encode(into: &writer)
        case .renew(let ballot):
            writer.append(Code.renew.rawValue)
            ballot.encode(into: &writer)
        case .release(let ballot):
            writer.append(Code.release.rawValue)
            ballot.encode(into: &writer)
        case .initialize(let record, let next):
            writer.append(Code.initialize.rawValue)
            record.encode(into: &writer)
            writer.append(optional: next) { $1.encode(into: &$0) }
        case .recover(let record, let next):
            writer.append(Code.recover.rawValue)
            record.encode(into: &writer)
            writer.append(optional: next) { $1.encode(into: &$0) }
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        epoch = try reader.integer()
        sender = try reader.integer()
        chosen = try reader.optional { (reader) throws(DecodingError) in
            ChosenEvidence(
                epoch: try reader.integer(), ballot: try Ballot(from: &reader),
                acknowledgedBy: try reader.list(minimum: ServerID.size, limit: Keepers.limit) {
                    (reader) throws(DecodingError) in try reader.id()
                })
        }
        guard let code = Code(rawValue: try reader.integer()) else {
            throw .invalid(what: "the kind of register request")
        }
        switch code {
        case .read: body = .read(known: try Self.ballot(&reader))
        case .join:
            body = .join(
                known: try Self.ballot(&reader),
                ticket: try reader.optional { (reader) throws(DecodingError) in try reader.integer() })
        case .leave: body = .leave
        case .admit: body = .admit(try Ballot(from: &reader), try JoinTicket.list(from: &reader))
        case .watch: body = .watch(known: try Ballot(from: &reader), knowsWanted: try reader.bool())
        case .sessions:
            body = .sessions(
                try reader.list(minimum: 16, limit: Self.sessionLimit) { (reader) throws(DecodingError) in try reader.integer() })
        case .prepare: body = .prepare(try Ballot(from: &reader))
        case .accept: body = .accept(try RootRecord(from: &reader), next: try Self.ballot(&reader))
        case .learn: body = .learn(try Ballot(from: &reader))
        case .renew: body = .renew(try Ballot(from: &reader))
        case .release: body = .release(try Ballot(from: &reader))
        case .initialize: body = .initialize(try RootRecord(from: &reader), next: try Self.ballot(&reader))
        case .recover: body = .recover(try RootRecord(from: &reader), next: try Self.ballot(&reader))
        }
    }

    private static func ballot(_ reader: inout ByteReader) throws(DecodingError) -> Ballot? {
        try reader.optional { (reader) throws(DecodingError) in try Ballot(from: &reader) }
    }
}
