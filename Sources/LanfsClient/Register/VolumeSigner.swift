import LanfsCrypto
import LanfsProtocol

/// The volume key as the register needs it.
struct VolumeSigner: RecordSigner {
    let key: SigningKey

    func hash(_ bytes: [UInt8]) -> RecordHash { bytes.withUnsafeBytes { RecordHash(hashing: $0) } }

    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool {
        SigningKey.verify(signature: signature, message: message, publicKey: volume.bytes)
    }

    func sign(_ message: [UInt8]) -> [UInt8] { key.sign(message) }
}
