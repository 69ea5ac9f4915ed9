import Synchronization

/// How long the kernel may answer by itself from what it was told.
public struct CachePolicy: Equatable, Sendable {
    /// How long a name is known to lead to its inode.
    public var entries: Duration
    /// How long attributes stay true.
    public var attributes: Duration
    /// How long a missing name stays missing. Zero unless nobody else can make it (protocol.md section 7).
    public var missingEntries: Duration
    /// Whether the kernel may keep directory listings between opens.
    public var listings: Bool

    public init(entries: Duration, attributes: Duration, missingEntries: Duration = .zero, listings: Bool = false) {
        self.entries = entries
        self.attributes = attributes
        self.missingEntries = missingEntries
        self.listings = listings
    }

    /// No other session is on the volume (L4): what the kernel knows changes only through the kernel.
    public static let solo = CachePolicy(entries: .seconds(3600), attributes: .seconds(3600), listings: true)
    /// Others may write: short validity, with pushed invalidations on top.
    public static let shared = CachePolicy(entries: .seconds(1), attributes: .seconds(1))
}

/// The policy as replies read it: no lock on the hot path. Fields may be seen from two policies for the moment of a
/// change; whoever shortens a policy also invalidates what was granted under the old one.
final class CurrentCachePolicy: Sendable {
    private let entrySeconds: Atomic<UInt64>
    private let attributeSeconds: Atomic<UInt64>
    private let missingSeconds: Atomic<UInt64>
    private let keepsListings: Atomic<Bool>

    init(_ policy: CachePolicy) {
        entrySeconds = Atomic(policy.entries.secondsBits)
        attributeSeconds = Atomic(policy.attributes.secondsBits)
        missingSeconds = Atomic(policy.missingEntries.secondsBits)
        keepsListings = Atomic(policy.listings)
    }

    func set(_ policy: CachePolicy) {
        entrySeconds.store(policy.entries.secondsBits, ordering: .releasing)
        attributeSeconds.store(policy.attributes.secondsBits, ordering: .releasing)
        missingSeconds.store(policy.missingEntries.secondsBits, ordering: .releasing)
        keepsListings.store(policy.listings, ordering: .releasing)
    }

    var entries: Double { Double(bitPattern: entrySeconds.load(ordering: .acquiring)) }
    var attributes: Double { Double(bitPattern: attributeSeconds.load(ordering: .acquiring)) }
    var missingEntries: Double { Double(bitPattern: missingSeconds.load(ordering: .acquiring)) }
    var listings: Bool { keepsListings.load(ordering: .acquiring) }
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }

    fileprivate var secondsBits: UInt64 { max(0, inSeconds).bitPattern }
}
