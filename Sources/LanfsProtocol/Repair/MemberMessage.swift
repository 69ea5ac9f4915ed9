/// What the members of a volume tell each other, over connections that prove who is at the other end. An order carries
/// block bytes, announced by `payloadLength`; they follow the sealed message raw.
public enum MemberMessage: Equatable, Sendable {
    case heartbeat(Heartbeat)
    case holdings(HoldingsQuery)
    case held(HoldingsAnswer)
    case copy(CopyOrder)
    case copied(CopyAnswer)
    case challenge(PossessionChallenge)
    case possession(PossessionAnswer)
    /// "My copy of this block is lost, send me yours": answered by `copy`, or by nothing where there is none.
    case wanted(BlockID)
    /// A client's put on its way from server to server, then on to these (`Request.pass`). It revives, as every put does.
    case pass(CopyOrder, to: [ServerID])
    /// These did not take it.
    case passed(BlockID, failed: [ServerID])
}

extension MemberMessage {
    /// The longest encoding: a full page of holdings.
    public static let sizeLimit = 1 + 8 + 4 + HoldingsQuery.limit * 40

    private enum Code: UInt8 {
        case heartbeat = 1, holdings, held, copy, copied, challenge, possession, wanted, pass, passed
    }

    /// Bytes that follow the message raw.
    public var payloadLength: Int {
        switch self {
        case .copy(let order), .pass(let order, _): Int(order.length)
        default: 0
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .heartbeat(let heartbeat):
            writer.append(Code.heartbeat.rawValue)
            heartbeat.encode(into: &writer)
        case .holdings(let query):
            writer.append(Code.holdings.rawValue)
            query.encode(into: &writer)
        case .held(let answer):
            writer.append(Code.held.rawValue)
            answer.encode(into: &writer)
        case .copy(let order):
            writer.append(Code.copy.rawValue)
            order.encode(into: &writer)
        case .copied(let answer):
            writer.append(Code.copied.rawValue)
            answer.encode(into: &writer)
        case .challenge(let challenge):
            writer.append(Code.challenge.rawValue)
            challenge.encode(into: &writer)
        case .possession(let answer):
            writer.append(Code.possession.rawValue)
            answer.encode(into: &writer)
        case .wanted(let block):
            writer.append(Code.wanted.rawValue)
            writer.append(block)
        case .pass(let order, let servers):
            writer.append(Code.pass.rawValue)
            order.encode(into: &writer)
            writer.append(list: servers) { $0.append($1) }
        case .passed(let block, let servers):
            writer.append(Code.passed.rawValue)
            writer.append(block)
            writer.append(list: servers) { $0.append($1) }
        }
    }

    /// Servers of one block.
    static func servers(from reader: inout ByteReader) throws(DecodingError) -> [ServerID] {
        try reader.list(minimum: 32, limit: VolumeConfig.serverLimit) { (reader) throws(DecodingError) in
            try reader.id()
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        guard let code = Code(rawValue: try reader.integer()) else {
            throw .invalid(what: "the kind of message between members")
        }
        switch code {
        case .heartbeat: self = .heartbeat(try Heartbeat(from: &reader))
        case .holdings: self = .holdings(try HoldingsQuery(from: &reader))
        case .held: self = .held(try HoldingsAnswer(from: &reader))
        case .copy: self = .copy(try CopyOrder(from: &reader))
        case .copied: self = .copied(try CopyAnswer(from: &reader))
        case .challenge: self = .challenge(try PossessionChallenge(from: &reader))
        case .possession: self = .possession(try PossessionAnswer(from: &reader))
        case .wanted: self = .wanted(try reader.id())
        case .pass: self = .pass(try CopyOrder(from: &reader), to: try Self.servers(from: &reader))
        case .passed: self = .passed(try reader.id(), failed: try Self.servers(from: &reader))
        }
    }
}
