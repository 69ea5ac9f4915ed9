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

    public init(
        entries: Duration, attributes: Duration, missingEntries: Duration = .zero, listings: Bool = false
    ) {
        self.entries = entries
        self.attributes = attributes
        self.missingEntries = missingEntries
        self.listings = listings
    }

    /// No other session is on the volume (L4): what the kernel knows changes only through the kernel.
    public static let solo = CachePolicy(entries: .seconds(3600), attributes: .seconds(3600), listings: true)
    /// Others may come at any moment: attributes are called back (see `MountSession.expire`). Names are not, so they are valid for
    /// less than anybody notices, and not at all once others are there (`FileSystemOperations.isShared`).
    public static let shared = CachePolicy(entries: .milliseconds(50), attributes: .seconds(1))
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
