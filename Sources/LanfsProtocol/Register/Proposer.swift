/// What the client tells its proposer.
public enum ProposerEvent: Sendable {
    /// Get the write lease: ends in `acquired`, after as many rounds and waits as it takes, or in `moved`.
    case acquire
    /// Commit a child of the held root; only while holding, one at a time. Ends in `committed`, `unknown` or `tooLarge`.
    case commit(RootChange)
    /// L4: all that the client acknowledged is committed; lets those join of whom `joining` told.
    case admit
    /// Give the lease back, or stop trying to get it. Not while a commit is under way.
    case release
    /// A commit under way cannot be stored: stop trying. The next `acquire` finds out what became of it (P5).
    case abandon
    /// What `fetch` asked for this ballot is here, or cannot be had now.
    case fetched(Ballot, Bool)
    /// A keeper answered. `sentAt`: the clock just before the request left (L1).
    case answered(ServerID, RegisterRequest, sentAt: Duration, RegisterResponse)
    /// The time of the last `wake` has come. Early or late does no harm.
    case tick
}

/// What the proposer asks of the client.
public enum ProposerEffect: Equatable, Sendable {
    case send(to: ServerID, RegisterRequest)
    /// Send `tick` at this time; replaces the time asked for before.
    case wake(at: Duration)
    /// P1: this value may have been accepted somewhere without being chosen, and is to be proposed again under this ballot. The
    /// keepers get the blocks that a vote brings with it from whoever asks for the vote (B2): get them here, then `fetched`.
    case fetch(RootRecord, for: Ballot)
    /// The lease is held and this root, chosen, is the one to build on. Comes again for a lease that had expired and was
    /// renewed with nothing changed.
    case acquired(RootRecord)
    /// Chosen (P3).
    case committed(RootRecord)
    /// P5: neither success nor failure. Acquire again: the root of `acquired` has the commit, or it failed for good.
    case unknown(RootRecord)
    /// The commit's record is over `Limits.rootRecordSize` or breaks its own rules; nothing was sent.
    case tooLarge
    /// L3: the lease can no longer be trusted; stop mutating. The proposer goes on renewing it.
    case expired
    /// Another client's ballot took over; idle now.
    case lost
    /// L2: another client waits: commit what is acknowledged, then release. When is the client's choice.
    case wanted
    /// L4: other sessions wait to read: commit what is acknowledged, then `admit`. The lease runs out meanwhile.
    case joining
    /// The epoch is over: go on with a new proposer in `epoch`, at the keepers that the record names for it (M2). When it is
    /// the seal of the epoch before, have a ``KeeperMove`` open the new one first.
    case moved(RootRecord, epoch: UInt64)
    /// A keeper gave an answer that asking again will not better; for the log.
    case troubled(ServerID, RegisterRefusal)
}

/// The proposer's half of the root register (protocol.md section 2) and the holder's half of the write lease: one per
/// client process, volume and epoch. Pure: the caller carries messages and time, and sends what is returned in order.
///
/// In the common case, one client on the volume, a commit is one round: each Accept piggybacks the next ballot (P6).
public struct Proposer<Signer: RecordSigner>: Sendable {
    public let id: ProposerID
    public let volume: VolumeID
    public let epoch: UInt64
    public let keepers: Keepers

    let signer: Signer
    let timing: LeaseTiming
    var phase = Phase.idle
    /// The highest ballot seen anywhere (A3): the next Prepare goes above it.
    var highest = Ballot.zero
    var lease: LeaseBook
    var company: Company
    var chosen: ChosenEvidence?
    /// A commit of ours ended unknown: only a value chosen under a higher ballot settles it (P5).
    var isUnresolved = false
    /// Failed attempts in a row, for the backoff (P7).
    var attempt = 0
    var effects: [ProposerEffect] = []
    #if DEBUG
        var mutants: ProposerMutants = []
    #else
        var mutants: ProposerMutants { [] }
    #endif

    /// `id`: drawn at random at process start, never used before. `chosen`: the last evidence of an earlier proposer.
    /// `above`: the highest ballot that a keeper was heard to know (A3), which saves a refused first round.
    public init(
        id: ProposerID, volume: VolumeID, epoch: UInt64, keepers: Keepers, signer: Signer,
        timing: LeaseTiming = .standard, chosen: ChosenEvidence? = nil, above: Ballot = .zero
    ) {
        self.id = id
        self.volume = volume
        self.epoch = epoch
        self.keepers = keepers
        self.signer = signer
        self.timing = timing
        self.chosen = chosen
        highest = above.isCredible ? above : .zero
        lease = LeaseBook(keepers: keepers.members.count)
        company = Company(keepers: keepers.members.count, since: .zero)
    }

    /// L1: may the client mutate now?
    public func holdsLease(_ now: Duration) -> Bool {
        guard let end = leaseEnd else { return false }
        return now < end
    }

    /// L4: whether the lease is held and no other session may read: then what is acknowledged need not be committed first.
    public func isSolo(_ now: Duration) -> Bool {
        holdsLease(now) && !company.isWaitedFor && company.isAbsent(quorum: keepers.quorum, mutants)
    }

    /// When the lease held now must no longer be trusted; `nil` when none is held.
    public var leaseEnd: Duration? {
        guard base != nil, let start = lease.start(quorum: keepers.quorum) else { return nil }
        return start + timing.trusted
    }

    /// The newest chosen root, while this proposer holds on to it: the parent of the next commit.
    public var base: RootRecord? {
        switch phase {
        case .holding(let holding): holding.base
        case .accepting(let accepting): accepting.parent
        case .idle, .backingOff, .preparing, .fetching: nil
        }
    }

