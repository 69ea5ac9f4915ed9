/// What a server answers.
public enum Response: Equatable, Sendable {
    /// `open`, `put`, `free`, `sweep`, `introduce`, `member`, and what is asked but has no answer: done.
    case done
    /// `get`: the payload has this many bytes.
    case block(length: UInt32)
    /// `flush`, `touch`, `commit`: these blocks are not here (or quarantined).
    case missing([BlockID])
    case listed([StoredBlock])
    case register(RegisterResponse)
    case status(ServerStatus)
    case refused(Refusal)
    /// `ask`: what the other member says.
    case told(MemberMessage)
    /// `ask` with a heartbeat of one that goes by an older configuration: the record that has the newer one.
    case record(RootRecord)
    /// `pass`: these did not take the block, or it is not known that they did.
    case passed(failed: [ServerID])
}

public struct StoredBlock: Equatable, Sendable {
    public var block: BlockID
    public var length: UInt32
    public var gcEpoch: UInt64

    public init(block: BlockID, length: UInt32, gcEpoch: UInt64) {
        self.block = block
        self.length = length
        self.gcEpoch = gcEpoch
    }
}

/// Why a server did not do it; `detail` is for people.
public struct Refusal: Error, Equatable, Sendable {
    public enum Reason: UInt8, Sendable {
        /// The volume is not on the server's list.
        case notAdmitted = 1
        /// The proof of the volume key is wrong.
        case badProof
        /// Block or range not here.
        case notFound
        /// The bytes do not hash to the name (B1).
        case wrongHash
        /// Capacity, quota or the disk itself is used up.
        case full
        /// A disk error: nothing was acknowledged.
        case diskFailed
        /// A sweep older than the newest seen (G6).
        case staleSweep
        /// The request makes no sense in this state (no `open` yet, unknown epoch...).
        case invalid
        /// Shutting down; try again elsewhere or later.
        case closing
    }

    public var reason: Reason
    public var detail: String

    public init(_ reason: Reason, _ detail: String) {
        self.reason = reason
        self.detail = detail
    }
}

extension Response {
    private enum Code: UInt8 {
        case done = 1, block, missing, listed, register, status, refused, told, record, passed
    }

    public var payloadLength: Int {
        switch self {
        case .block(let length): Int(length)
        case .told(let message): message.payloadLength
        default: 0
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .done:
            writer.append(Code.done.rawValue)
        case .block(let length):
            writer.append(Code.block.rawValue)
            writer.append(length)
        case .missing(let blocks):
            writer.append(Code.missing.rawValue)
            writer.append(list: blocks) { $0.append($1) }
        case .listed(let blocks):
            writer.append(Code.listed.rawValue)
            writer.append(list: blocks) {
                $0.append($1.block)
                $0.append($1.length)
                $0.append($1.gcEpoch)
            }
        case .register(let response):
            writer.append(Code.register.rawValue)
            response.encode(into: &writer)
        case .status(let status):
            writer.append(Code.status.rawValue)
            status.encode(into: &writer)
        case .refused(let refusal):
            writer.append(Code.refused.rawValue)
            writer.append(refusal.reason.rawValue)
            writer.append(text: refusal.detail)
        case .told(let message):
            writer.append(Code.told.rawValue)
            message.encode(into: &writer)
        case .record(let record):
            writer.append(Code.record.rawValue)
            record.encode(into: &writer)
        case .passed(let servers):
            writer.append(Code.passed.rawValue)
            writer.append(list: servers) { $0.append($1) }
        }
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        guard let code = Code(rawValue: try reader.integer()) else { throw .invalid(what: "the kind of response") }
        switch code {
        case .done:
            self = .done
        case .block:
            let length: UInt32 = try reader.integer()
            guard length <= Limits.blockSize else {
                throw .tooLong(what: "a block", length: Int(length), limit: Limits.blockSize)
            }
            self = .block(length: length)
        case .missing:
            self = .missing(
                try reader.list(minimum: 32, limit: 4096) { (reader) throws(DecodingError) in try reader.id() })
        case .listed:
            self = .listed(
                try reader.list(minimum: 44, limit: 4096) { (reader) throws(DecodingError) in
                    StoredBlock(
                        block: try reader.id(), length: try reader.integer(), gcEpoch: try reader.integer())
                })
        case .register:
            self = .register(try RegisterResponse(from: &reader))
        case .status:
            self = .status(try ServerStatus(from: &reader))
        case .refused:
            guard let reason = Refusal.Reason(rawValue: try reader.integer()) else {
                throw .invalid(what: "the reason of a refusal")
            }
            self = .refused(Refusal(reason, try reader.text()))
        case .told:
            self = .told(try MemberMessage(from: &reader))
        case .record:
            self = .record(try RootRecord(from: &reader))
        case .passed:
            self = .passed(failed: try MemberMessage.servers(from: &reader))
        }
    }
}
