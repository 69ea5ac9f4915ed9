/// How long this client keeps a lease that another waits for (L2): while it goes on changing things 50 ms, so that two who
/// write much do not spend their time handing over; otherwise only until it has done what it got the lease for.
struct Turn {
    private static let longest = Duration.milliseconds(50)
    /// Without a change for so long there is nothing under way that another change will follow.
    private static let pause = Duration.milliseconds(1)

    private let since: ContinuousClock.Instant
    private var lastChange: ContinuousClock.Instant?
    /// Another client waits.
    var ends = false

    init(since: ContinuousClock.Instant) { self.since = since }

    mutating func changed(_ now: ContinuousClock.Instant) { lastChange = now }

    /// Until it is worth asking again; `nil`: the lease is given up now.
    func rest(_ now: ContinuousClock.Instant) -> Duration? {
        let end = since + Self.longest
        guard now < end else { return nil }
        guard let lastChange else { return min(end - now, Self.pause) }
        let pause = lastChange + Self.pause - now
        return pause > .zero ? min(end - now, pause) : nil
    }
}
