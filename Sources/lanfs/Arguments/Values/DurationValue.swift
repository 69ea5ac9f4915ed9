/// Durations as people write them: `500ms`, `30s`, `15m`, `24h`, `7d`, `1h30m`. A bare number is refused: `--quarantine
/// 24` read as 24 seconds would delete a day too early.
extension Duration: ArgumentValue {
    static var completion: Completion { .nothing }

    /// No option needs more, and deadlines computed from it stay far from overflow.
    static var longestAccepted: Duration { .seconds(100 * 365 * 86_400) }

    private static let units: [(name: String, nanoseconds: UInt64)] = [
        ("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
        ("h", 3_600_000_000_000), ("d", 86_400_000_000_000),
    ]

    init(argument: Argument) throws(BadValue) {
        if argument.bytes == [UInt8(ascii: "0")] {
            self = .zero
            return
        }
        if argument.bytes.first == UInt8(ascii: "-") {
            throw BadValue("\(argument.quoted) is negative; a duration is 0 or more")
        }
        let notOne = BadValue("\(argument.quoted) is not a duration; write one like 500ms, 30s, 15m, 24h or 7d")
        var rest = argument.bytes[...]
        var total: Duration = .zero
        var smallestUnit = UInt64.max
        guard !rest.isEmpty else { throw notOne }
        while !rest.isEmpty {
            guard let (number, tail) = DecimalNumber.parse(rest) else { throw notOne }
            let letters = tail.prefix { $0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "z") }
            guard !letters.isEmpty || !tail.isEmpty || smallestUnit != .max else {
                throw BadValue(
                    "\(argument.quoted) has no unit; write \(argument.shown)s for seconds, m for minutes or h for hours"
                )
            }
            // Parts come from large to small, as in 1h30m: 30m1h is a slip.
            guard let unit = Self.units.first(where: { letters.elementsEqual($0.name.utf8) })?.nanoseconds,
                unit < smallestUnit
            else { throw notOne }
            smallestUnit = unit
            guard let nanoseconds = number.scaled(by: unit) else { throw Self.tooLong(argument) }
            total += .nanoseconds(Int64(nanoseconds))
            rest = tail.dropFirst(letters.count)
        }
        guard total <= Self.longestAccepted else { throw Self.tooLong(argument) }
        self = total
    }

    private static func tooLong(_ argument: Argument) -> BadValue {
        BadValue("\(argument.quoted) is too long; the longest duration is 100 years (36500d)")
    }
}
