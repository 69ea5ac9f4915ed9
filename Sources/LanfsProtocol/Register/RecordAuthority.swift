/// What the register needs of cryptography. Injected, so that the register stays pure and the simulator can run with
/// a signature that costs nothing.
public protocol RecordVerifier: Sendable {
    /// SHA-256.
    func hash(_ bytes: [UInt8]) -> RecordHash
    /// Ed25519: is `signature` the volume key's over `message`? The volume id is the public key.
    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool
}

/// Holds the volume's signing key: clients only, never a server.
public protocol RecordSigner: RecordVerifier {
    /// Ed25519 over `message`, 64 bytes.
    func sign(_ message: [UInt8]) -> [UInt8]
}

public enum RecordTag {}

/// SHA-256 of a root record's value: how a record names its parent.
public typealias RecordHash = ID<RecordTag>
