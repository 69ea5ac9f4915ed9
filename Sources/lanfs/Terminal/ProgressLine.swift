/// One line of progress as text; pure, so that it can be tested at every width.
struct ProgressLine: Equatable, Sendable {
    /// What is being copied; already safe to show.
    var label: String
    var done: UInt64
    /// Nil: unknown, as with standard input.
    var total: UInt64?
    /// Bytes per second; nil until there is something to measure.
    var rate: Double?

    /// The line, at most `columns` wide. What matters least goes first when there is little room: the bar, the sizes,
    /// the label.
    func text(columns: Int) -> String {
        let figures = [percent, sizes, rateText, timeLeft].compactMap { $0 }
        let essential = [percent ?? HumanSize.text(done), rateText, timeLeft].compactMap { $0 }
        let full = figures.joined(separator: "  ")
        let labelWidth = DisplayWidth.of(label)
        let room = columns - DisplayWidth.of(full) - labelWidth - 4
        if total != nil, room >= 10 {
            return "\(label)  \(bar(width: min(room, 40)))  \(full)"
        }
        for tail in [full, essential.joined(separator: "  ")] {
            let room = columns - DisplayWidth.of(tail) - 2
            if room >= min(labelWidth, 8) { return DisplayWidth.truncate(label, to: room) + "  " + tail }
        }
        return DisplayWidth.truncate(essential.joined(separator: "  "), to: columns)
    }

    /// Between 0 and 1; a file that grows while it is copied stays at 1.
    private var fraction: Double? {
        guard let total else { return nil }
        return total == 0 ? 1 : min(1, Double(done) / Double(total))
    }

    private var percent: String? {
        guard let fraction else { return nil }
        let text = "\(Int(fraction * 100))%"
        return String(repeating: " ", count: 4 - text.count) + text
    }

    private var sizes: String {
        guard let total else { return HumanSize.text(done) }
        return "\(HumanSize.text(done)) of \(HumanSize.text(total))"
    }

    private var rateText: String? { rate.map { HumanSize.rate(bytesPerSecond: $0) } }

    private var timeLeft: String? {
        guard let total, let rate, rate >= 1, total > done else { return nil }
        let seconds = (Double(total - done) / rate).rounded(.up)
        return seconds < 1e8 ? "\(HumanSize.clock(seconds: UInt64(seconds))) left" : nil
    }

    private func bar(width: Int) -> String {
        let inside = width - 2
        let filled = Int(Double(inside) * (fraction ?? 0))
        return "[" + String(repeating: "#", count: filled) + String(repeating: "-", count: inside - filled) + "]"
    }
}
