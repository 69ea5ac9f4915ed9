/// The times of the write lease (protocol.md section 3), all on monotonic clocks that agree within 1%.
public struct LeaseTiming: Sendable {
    public static let standard = LeaseTiming()

    /// L: how long a keeper's yes keeps other proposers out (L2).
    public var length: Duration = .seconds(10)
    /// How long a holder trusts a keeper's yes, from when it sent the question (L1): 0.95 L.
    public var trusted: Duration = .milliseconds(9500)
    /// A holder asks again this long after the question that its lease counts from.
    public var renewal: Duration = .milliseconds(3300)
    /// Keepers that do not answer a renewal are not asked more often than this.
    public var shortestRenewal: Duration = .seconds(1)
    /// A holder that is alone tells the keepers by then what is chosen, unless its next commit does (P3).
    public var news: Duration = .milliseconds(5)
    /// After a release only the first in line gets the lease for this long (L7).
    public var turn: Duration = .milliseconds(20)
    /// A session that does not read for so long is forgotten, and joins again with its next read (L4).
    public var sessionMemory: Duration = .seconds(30)
    /// A refused proposer counts as waiting for this long; it asks again within `longestBackoff`.
    public var wantedMemory: Duration = .seconds(2)
    /// An unanswered request is sent again after this, then after twice that, up to `longestRetry`.
    public var firstRetry: Duration = .milliseconds(200)
    public var longestRetry: Duration = .seconds(2)
    /// P7: a refused proposer waits a random time from 5 ms up to a bound that doubles to this.
    public var shortestBackoff: Duration = .milliseconds(5)
    public var longestBackoff: Duration = .milliseconds(500)
    /// P4: a fast read that met a commit under way asks again after 1, 2, 4 ... 20 ms.
    public var firstRecheck: Duration = .milliseconds(1)
    public var longestRecheck: Duration = .milliseconds(20)

    public init() {}

    /// P7, from 64 random bits.
    func backoff(attempt: Int, random: UInt64) -> Duration {
        let bound = min(longestBackoff, shortestBackoff * (2 << min(attempt, 16)))
        let span = (bound - shortestBackoff) / .nanoseconds(1)
        return shortestBackoff + .nanoseconds(Int64(Double(random >> 11) / Double(1 << 53) * span))
    }
}
