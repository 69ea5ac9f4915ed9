public enum PossessionTag {}

/// SHA-256 over a challenge's prefix and the block's bytes.
public typealias PossessionDigest = ID<PossessionTag>

/// "Prove that you hold this block now." Whoever knows neither the nonce beforehand nor the bytes now cannot.
public struct PossessionChallenge: Equatable, Sendable {
    public var block: BlockID
    /// Random, fresh for each round of the asker: an old proof, or one prepared before the bytes were let go, is none.
    public var nonce: UInt128
    /// Only one who goes by the same configuration may answer (see `MemberView.mayProve`).
    public var configVersion: UInt64
    /// The asker's tag (G1). The prover raises its own to it before it answers: else the asker's copy, which a commit
    /// counted under its newer tag, would go, and a late sweep take the older ones.
    public var gcEpoch: UInt64

    public init(block: BlockID, nonce: UInt128, configVersion: UInt64, gcEpoch: UInt64) {
        self.block = block
        self.nonce = nonce
        self.configVersion = configVersion
        self.gcEpoch = gcEpoch
    }

    /// What is hashed before the block's bytes. Both names are in it, so that nobody can have another holder answer in
    /// its place: that one's digest names that one.
    public func prefix(asker: ServerID, prover: ServerID) -> [UInt8] {
        var writer = ByteWriter(reserving: 17 + 3 * 32 + 16)
        writer.append(raw: "lanfs possession\0".utf8)
        writer.append(nonce)
        writer.append(block)
        writer.append(asker)
        writer.append(prover)
        return writer.bytes
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(block)
        writer.append(nonce)
        writer.append(configVersion)
        writer.append(gcEpoch)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        block = try reader.id()
        nonce = try reader.integer()
        configVersion = try reader.integer()
        gcEpoch = try reader.integer()
    }
}

public struct PossessionAnswer: Equatable, Sendable {
    public var block: BlockID
    public var nonce: UInt128
    /// `nil`: not held, not on disk yet, in quarantine, or `MemberView.mayProve` says no.
    public var digest: PossessionDigest?

    public init(block: BlockID, nonce: UInt128, digest: PossessionDigest?) {
        self.block = block
        self.nonce = nonce
        self.digest = digest
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(block)
        writer.append(nonce)
        writer.append(optional: digest) { $0.append($1) }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        block = try reader.id()
        nonce = try reader.integer()
        digest = try reader.optional { (reader) throws(DecodingError) in try reader.id() }
    }
}

extension MemberView {
    /// Whether this server may prove that it holds the block. Within one configuration only the first R prove and only
    /// the others drop, so no two servers ever drop on each other's word. Those that go by different configurations
    /// could; hence the version.
    public func mayProve(_ challenge: PossessionChallenge) -> Bool {
        challenge.configVersion == config.version && home(of: challenge.block).contains(server)
    }
}
