/// What a client asks a server. A request that carries block bytes announces them by `payloadLength`; they follow the
/// sealed message raw, because they are sealed already and carry their own proof.
public enum Request: Equatable, Sendable {
    /// Must come first: which volume this connection is about, and the proof of holding its key: the volume key's
    /// signature over `sessionProof(handshakeHash)`. `quota` and room are decided by the server (admission).
    /// `isTransfer`: the client copies files from their first byte to their last and ends; a long copy is not worth the
    /// server's page cache.
    case open(volume: VolumeID, proof: [UInt8], isTransfer: Bool = false)
    /// Store a block; payload: its sealed bytes. Not durable before `flush` (B1, B2).
    case put(block: BlockID, length: UInt32, gcEpoch: UInt64)
    /// As `put`, and on to these servers: the first of them gets it from this one, the second from the first, and so on,
    /// so that it leaves the client once. Answered, when it is stored and all have answered, by `.done`, or by `.passed`
    /// where some did not take it. Says nothing about disks: the client asks each of them to flush.
    case pass(block: BlockID, length: UInt32, gcEpoch: UInt64, to: [ServerID])
    /// A range of a block; `length` 0 means all. Answered by `.block` with payload.
    case get(block: BlockID, offset: UInt32, length: UInt32)
    /// Everything this connection put so far is on disk when this is answered, by `.missing`: which of `expecting` are not
    /// there all the same (B2).
    case flush(expecting: [BlockID])
    /// Re-tag blocks before a commit refers to them (G2); answered by `.missing`.
    case touch(blocks: [BlockID], gcEpoch: UInt64)
    /// Ordinary frees of a commit's dead list (G8): quarantined, then deleted (G7).
    case free(blocks: [BlockID], gcEpoch: UInt64)
    /// What the audit found unreachable (G5): deletes those whose tag is at most `cutoff`; refused when `gcEpoch` is
    /// older than the newest seen (G6).
    case sweep(blocks: [BlockID], gcEpoch: UInt64, cutoff: UInt64)
    /// Up to 1,000 stored blocks after this one in id order; the audit's other half.
    case list(after: BlockID?)
    case register(RegisterRequest)
    /// `put`, `flush` and then `register`: the last rounds of a commit in one, for a volume whose blocks and whose keeper
    /// are on one server. The keeper is only asked when all of `blocks`, sent before, are on disk (B2), and those that
    /// are `carrying` are at the latest when its vote is; otherwise the answer is a refusal, or `.missing`. Payload: the
    /// sealed bytes of the carried ones, in order.
    case commit(blocks: [BlockID], carrying: [Carried], RegisterRequest)
    case status
    /// A client's word on the volume: the newest chosen record it knows, whose config says who the members are, and
    /// where they may be reached. Servers do not find each other before somebody has told them.
    case introduce(record: RootRecord, endpoints: [MemberEndpoints])
    /// Must come first where a server connects to another member of the volume, instead of `open`: who asks is proven by
    /// the handshake, and that it is a member by the newest record that either of them has.
    case member(volume: VolumeID, record: RootRecord)
    /// From member to member; answered by `.told`, `.record` or `.done`.
    case ask(MemberMessage)
}

extension Request {
    /// A block whose bytes come with the request.
    public struct Carried: Equatable, Sendable {
        public var block: BlockID
        public var length: UInt32
        public var gcEpoch: UInt64

        public init(block: BlockID, length: UInt32, gcEpoch: UInt64) {
            self.block = block
            self.length = length
            self.gcEpoch = gcEpoch
        }
    }

    /// Blocks that one request can name.
    public static let blockLimit = 4096

    private enum Code: UInt8 {
        case open = 1, put, get, flush, touch, free, sweep, list, register, status, commit, introduce, member, ask, pass
    }

    /// It waits for news, however long: that there is no answer says nothing about the server.
    public var waitsForNews: Bool {
        if case .register(let request) = self, case .watch = request.body { true } else { false }
    }

