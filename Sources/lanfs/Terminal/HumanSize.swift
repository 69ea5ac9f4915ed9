/// Sizes, rates and times for people.
enum HumanSize {
    private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

    /// Three significant digits: `0 B`, `1023 B`, `1.50 GiB`, `117 MiB`.
    static func text(_ bytes: UInt64) -> String {
        let (digits, power) = scaled(bytes, significant: 3)
        return "\(digits) \(units[power])"
    }

    /// As `ls -lh` writes it: `0`, `1023`, `1.5G`, `117M`. Rounded up, as there, so that nothing looks free that is
    /// not.
    static func compact(_ bytes: UInt64) -> String {
        guard bytes >= 1024 else { return "\(bytes)" }
        var power = 0
        // The first unit in which the size, rounded up, has at most three digits before the point.
        while power < units.count - 1, roundedUp(bytes, shift: 10 * power) >= 1024 { power += 1 }
        let letter = units[power].prefix(1)
        // Tenths, rounded up, while they show.
        let unit = UInt64(1) << (10 * UInt64(power))
        let whole = bytes / unit
        let tenths = (bytes % unit).multipliedFullWidth(by: 10)
        let (quotient, remainder) = unit.dividingFullWidth(tenths)
        let total = whole * 10 + quotient + (remainder > 0 ? 1 : 0)
        return total < 100 ? "\(total / 10).\(total % 10)\(letter)" : "\(roundedUp(bytes, shift: 10 * power))\(letter)"
    }

    private static func roundedUp(_ bytes: UInt64, shift: Int) -> UInt64 {
        let unit = UInt64(1) << UInt64(shift)
        return bytes / unit + (bytes % unit > 0 ? 1 : 0)
    }

    static func rate(bytesPerSecond: Double) -> String {
        text(bytesPerSecond.isFinite && bytesPerSecond > 0 ? UInt64(min(bytesPerSecond, 1e18)) : 0) + "/s"
    }

    /// `0:07`, `12:34`, `3:04:05`, `2d 03h`.
    static func clock(seconds: UInt64) -> String {
        func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        if seconds < 3600 { return "\(seconds / 60):\(two(seconds % 60))" }
        if seconds < 86_400 { return "\(seconds / 3600):\(two(seconds / 60 % 60)):\(two(seconds % 60))" }
        return "\(seconds / 86_400)d \(two(seconds / 3600 % 24))h"
    }

    /// The number in the largest unit that keeps it at 1 or above, with as many decimals as `significant` digits allow.
    private static func scaled(_ bytes: UInt64, significant: Int) -> (String, Int) {
        var power = 0
        var value = Double(bytes)
        // 1023.5 KiB would be written as 1024 KiB: go to the next unit already there.
        while value >= (power == 0 ? 1024 : 1023.5), power < units.count - 1 {
            value /= 1024
            power += 1
        }
        if power == 0 { return ("\(bytes)", 0) }
        let decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0
        return (fixed(value, decimals: decimals), power)
    }

    /// `value`, which is below 10^6, with so many decimals.
    private static func fixed(_ value: Double, decimals: Int) -> String {
        let scale: UInt64 = decimals == 2 ? 100 : decimals == 1 ? 10 : 1
        let scaled = UInt64((value * Double(scale)).rounded())
        if decimals == 0 { return "\(scaled)" }
        let fraction = String(scaled % scale)
        return "\(scaled / scale)." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }
}
