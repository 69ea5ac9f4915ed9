/// L4: one session's registration with one keeper. `ticket` tells it from an earlier one of the same session: an
/// acknowledgement that comes late must not count for a registration that the holder has never heard of.
public struct JoinTicket: Hashable, Sendable {
    static let encodedSize = 16 + 8
    /// How many a keeper shows at a time; the others come next.
    static let limit = 16

    public var session: ProposerID
    public var ticket: UInt64

    public init(session: ProposerID, ticket: UInt64) {
        self.session = session
        self.ticket = ticket
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(session)
        writer.append(ticket)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        session = try reader.integer()
        ticket = try reader.integer()
    }

    static func list(from reader: inout ByteReader) throws(DecodingError) -> [JoinTicket] {
        try reader.list(minimum: encodedSize, limit: limit) { (reader) throws(DecodingError) in
            try JoinTicket(from: &reader)
        }
    }
}

/// L4: the sessions that a keeper knows, in memory only: to a keeper that started anew each is a stranger, and joins with its next
/// read.
struct Sessions: Sendable {
    private struct Session: Sendable {
        let ticket: JoinTicket
        let recordedAt: Duration
        var heardAt: Duration
        var mayRead: Bool
    }

    /// Beyond these nobody joins until another is forgotten.
    static let limit = 256

    private var known: [Session] = []

    var isWaiting: Bool { known.contains { !$0.mayRead } }

    /// The joins that the holder has to acknowledge.
    var waiting: [JoinTicket] {
        Array(known.lazy.filter { !$0.mayRead }.map(\.ticket).prefix(JoinTicket.limit))
    }

    /// Whether no other session is known, nor one turned away.
    func isAlone(_ session: ProposerID) -> Bool { known.allSatisfy { $0.ticket.session == session } }

    /// Whatever it asks for, it is there.
    mutating func heard(of session: ProposerID, _ now: Duration) {
        if let index = known.firstIndex(where: { $0.ticket.session == session }) { known[index].heardAt = now }
    }

    /// `nil`: it is not known.
    func silence(of session: ProposerID, _ now: Duration) -> Duration? {
        known.first { $0.ticket.session == session }.map { now - $0.heardAt }
    }

    /// Before anything else is done at `now`. No lease outstanding here: nobody can act on one that counts on this keeper
    /// without hearing, in the answer that gave it, of those who are known by then.
    mutating func settle(_ now: Duration, isLeased: Bool, _ timing: LeaseTiming) {
        guard !known.isEmpty else { return }
        known.removeAll { now - $0.heardAt > timing.sessionMemory }
        for index in known.indices where !isLeased || now - known[index].recordedAt >= timing.length {
            known[index].mayRead = true
        }
    }

    /// A session reads here. Returns its registration, once it may read.
    ///
    /// - Parameter mustWait: for the holder, should this be the first that is heard of it.
    mutating func reads(_ session: ProposerID, _ now: Duration, mustWait: Bool) -> UInt64? {
        if let index = known.firstIndex(where: { $0.ticket.session == session }) {
            known[index].heardAt = now
            return known[index].mayRead ? known[index].ticket.ticket : nil
        }
        guard known.count < Self.limit else { return nil }
        let ticket = JoinTicket(session: session, ticket: UInt64(clamping: Int64(now / .nanoseconds(1))))
        known.append(Session(ticket: ticket, recordedAt: now, heardAt: now, mayRead: !mustWait))
        return mustWait ? nil : ticket.ticket
    }

    /// Its connection is gone. If it comes back it is a stranger, and joins with its next read.
    mutating func forget(_ session: ProposerID) { known.removeAll { $0.ticket.session == session } }

    /// The holder acknowledged these.
    mutating func admit(_ tickets: [JoinTicket]) {
        for index in known.indices where tickets.contains(known[index].ticket) { known[index].mayRead = true }
    }
}
