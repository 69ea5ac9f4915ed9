/// Why a keeper says no.
public enum RegisterRefusal: Equatable, Sendable {
    /// A1, A2: a higher ballot was promised or accepted; `RegisterResponse.highest` says which.
    case outbid
    /// L2: another client holds the write lease, for this long at most by this keeper's clock.
    case held(milliseconds: UInt32)
    /// A4: the epoch is over, or not known here; this is the newest record this keeper has.
    indirect case wrongEpoch(RootRecord)
    /// Nothing was ever initialized here: no proof that the volume does not exist (F5).
    case uninitialized
    /// `initialize`: the slot holds this.
    indirect case occupied(RootRecord)
    /// A5, A6: the keeper lost what it promised and votes no more.
    case amnesiac
    /// The record or the request breaks a rule.
    case invalid(Violation)

    public enum Violation: UInt8, Sendable {
        case wrongVolume = 1
        case badSignature
        /// A2: `next` must be a higher ballot of the same proposer; and one ballot proposes one value.
        case badBallot
        /// M2: the record does not start this epoch, or does not name this keeper.
        case badEpoch
    }
}

/// What a keeper answers: its word on the question, and what it knows besides.
public struct RegisterResponse: Equatable, Sendable {
    public enum Verdict: Equatable, Sendable {
        case yes
        /// The accepted record, to `read`, `watch` and `prepare`; without the bytes when the asker knows them.
        indirect case accepted(Ballot, RootRecord?)
        /// To `sessions`, one for each, in milliseconds; `nil`: not known here.
        case silence([UInt32?])
        case refused(RegisterRefusal)
    }

    /// 0: the slot is empty.
    public var epoch: UInt64
    /// A3: the highest ballot promised or accepted here.
    public var highest: Ballot
    /// The highest ballot known here to be chosen, in this epoch.
    public var learned: Ballot
    /// L2: another client waits for the lease.
    public var wanted: Bool
    /// L1: this answer counts for the sender's lease. Never true in a refusal.
    public var leased: Bool
    /// L4, to `join`: the session's registration, once it may read.
    public var ticket: UInt64?
    /// L4, to `join`: it is the one that the session named, so this answer counts. Like the next, never true in a refusal.
    public var mayRead: Bool
    /// L4: no session but the sender's is known here.
    public var isAlone: Bool
    /// L4, to the holder: who waits until it has committed. Until then its lease is not extended here.
    public var joining: [JoinTicket]
    public var verdict: Verdict

    public init(
        epoch: UInt64, highest: Ballot, learned: Ballot, wanted: Bool = false, leased: Bool = false,
        ticket: UInt64? = nil, mayRead: Bool = false, isAlone: Bool = false, joining: [JoinTicket] = [], verdict: Verdict
    ) {
        self.epoch = epoch
        self.highest = highest
        self.learned = learned
        self.wanted = wanted
        self.leased = leased
        self.ticket = ticket
        self.mayRead = mayRead
        self.isAlone = isAlone
        self.joining = joining
        self.verdict = verdict
    }
}

extension RegisterResponse {
    private enum Code: UInt8 {
        case yes = 1, accepted, outbid, held, wrongEpoch, uninitialized, occupied, amnesiac, invalid, silence
    }

    public func encode(into writer: inout ByteWriter) {
        writer.append(epoch)
        highest.encode(into: &writer)
        learned.encode(into: &writer)
        writer.append(wanted)
        writer.append(leased)
        writer.append(optional: ticket) { $0.append($1) }
        writer.append(mayRead)
        writer.append(isAlone)
        writer.append(list: joining) { $1.encode(into: &$0) }
        switch verdict {
        case .yes:
            writer.append(Code.yes.rawValue)
        case .accepted(let ballot, let record):
            writer.append(Code.accepted.rawValue)
            ballot.encode(into: &writer)
            writer.append(optional: record) { $1.encode(into: &$0) }
        case .silence(let times):
            writer.append(Code.silence.rawValue)
            writer.append(list: times) { writer, time in writer.append(optional: time) { $0.append($1) } }
        case .refused(.outbid):
            writer.append(Code.outbid.rawValue)
        case .refused(.held(let milliseconds)):
            writer.append(Code.held.rawValue)
            writer.append(milliseconds)
        case .refused(.wrongEpoch(let record)):
            writer.append(Code.wrongEpoch.rawValue)
            record.encode(into: &writer)
        case .refused(.uninitialized):
            writer.append(Code.uninitialized.rawValue)
        case .refused(.occupied(let record)):
            writer.append(Code.occupied.rawValue)
            record.encode(into: &writer)
        case .refused(.amnesiac):
            writer.append(Code.amnesiac.rawValue)
        case .refused(.invalid(let violation)):
            writer.append(Code.invalid.rawValue)
            writer.append(violation.rawValue)
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        epoch = try reader.integer()
        highest = try Ballot(from: &reader)
        learned = try Ballot(from: &reader)
        wanted = try reader.bool()
        leased = try reader.bool()
        ticket = try reader.optional { (reader) throws(DecodingError) in try reader.integer() }
        mayRead = try reader.bool()
        isAlone = try reader.bool()
        joining = try JoinTicket.list(from: &reader)
        guard let code = Code(rawValue: try reader.integer()) else {
            throw .invalid(what: "the kind of register response")
        }
        switch code {
        case .yes:
            verdict = .yes
        case .accepted:
            let ballot = try Ballot(from: &reader)
            let record = try reader.optional { (reader) throws(DecodingError) in try RootRecord(from: &reader) }
            if let record, record.ballot != ballot { throw .invalid(what: "the ballot of a record") }
            verdict = .accepted(ballot, record)
        case .silence:
            verdict = .silence(
                try reader.list(minimum: 1, limit: RegisterRequest.sessionLimit) { (reader) throws(DecodingError) in
                    try reader.optional { (reader) throws(DecodingError) in try reader.integer() }
                })
        case .outbid: verdict = .refused(.outbid)
        case .held: verdict = .refused(.held(milliseconds: try reader.integer()))
        case .wrongEpoch: verdict = .refused(.wrongEpoch(try RootRecord(from: &reader)))
        case .uninitialized: verdict = .refused(.uninitialized)
        case .occupied: verdict = .refused(.occupied(try RootRecord(from: &reader)))
        case .amnesiac: verdict = .refused(.amnesiac)
        case .invalid:
            guard let violation = RegisterRefusal.Violation(rawValue: try reader.integer()) else {
                throw .invalid(what: "the reason of a register refusal")
            }
            verdict = .refused(.invalid(violation))
        }
        if leased || mayRead || isAlone, case .refused = verdict {
            throw .invalid(what: "a promise that comes with a refusal")
        }
    }
}