    /// Bytes that follow the message raw.
    public var payloadLength: Int {
        switch self {
        case .put(_, let length, _), .pass(_, let length, _, _): Int(length)
        case .commit(_, let carried, _): carried.reduce(0) { $0 + Int($1.length) }
        case .ask(let message): message.payloadLength
        default: 0
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .open(let volume, let proof, let isTransfer):
            writer.append(Code.open.rawValue)
            writer.append(volume)
            writer.append(prefixed: proof)
            writer.append(isTransfer)
        case .put(let block, let length, let gcEpoch):
            writer.append(Code.put.rawValue)
            writer.append(block)
            writer.append(length)
            writer.append(gcEpoch)
        case .pass(let block, let length, let gcEpoch, let servers):
            writer.append(Code.pass.rawValue)
            CopyOrder(block: block, length: length, gcEpoch: gcEpoch).encode(into: &writer)
            writer.append(list: servers) { $0.append($1) }
        case .get(let block, let offset, let length):
            writer.append(Code.get.rawValue)
            writer.append(block)
            writer.append(offset)
            writer.append(length)
        case .flush(let blocks):
            writer.append(Code.flush.rawValue)
            writer.append(list: blocks) { $0.append($1) }
        case .touch(let blocks, let gcEpoch):
            writer.append(Code.touch.rawValue)
            writer.append(list: blocks) { $0.append($1) }
            writer.append(gcEpoch)
        case .free(let blocks, let gcEpoch):
            writer.append(Code.free.rawValue)
            writer.append(list: blocks) { $0.append($1) }
            writer.append(gcEpoch)
        case .sweep(let blocks, let gcEpoch, let cutoff):
            writer.append(Code.sweep.rawValue)
            writer.append(list: blocks) { $0.append($1) }
            writer.append(gcEpoch)
            writer.append(cutoff)
        case .list(let after):
            writer.append(Code.list.rawValue)
            writer.append(optional: after) { $0.append($1) }
        case .register(let request):
            writer.append(Code.register.rawValue)
            request.encode(into: &writer)
        case .commit(let blocks, let carried, let request):
            writer.append(Code.commit.rawValue)
            writer.append(list: blocks) { $0.append($1) }
            writer.append(list: carried) { writer, carried in
                writer.append(carried.block)
                writer.append(carried.length)
                writer.append(carried.gcEpoch)
            }
            request.encode(into: &writer)
        case .status:
            writer.append(Code.status.rawValue)
        case .introduce(let record, let endpoints):
            writer.append(Code.introduce.rawValue)
            record.encode(into: &writer)
            writer.append(list: endpoints) { $1.encode(into: &$0) }
        case .member(let volume, let record):
            writer.append(Code.member.rawValue)
            writer.append(volume)
            record.encode(into: &writer)
        case .ask(let message):
            writer.append(Code.ask.rawValue)
            message.encode(into: &writer)
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        guard let code = Code(rawValue: try reader.integer()) else { throw .invalid(what: "the kind of request") }
        switch code {
        case .open:
            self = .open(
                volume: try reader.id(), proof: try reader.prefixed(limit: 64), isTransfer: try reader.bool())
        case .put:
            let block: BlockID = try reader.id()
            let length: UInt32 = try reader.integer()
            guard length <= Limits.blockSize else {
                throw .tooLong(what: "a block", length: Int(length), limit: Limits.blockSize)
            }
            self = .put(block: block, length: length, gcEpoch: try reader.integer())
        case .pass:
            let order = try CopyOrder(from: &reader)
            self = .pass(
                block: order.block, length: order.length, gcEpoch: order.gcEpoch,
                to: try MemberMessage.servers(from: &reader))
        case .get:
            self = .get(block: try reader.id(), offset: try reader.integer(), length: try reader.integer())
        case .flush:
            self = .flush(expecting: try Self.blocks(&reader))
        case .touch:
            self = .touch(blocks: try Self.blocks(&reader), gcEpoch: try reader.integer())
        case .free:
            self = .free(blocks: try Self.blocks(&reader), gcEpoch: try reader.integer())
        case .sweep:
            self = .sweep(
                blocks: try Self.blocks(&reader), gcEpoch: try reader.integer(), cutoff: try reader.integer())
        case .list:
            self = .list(after: try reader.optional { (reader) throws(DecodingError) in try reader.id() })
        case .register:
            self = .register(try RegisterRequest(from: &reader))
        case .commit:
            self = .commit(
                blocks: try Self.blocks(&reader), carrying: try Self.carried(&reader), try RegisterRequest(from: &reader))
        case .status:
            self = .status
        case .introduce:
            self = .introduce(record: try RootRecord(from: &reader), endpoints: try MemberEndpoints.list(from: &reader))
        case .member:
            self = .member(volume: try reader.id(), record: try RootRecord(from: &reader))
        case .ask:
            self = .ask(try MemberMessage(from: &reader))
        }
    }

    private static func carried(_ reader: inout ByteReader) throws(DecodingError) -> [Carried] {
        let carried = try reader.list(minimum: 44, limit: Limits.carriedBlocks) { (reader) throws(DecodingError) in
            Carried(block: try reader.id(), length: try reader.integer(), gcEpoch: try reader.integer())
        }
        let length = carried.reduce(0) { $0 + Int($1.length) }
        guard length <= Limits.carriedSize else {
            throw .tooLong(what: "what a commit carries", length: length, limit: Limits.carriedSize)
        }
        return carried
    }

    private static func blocks(_ reader: inout ByteReader) throws(DecodingError) -> [BlockID] {
        try reader.list(minimum: 32, limit: blockLimit) { (reader) throws(DecodingError) in try reader.id() }
    }
}
