/// How much of what is written in one go the page cache is to keep.
///
/// A file of that size may well be read again soon. A longer stream would push out what others read again and again, and
/// filling fresh pages is more than half of what a server computes for it.
struct WriteStream {
    /// In bytes.
    private static let kept = 64 << 20
    /// After so long without a write the next stream begins.
    private static let pause = Duration.seconds(2)

    private var written = 0
    private var last: ContinuousClock.Instant?

    /// Counts a long write; whether it is to leave nothing in the page cache.
    mutating func isPassing(_ bytes: Int, _ now: ContinuousClock.Instant) -> Bool {
        if let last, now - last > Self.pause { written = 0 }
        last = now
        written += bytes
        return written > Self.kept
    }
}
