import LanfsCrypto
import LanfsProtocol

/// The volume key as the register needs it.
struct VolumeSigner: RecordSigner {
    let key: SigningKey

    func hash(_ bytes: [UInt8]) -> RecordHash { RecordHasher().hash(bytes) }

    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool {
        RecordHasher().isValid(signature: signature, of: message, by: volume)
    }

    func sign(_ message: [UInt8]) -> [UInt8] { key.sign(message) }
}
