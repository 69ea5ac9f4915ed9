import LanfsProtocol
import Synchronization

/// Takes signatures at their word while told to, and keeps what they claim: checking one takes half as long as writing to
/// the journals, and can be done while the disks work (`RegisterLane`).
final class DeferredSignatures: RecordVerifier {
    struct Claim: Sendable {
        fileprivate var signature: [UInt8]
        fileprivate var message: [UInt8]
        fileprivate var volume: VolumeID

        var isTrue: Bool { RegisterVerifier().isValid(signature: signature, of: message, by: volume) }
    }

    /// `nil`: nothing is taken at its word.
    private let claims = Mutex<[Claim]?>(nil)

    func hash(_ bytes: [UInt8]) -> RecordHash { RegisterVerifier().hash(bytes) }

    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool {
        let claim = Claim(signature: signature, message: message, volume: volume)
        let isDeferred = claims.withLock { claims in
            claims?.append(claim)
            return claims != nil
        }
        return isDeferred || claim.isTrue
    }

    /// What `body` took at its word.
    func deferring(_ body: () -> Void) -> [Claim] {
        claims.withLock { $0 = [] }
        body()
        return claims.withLock { claims in
            defer { claims = nil }
            return claims ?? []
        }
    }
}
