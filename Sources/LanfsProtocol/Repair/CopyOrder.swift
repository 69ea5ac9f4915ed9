/// Announces a copy from the server that decided to make it; the sealed bytes follow raw. The name proves them (B1).
public struct CopyOrder: Equatable, Sendable {
    public var block: BlockID
    /// Bytes that follow.
    public var length: UInt32
    /// The tag of the copy this one is made from, at the moment it is sent (G1): a lower one would let a sweep take the
    /// copy of a block that a commit is about to refer to, a higher one would hide garbage from two more collections.
    public var gcEpoch: UInt64

    public init(block: BlockID, length: UInt32, gcEpoch: UInt64) {
        self.block = block
        self.length = length
        self.gcEpoch = gcEpoch
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(block)
        writer.append(length)
        writer.append(gcEpoch)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        block = try reader.id()
        length = try reader.integer()
        guard length <= Limits.blockSize else {
            throw .tooLong(what: "a block", length: Int(length), limit: Limits.blockSize)
        }
        gcEpoch = try reader.integer()
    }
}

/// What became of a copy at its target, or on the way there.
public enum CopyOutcome: UInt8, Sendable {
    /// On disk now (B2).
    case stored = 1
    /// Was there already.
    case present
    /// A free or a sweep of lately named it (G5, G8): it is garbage, and the sender will hear so too.
    case swept
    /// Not stored: no room, a disk error, wrong bytes, no answer in time, or the source has it no more.
    case failed
}

public struct CopyAnswer: Equatable, Sendable {
    public var block: BlockID
    public var outcome: CopyOutcome

    public init(block: BlockID, outcome: CopyOutcome) {
        self.block = block
        self.outcome = outcome
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(block)
        writer.append(outcome.rawValue)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        block = try reader.id()
        guard let outcome = CopyOutcome(rawValue: try reader.integer()) else {
            throw .invalid(what: "the outcome of a copy")
        }
        self.outcome = outcome
    }
}
