/// Who proposes: 128 random bits drawn at every process start, so that no two runs ever share a ballot.
public typealias ProposerID = UInt128

/// The order of attempts on the root register: counter first, then the proposer. Never reused.
public struct Ballot: Hashable, Comparable, Sendable {
    public static let encodedSize = 8 + 16
    /// Below every real ballot: "nothing promised yet".
    public static let zero = Ballot(counter: 0, proposer: 0)

    public var counter: UInt64
    public var proposer: ProposerID

    @inlinable
    public init(counter: UInt64, proposer: ProposerID) {
        self.counter = counter
        self.proposer = proposer
    }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool {
        left.counter == right.counter ? left.proposer < right.proposer : left.counter < right.counter
    }

    /// A ballot of `proposer` above this one. The counter saturates instead of trapping, because the highest one seen
    /// comes from the network.
    @inlinable
    public func next(for proposer: ProposerID, skipping: UInt64 = 0) -> Ballot {
        let (sum, overflow) = counter.addingReportingOverflow(1 + skipping)
        return Ballot(counter: overflow ? .max : sum, proposer: proposer)
    }

    /// A counter that could never be outbid is a lie; believing it would end all writing.
    var isCredible: Bool { counter < 1 << 62 }

    public func encode(into writer: inout ByteWriter) {
        writer.append(counter)
        writer.append(proposer)
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        counter = try reader.integer()
        proposer = try reader.integer()
    }
}
