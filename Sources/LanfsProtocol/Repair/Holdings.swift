/// "Which of these do you hold?" A page of the asker's own blocks, with their tags: whoever holds one too raises its
/// tag to the asker's if that is higher (G1), so that a sweep finds all copies of a block equally old.
public struct HoldingsQuery: Equatable, Sendable {
    /// Blocks of one page.
    public static let limit = 1024

    public struct Entry: Equatable, Sendable {
        public var block: BlockID
        public var gcEpoch: UInt64

        public init(block: BlockID, gcEpoch: UInt64) {
            self.block = block
            self.gcEpoch = gcEpoch
        }
    }

    /// Repeated in the answer; a late answer to another page is told by it.
    public var page: UInt64
    public var blocks: [Entry]

    public init(page: UInt64, blocks: [Entry]) {
        self.page = page
        self.blocks = blocks
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(page)
        writer.append(list: blocks) {
            $0.append($1.block)
            $0.append($1.gcEpoch)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        page = try reader.integer()
        blocks = try reader.list(minimum: 40, limit: Self.limit) { (reader) throws(DecodingError) in
            Entry(block: try reader.id(), gcEpoch: try reader.integer())
        }
    }
}

/// One bit for each block of the page: set when the answerer holds it whole, on disk (B2), and not in quarantine (G7).
public struct HoldingsAnswer: Equatable, Sendable {
    public var page: UInt64
    private var bits: [UInt8]

    public init(page: UInt64, held: [Bool]) {
        self.page = page
        bits = Array(repeating: 0, count: (held.count + 7) / 8)
        for index in held.indices where held[index] { bits[index / 8] |= 1 << UInt8(index % 8) }
    }

    /// False for places beyond the page.
    public func holds(_ index: Int) -> Bool {
        index >= 0 && bits.indices.contains(index / 8) && bits[index / 8] >> UInt8(index % 8) & 1 == 1
    }

    /// Whether it is as long as an answer about so many blocks has to be.
    func covers(_ count: Int) -> Bool { bits.count == (count + 7) / 8 }

    func encode(into writer: inout ByteWriter) {
        writer.append(page)
        writer.append(prefixed: bits)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        page = try reader.integer()
        bits = try reader.prefixed(limit: (HoldingsQuery.limit + 7) / 8)
    }
}
