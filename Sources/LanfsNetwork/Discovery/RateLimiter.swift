import NIOCore

/// So many at once, so many a second after that.
struct TokenBucket {
    let burst: Double
    let perSecond: Double
    private var tokens: Double
    private var last: NIODeadline

    init(burst: Double, perSecond: Double, now: NIODeadline) {
        self.burst = burst
        self.perSecond = perSecond
        tokens = burst
        last = now
    }

    mutating func take(now: NIODeadline) -> Bool {
        refill(now)
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }

    mutating func isFull(now: NIODeadline) -> Bool {
        refill(now)
        return tokens >= burst
    }

    private mutating func refill(_ now: NIODeadline) {
        guard now > last else { return }
        tokens = min(burst, tokens + Double((now - last).nanoseconds) * 1e-9 * perSecond)
        last = now
    }
}

/// How much a responder answers, because the sender of a datagram may be forged.
public struct DiscoveryLimits: Sendable {
    public var burst = 200.0
    public var perSecond = 100.0
    /// A search sends about ten queries from an address.
    public var burstPerSource = 40.0
    public var perSecondPerSource = 10.0

    public init() {}
}

/// One bucket for every sender and one for all together.
struct RateLimiter {
    private let limits: DiscoveryLimits
    private var all: TokenBucket
    private var sources: [String: TokenBucket] = [:]
    private let sourceLimit = 1024

    init(_ limits: DiscoveryLimits, now: NIODeadline) {
        self.limits = limits
        all = TokenBucket(burst: limits.burst, perSecond: limits.perSecond, now: now)
    }

    mutating func admits(_ source: String, now: NIODeadline) -> Bool {
        if sources.count >= sourceLimit, sources[source] == nil { forgetIdle(now) }
        var bucket =
            sources[source]
            ?? TokenBucket(burst: limits.burstPerSource, perSecond: limits.perSecondPerSource, now: now)
        defer { sources[source] = bucket }
        // The sender's own first: what it is denied takes nothing from the others.
        return bucket.take(now: now) && all.take(now: now)
    }

    /// Who forges a thousand senders resets the buckets, and still meets the one for all.
    private mutating func forgetIdle(_ now: NIODeadline) {
        sources = sources.filter { entry in
            var bucket = entry.value
            return !bucket.isFull(now: now)
        }
        if sources.count >= sourceLimit { sources = [:] }
    }

    var sourceCount: Int { sources.count }
}
