/// Lets through `rate` bytes a second, and at once no more than `burst`.
public struct TokenBucket: Sendable {
    /// Bytes a second.
    public let rate: UInt64
    /// Bytes.
    public let burst: UInt64
    private var level: UInt64
    private var filled: Duration

    /// - Parameters:
    ///   - rate: bytes a second.
    ///   - burst: bytes; at least one block of the greatest length, which would never fit otherwise.
    public init(rate: UInt64, burst: UInt64, now: Duration) {
        self.rate = rate
        self.burst = max(burst, UInt64(Limits.blockSize))
        level = self.burst
        filled = now
    }

    /// Whether so many bytes may go now; if so they are counted.
    public mutating func take(_ bytes: Int, now: Duration) -> Bool {
        fill(now)
        let wanted = UInt64(max(0, bytes))
        guard wanted <= level else { return false }
        level -= wanted
        return true
    }

    private mutating func fill(_ now: Duration) {
        guard now > filled else { return }
        let (seconds, attoseconds) = (now - filled).components
        let nanoseconds = UInt128(clamping: seconds) * 1_000_000_000 + UInt128(clamping: attoseconds) / 1_000_000_000
        let (product, overflow) = nanoseconds.multipliedReportingOverflow(by: UInt128(rate))
        let gained = overflow ? UInt128(burst) : product / 1_000_000_000
        // A gain that rounds to nothing leaves the time to add up.
        guard gained > 0 else { return }
        level = UInt64(min(UInt128(burst), UInt128(level) + gained))
        filled = now
    }
}
