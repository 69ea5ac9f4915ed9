/// What a client remembers of the last chosen root it saw, across restarts (F1).
public struct RollbackMemory: Equatable, Sendable {
    public static let encodedSize = 1 + 8 + 8 + 32 + 1 + 8

    public enum Judgement: Equatable, Sendable {
        /// The very root remembered.
        case same
        /// The remembered root's child.
        case child
        /// Newer by more than one; that it descends from the remembered root is to be proven by the chain of changes.
        case newer
        /// Older than what was seen: the servers went back. Stop, with an alarm.
        case rolledBack
        /// Another root of the same age, or another's child: the history forked. Stop, with an alarm.
        case forked
    }

    public var epoch: UInt64
    public var sequence: UInt64
    public var hash: RecordHash
    /// The newest forced recovery it descends from.
    public var recovery: UInt64?

    /// - Parameter recoveries: those of `record`.
    public init(_ record: RootRecord, _ recoveries: RecoveryHistory, _ verifier: some RecordVerifier) {
        epoch = record.epochInForce
        sequence = record.sequence
        hash = record.hash(verifier)
        recovery = recoveries.newest?.id
    }

    /// Where no recovery by force came between: ``RecoveryHistory`` tells about those.
    public func judge(_ record: RootRecord, _ verifier: some RecordVerifier) -> Judgement {
        if record.sequence < sequence || record.epochInForce < epoch { return .rolledBack }
        if record.sequence == sequence { return record.hash(verifier) == hash ? .same : .forked }
        if record.sequence == sequence + 1 { return record.previous == hash ? .child : .forked }
        return .newer
    }

    public var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.append(RootRecord.version)
        writer.append(epoch)
        writer.append(sequence)
        writer.append(hash)
        writer.append(recovery != nil)
        writer.append(recovery ?? 0)
        return writer.bytes
    }

    public init(encoded bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        guard try reader.integer(UInt8.self) == RootRecord.version else {
            throw .invalid(what: "the version of the remembered root")
        }
        epoch = try reader.integer()
        sequence = try reader.integer()
        hash = try reader.id()
        let isRecovered = try reader.bool()
        let id: UInt64 = try reader.integer()
        guard isRecovered || id == 0 else { throw .invalid(what: "a recovery that is none") }
        recovery = isRecovered ? id : nil
        try reader.finish()
    }
}
