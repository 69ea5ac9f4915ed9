/// Lets through `rate` bytes a second, and at once no more than `burst`. Begins empty: a process that starts again and
/// again must not begin with a burst each time.
public struct TokenBucket: Sendable {
    /// Bytes a second.
    public let rate: UInt64
    /// Bytes.
    public let burst: UInt64
    private var level: UInt64 = 0
    /// Billionths of a byte beyond that.
    private var fraction: UInt128 = 0
    private var filled: Duration

    /// - Parameters:
    ///   - rate: bytes a second.
    ///   - burst: bytes; at least one block of the greatest length, which would never fit otherwise.
    public init(rate: UInt64, burst: UInt64, now: Duration) {
        self.rate = rate
        self.burst = max(burst, UInt64(Limits.blockSize))
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
        let (total, carried) = product.addingReportingOverflow(fraction)
        let gained = overflow || carried ? UInt128(burst) : total / 1_000_000_000
        level = UInt64(min(UInt128(burst), UInt128(level) + min(gained, UInt128(burst))))
        fraction = level == burst ? 0 : total % 1_000_000_000
        filled = now
    }
}
