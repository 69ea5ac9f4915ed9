/// What the log need not say again: a server that stays full refuses the same each time it is asked.
struct SaidLately {
    private var last: (text: String, at: ContinuousClock.Instant)?

    /// Whether this is another line than the last one, or a minute has gone by.
    mutating func isNews(_ text: String) -> Bool {
        if let last, last.text == text, ContinuousClock.now - last.at < .seconds(60) { return false }
        last = (text, .now)
        return true
    }

    /// It is well again: if it comes back, that is news.
    mutating func forget() { last = nil }
}
