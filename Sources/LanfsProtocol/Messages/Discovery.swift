/// The two datagrams of discovery (UDP, in the clear): "who is there?" and "I am". Hints, never proofs: whoever answers
/// is believed only after the handshake.
///
/// An answer is never longer than its query, so that a server cannot be used to amplify traffic at a forged sender.
public enum Discovery {
    static let magic: UInt32 = 0x4C41_4E46  // "LANF"
    public static let version: UInt8 = 1
    /// Every query is padded to this.
    public static let querySize = 160
    /// The longest answer, with a name of `nameLimit` bytes.
    public static let answerLimit = header + 16 + 32 + 2 + 8 + 8 + 1 + 1 + nameLimit
    public static let nameLimit = 64
    static let header = 4 + 1 + 1

    /// Names a volume to those who know its id and to nobody else: a hash of the id and the query's nonce.
    public static func token(volume: VolumeID, nonce: UInt128, _ verifier: some RecordVerifier) -> UInt128 {
        var writer = ByteWriter()
        writer.append(raw: "lanfs discovery\0".utf8)
        writer.append(volume)
        writer.append(nonce)
        let hash = verifier.hash(writer.bytes)
        return UInt128(hash.word0) << 64 | UInt128(hash.word1)
    }

    fileprivate enum Kind: UInt8 {
        case query = 1, answer
    }

    fileprivate static func begin(_ kind: Kind, in writer: inout ByteWriter) {
        writer.append(magic)
        writer.append(version)
        writer.append(kind.rawValue)
    }

    fileprivate static func expect(_ kind: Kind, in reader: inout ByteReader) throws(DecodingError) {
        guard try reader.integer() == magic else { throw .invalid(what: "the start of a discovery datagram") }
        guard try reader.integer() == version else { throw .invalid(what: "the version of a discovery datagram") }
        guard try reader.integer() == kind.rawValue else { throw .invalid(what: "the kind of discovery datagram") }
    }
}

public struct DiscoveryQuery: Equatable, Sendable {
    /// Random; answers repeat it.
    public var nonce: UInt128
    /// Bytes of free room: servers with less stay silent.
    public var need: UInt64
    /// `Discovery.token` of the asker's volume; 0 when it asks for none.
    public var volumeToken: UInt128

    public init(nonce: UInt128, need: UInt64 = 0, volumeToken: UInt128 = 0) {
        self.nonce = nonce
        self.need = need
        self.volumeToken = volumeToken
    }

    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: Discovery.querySize)
        Discovery.begin(.query, in: &writer)
        writer.append(nonce)
        writer.append(need)
        writer.append(volumeToken)
        writer.append(raw: repeatElement(0, count: Discovery.querySize - writer.bytes.count))
        return writer.bytes
    }

    public init(encoded bytes: [UInt8]) throws(DecodingError) {
        guard bytes.count == Discovery.querySize else { throw .invalid(what: "the length of a discovery query") }
        var reader = ByteReader(bytes)
        try Discovery.expect(.query, in: &reader)
        nonce = try reader.integer()
        need = try reader.integer()
        volumeToken = try reader.integer()
    }
}

public struct DiscoveryAnswer: Equatable, Sendable {
    public var nonce: UInt128
    /// Its static public key, to be proven by the handshake.
    public var server: ServerID
    /// TCP.
    public var port: UInt16
    /// Bytes lent in all, and bytes still free.
    public var capacity: UInt64
    public var free: UInt64
    public var holdsVolume: Bool
    /// For people: at most 64 bytes of UTF-8, cut at a character when longer.
    public let name: String

    public init(
        nonce: UInt128, server: ServerID, port: UInt16, capacity: UInt64, free: UInt64, holdsVolume: Bool, name: String
    ) {
        self.nonce = nonce
        self.server = server
        self.port = port
        self.capacity = capacity
        self.free = free
        self.holdsVolume = holdsVolume
        var name = name
        while name.utf8.count > Discovery.nameLimit { name.removeLast() }
        self.name = name
    }

    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: Discovery.answerLimit)
        Discovery.begin(.answer, in: &writer)
        writer.append(nonce)
        writer.append(server)
        writer.append(port)
        writer.append(capacity)
        writer.append(free)
        writer.append(holdsVolume)
        writer.append(UInt8(clamping: name.utf8.count))
        writer.append(raw: name.utf8)
        return writer.bytes
    }

    public init(encoded bytes: [UInt8]) throws(DecodingError) {
        guard bytes.count <= Discovery.answerLimit else {
            throw .tooLong(what: "a discovery answer", length: bytes.count, limit: Discovery.answerLimit)
        }
        var reader = ByteReader(bytes)
        try Discovery.expect(.answer, in: &reader)
        nonce = try reader.integer()
        server = try reader.id()
        port = try reader.integer()
        capacity = try reader.integer()
        free = try reader.integer()
        holdsVolume = try reader.bool()
        let utf8 = try reader.raw(Int(try reader.integer(UInt8.self)))
        guard let name = String(validating: utf8, as: UTF8.self), utf8.count <= Discovery.nameLimit else {
            throw .invalid(what: "a server's name")
        }
        self.name = name
        try reader.finish()
    }
}