    /// L2: whether another client is known to wait for the lease.
    public var isWanted: Bool {
        switch phase {
        case .holding(let holding): holding.isWanted
        case .accepting(let accepting): accepting.isWanted
        case .idle, .backingOff, .preparing, .fetching: false
        }
    }

    /// The latest chosen record known here and who acknowledged it, for fast reads and later proposers (A6).
    public var evidence: ChosenEvidence? { chosen }

    /// `random`: 64 fresh random bits.
    public mutating func step(_ event: ProposerEvent, now: Duration, random: UInt64) -> [ProposerEffect] {
        effects.removeAll(keepingCapacity: true)
        switch event {
        case .acquire: acquire(now)
        case .commit(let change): commit(change, now)
        case .admit: admit()
        case .release: release()
        case .abandon: abandon(now, random)
        case .fetched(let ballot, let isHere): fetched(ballot, isHere, now, random)
        case .answered(let server, let request, let sentAt, let response):
            if let keeper = keepers.members.firstIndex(of: server) {
                company.heard(keeper, response, sentAt: sentAt, now: now, quorum: keepers.quorum, mutants)
                answered(keeper, request, sentAt: sentAt, response, now: now, random: random)
            }
        case .tick: tick(now, random)
        }
        if base != nil, company.isWaitedFor, !company.isTold {
            company.isTold = true
            effects.append(.joining)
        }
        if let wakeAt { effects.append(.wake(at: wakeAt)) }
        defer { effects = [] }
        return effects
    }
}

/// Rules that a test may break on purpose, to show that the simulator notices.
struct ProposerMutants: OptionSet, Sendable {
    let rawValue: Int
    /// P1 broken: the base is the value with the highest sequence number.
    static let baseBySequence = ProposerMutants(rawValue: 1)
    /// P5 broken: promises alone prove that an unknown commit failed.
    static let promisesProveAbsence = ProposerMutants(rawValue: 2)
    /// P1 broken: what was accepted but not chosen is forgotten when the lease is taken over.
    static let ignoresUnchosen = ProposerMutants(rawValue: 4)
    /// L1 broken: a yes to an old proposal counts for the lease even after another took over.
    static let countsEveryYes = ProposerMutants(rawValue: 8)
    /// M2 broken: a seal has other successors in its epoch than itself.
    static let ignoresSeal = ProposerMutants(rawValue: 16)
    /// L4 broken: a word that nobody else is there counts although somebody was heard of since it was asked for.
    static let believesOldWord = ProposerMutants(rawValue: 32)
    /// L4 broken: the lease goes on at those keepers where nobody waits.
    static let countsSigns = ProposerMutants(rawValue: 64)
    /// B2 broken: what others proposed is proposed again without its blocks.
    static let fetchesNothing = ProposerMutants(rawValue: 128)
}

extension Proposer {
    enum Phase: Sendable {
        case idle
        case backingOff(until: Duration)
        case preparing(Preparing)
        case fetching(Fetching)
        case accepting(Accepting)
        case holding(Holding)
    }

    /// Who was asked and answered, and when to ask again.
    struct Round: Sendable {
        var yes = KeeperSet()
        var no = KeeperSet()
        var resendAt: Duration
        var delay: Duration
    }

    struct Preparing: Sendable {
        var ballot: Ballot
        var round: Round
        var promises: [RootRecord] = []
    }

    struct Fetching: Sendable {
        var record: RootRecord
        /// Promised by a quorum.
        var ballot: Ballot
        var until: Duration
    }

    struct Accepting: Sendable {
        var record: RootRecord
        var next: Ballot
        var round: Round
        /// A commit's parent; `nil` when the base itself is proposed again, to complete it (P1).
        var parent: RootRecord?
        /// Somebody was heard to wait for the lease.
        var isWanted = false
    }

    struct Holding: Sendable {
        var base: RootRecord
        /// What the next commit is proposed under; promised by a quorum.
        var next: Ballot
        /// What gets `next` promised by a keeper that has not yet: the Prepare, or the Accept that piggybacked it.
        var establish: RegisterRequest.Body
        /// The keepers that promised it, and those that another proposer outbid.
        var standing: KeeperSet
        var outbid = KeeperSet()
        var askedAt: Duration
        var renewAt: Duration
        /// Whether the client was told `acquired` and not `expired` since.
        var isAnnounced = false
        var isWanted = false
        var isWantedTold = false
        /// When the keepers are told that the base is chosen, unless a request says so before.
        var learnAt: Duration?
    }

    var wakeAt: Duration? {
        switch phase {
        case .idle: return nil
        case .backingOff(let until): return until
        case .fetching(let fetching): return fetching.until
        case .preparing(let preparing): return preparing.round.resendAt
        case .accepting(let accepting): return accepting.round.resendAt
        case .holding(let holding):
            var time = holding.renewAt
            if holding.isAnnounced, let leaseEnd { time = min(time, leaseEnd) }
            if let learnAt = holding.learnAt { time = min(time, learnAt) }
            return time
        }
    }

    func newRound(_ now: Duration) -> Round {
        Round(resendAt: now + timing.firstRetry, delay: timing.firstRetry)
    }

    func isHopeless(_ round: Round) -> Bool {
        round.no.count > keepers.members.count - keepers.quorum
    }

    mutating func send(_ body: RegisterRequest.Body, where include: (Int) -> Bool = { _ in true }) {
        let request = RegisterRequest(epoch: epoch, sender: id, chosen: chosen, body: body)
        for index in keepers.members.indices where include(index) {
            effects.append(.send(to: keepers.members[index], request))
        }
    }
}
