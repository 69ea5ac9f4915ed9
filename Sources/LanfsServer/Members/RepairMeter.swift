/// What was copied lately: bytes a second over the last ten, for people who watch.
struct RepairMeter: Sendable {
    private static let seconds = 10

    private var slots = [UInt64](repeating: 0, count: RepairMeter.seconds)
    private var current = 0

    private mutating func advance(to second: Int) {
        for skipped in 0..<min(max(0, second - current), Self.seconds) {
            slots[(second - skipped) % Self.seconds] = 0
        }
        current = max(current, second)
    }

    mutating func add(_ bytes: Int, now: Duration) {
        advance(to: Int(now.components.seconds))
        slots[current % Self.seconds] += UInt64(bytes)
    }

    mutating func rate(now: Duration) -> UInt64 {
        advance(to: Int(now.components.seconds))
        return slots.reduce(0, +) / UInt64(Self.seconds)
    }
}
