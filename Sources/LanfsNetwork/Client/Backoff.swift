/// Pauses between attempts: doubling, with a quarter of chance either way so that many clients do not come at once.
struct Backoff {
    let shortest: Duration
    let longest: Duration
    private var next: Duration

    init(shortest: Duration = .milliseconds(50), longest: Duration = .seconds(2)) {
        self.shortest = shortest
        self.longest = longest
        next = shortest
    }

    mutating func reset() { next = shortest }

    mutating func pause(using generator: inout some RandomNumberGenerator) -> Duration {
        defer { next = min(longest, next * 2) }
        return next * Double.random(in: 0.75...1.25, using: &generator)
    }
}
