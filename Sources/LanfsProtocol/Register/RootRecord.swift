/// The value of the root register: the one small mutable thing of a volume (protocol.md section 2).
///
/// Everything but `ballot` and `signature` is the value; those two say which attempt proposed it. The signature is
/// over all of it, so that no server can put an old value under a new ballot.
public struct RootRecord: Equatable, Sendable {
    public var volume: VolumeID
    /// In which set of keepers it was proposed.
    public var epoch: UInt64
    /// Distance from the volume's first record.
    public var sequence: UInt64
    /// The parent's `hash`; `.zero` in the first record.
    public var previous: RecordHash
    /// How many collections began (G4).
    public var gcEpoch: UInt64
    public var config: VolumeConfig
    /// Set: the epoch ends here and goes on with these keepers (M2).
    public var sealedNext: Keepers?
    /// ``RootContents``, sealed: for clients only.
    public var contents: [UInt8]
    public var ballot: Ballot
    public var signature: [UInt8]

    /// The first record of a volume, unsigned (F5).
    public init(creating volume: VolumeID, config: VolumeConfig, contents: [UInt8], ballot: Ballot) {
        self.volume = volume
        epoch = 1
        sequence = 0
        previous = .zero
        gcEpoch = 0
        self.config = config
        sealedNext = nil
        self.contents = contents
        self.ballot = ballot
        signature = []
    }

    /// "Same value": ballot and signature only say who proposed it when.
    public func sameValue(as other: RootRecord) -> Bool {
        sequence == other.sequence && epoch == other.epoch && volume == other.volume && previous == other.previous
            && gcEpoch == other.gcEpoch && contents == other.contents && config == other.config
            && sealedNext == other.sealedNext
    }

    /// P1: the order of proposals. The epoch comes first, so that a value kept from the epoch before never outranks
    /// one of this epoch, whatever ballot a server shows it under.
    public func isNewer(than other: RootRecord) -> Bool {
        (epoch, ballot) > (other.epoch, other.ballot)
    }

    public func hash(_ verifier: some RecordVerifier) -> RecordHash {
        var writer = ByteWriter(reserving: 512)
        encodeValue(into: &writer)
        return verifier.hash(writer.bytes)
    }

    /// The configuration in force in `epoch`: the sealing record of the epoch before names the new keepers.
    public func config(in epoch: UInt64) -> VolumeConfig {
        if epoch > self.epoch, let sealedNext { config.moved(to: sealedNext) } else { config }
    }

    /// Whether a keeper of `epoch` can have it: it was proposed there, or it is the seal that opened the epoch.
    public func belongs(to epoch: UInt64) -> Bool { self.epoch == epoch || opens(epoch) }

    /// Whether it ends the epoch before (M2).
    public func opens(_ epoch: UInt64) -> Bool { self.epoch < epoch && isSealed(in: epoch - 1) }

    /// In which epoch the volume is once this is chosen.
    public var epochInForce: UInt64 { sealedNext == nil ? epoch : epoch &+ 1 }

    /// Nothing but this very value may follow in its epoch (M2).
    public func isSealed(in epoch: UInt64) -> Bool { self.epoch == epoch && sealedNext != nil }
}

/// What a commit changes; the rest of a record follows from its parent (P2).
public struct RootChange: Equatable, Sendable {
    public var contents: [UInt8]
    public var gcEpoch: UInt64
    /// `nil`: as before.
    public var config: VolumeConfig?
    public var sealedNext: Keepers?

    public init(contents: [UInt8], gcEpoch: UInt64, config: VolumeConfig? = nil, sealedNext: Keepers? = nil) {
        self.contents = contents
        self.gcEpoch = gcEpoch
        self.config = config
        self.sealedNext = sealedNext
    }
}

extension RootRecord {
    /// P2: the child that a commit proposes.
    func child(
        _ change: RootChange, epoch: UInt64, ballot: Ballot, signer: some RecordSigner
    ) -> RootRecord {
        var child = self
        child.epoch = epoch
        child.sequence = sequence + 1
        child.previous = hash(signer)
        child.gcEpoch = change.gcEpoch
        child.config = change.config ?? config(in: epoch)
        child.sealedNext = change.sealedNext
        child.contents = change.contents
        return child.signed(ballot: ballot, signer)
    }

    /// The same value as an attempt of its own.
    public func signed(ballot: Ballot, _ signer: some RecordSigner) -> RootRecord {
        var signed = self
        signed.ballot = ballot
        signed.signature = signer.sign(signed.signedBytes)
        return signed
    }

    public func isSigned(for volume: VolumeID, _ verifier: some RecordVerifier) -> Bool {
        self.volume == volume && verifier.isValid(signature: signature, of: signedBytes, by: volume)
    }
}

extension RootRecord {
    public static let version: UInt8 = 1
    private static let domain = Array("lanfs root record\0".utf8)

    private var signedBytes: [UInt8] {
        var writer = ByteWriter(reserving: 640)
        writer.append(raw: Self.domain)
        encodeValue(into: &writer)
        ballot.encode(into: &writer)
        return writer.bytes
    }

    private func encodeValue(into writer: inout ByteWriter) {
        writer.append(Self.version)
        writer.append(volume)
        writer.append(epoch)
        writer.append(sequence)
        writer.append(previous)
        writer.append(gcEpoch)
        config.encode(into: &writer)
        writer.append(optional: sealedNext) { config.encode($1, into: &$0) }
        writer.append(prefixed: contents)
    }

    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 640)
        encodeValue(into: &writer)
        ballot.encode(into: &writer)
        writer.append(prefixed: signature)
        return writer.bytes
    }

    /// Whether it is small enough to be kept: at most `Limits.rootRecordSize` bytes, every keeper a server.
    public var fits: Bool {
        let keepers = config.keepers.members + (sealedNext?.members ?? [])
        return config.servers.count <= VolumeConfig.serverLimit && config.keepers.isValid
            && sealedNext?.isValid != false
            && config.replicas > 0
            && keepers.allSatisfy { keeper in config.servers.contains { $0.server == keeper } }
            && encoded.count <= Limits.rootRecordSize
    }

    /// As a field of a message: its length, then its bytes.
    public func encode(into writer: inout ByteWriter) {
        writer.append(prefixed: encoded)
    }

    public init(from reader: inout ByteReader) throws(DecodingError) {
        try self.init(encoded: try reader.prefixed(limit: Limits.rootRecordSize))
    }

    public init(encoded bytes: [UInt8]) throws(DecodingError) {
        guard bytes.count <= Limits.rootRecordSize else {
            throw .tooLong(what: "a root record", length: bytes.count, limit: Limits.rootRecordSize)
        }
        var reader = ByteReader(bytes)
        guard try reader.integer(UInt8.self) == Self.version else {
            throw .invalid(what: "the version of a root record (a newer lanfs wrote it?)")
        }
        volume = try reader.id()
        epoch = try reader.integer()
        sequence = try reader.integer()
        previous = try reader.id()
        gcEpoch = try reader.integer()
        let config = try VolumeConfig(from: &reader)
        self.config = config
        sealedNext = try reader.optional { (reader) throws(DecodingError) in try config.keepers(from: &reader) }
        contents = try reader.prefixed(limit: Limits.rootRecordSize)
        ballot = try Ballot(from: &reader)
        signature = try reader.prefixed(limit: 64)
        try reader.finish()
    }
}
