import Glibc

/// Where the store's seconds come from, so that tests can move them.
public struct StoreClock: Sendable {
    /// Seconds since 1970; may jump.
    public var wall: @Sendable () -> Int64
    /// Seconds since some fixed moment of this boot, suspended time included; never jumps.
    public var monotonic: @Sendable () -> Int64

    public init(wall: @escaping @Sendable () -> Int64, monotonic: @escaping @Sendable () -> Int64) {
        self.wall = wall
        self.monotonic = monotonic
    }

    public static let system = StoreClock(
        wall: { seconds(CLOCK_REALTIME) }, monotonic: { seconds(CLOCK_BOOTTIME) })

    private static func seconds(_ clock: clockid_t) -> Int64 {
        var now = timespec()
        clock_gettime(clock, &now)
        return Int64(now.tv_sec)
    }
}

/// The store's own time in seconds, by which quarantine is counted (G7).
///
/// Deletion must not follow a wall clock that jumps. While the store is open its time goes by the monotonic clock.
/// Across a restart it goes on from the newest time on record plus what the wall clock says has passed since, but never
/// backwards and never by more than `maximumGap`: a wrong clock at start shortens a quarantine by that much at most.
struct StoreTime: Sendable {
    private let clock: StoreClock
    private let base: UInt64
    private let started: Int64

    init(clock: StoreClock, last: UInt64, lastWall: Int64, maximumGap: UInt64) {
        self.clock = clock
        let (gap, overflow) = clock.wall().subtractingReportingOverflow(lastWall)
        // A time that left no room to count on can only come from a damaged file.
        base = min(last, UInt64(Int64.max)) + (overflow || gap < 0 ? 0 : min(UInt64(gap), maximumGap))
        started = clock.monotonic()
    }

    var now: UInt64 { base &+ UInt64(max(0, clock.monotonic() &- started)) }
    var wall: Int64 { clock.wall() }
}
