import LanfsCrypto
import LanfsProtocol

/// The register's cryptography: SHA-256 and Ed25519.
struct RegisterVerifier: RecordVerifier {
    func hash(_ bytes: [UInt8]) -> RecordHash {
        bytes.withUnsafeBytes { bytes in
            withUnsafeTemporaryAllocation(byteCount: sha256Size, alignment: 8) { digest in
                sha256(bytes, into: digest)
                return RecordHash(bigEndianWords: digest)
            }
        }
    }

    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool {
        volume.withUnsafeBytes { publicKey in
            message.withUnsafeBytes { message in
                signature.withUnsafeBytes {
                    SigningKey.verify(signature: $0, message: message, publicKey: publicKey)
                }
            }
        }
    }
}

extension ID {
    /// `bytes` has 32.
    init(bigEndianWords bytes: UnsafeMutableRawBufferPointer) {
        func word(_ index: Int) -> UInt64 {
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        }
        self.init(word0: word(0), word1: word(1), word2: word(2), word3: word(3))
    }
}

/// SHA-256 as the name of a block.
func blockHash(_ bytes: UnsafeRawBufferPointer) -> BlockID {
    withUnsafeTemporaryAllocation(byteCount: sha256Size, alignment: 8) { digest in
        sha256(bytes, into: digest)
        return BlockID(bigEndianWords: digest)
    }
}
