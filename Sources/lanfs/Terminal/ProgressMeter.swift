import Glibc
import Synchronization

/// Progress on stderr while bytes are copied: nothing unless it is a terminal and the user did not say `-q`. Any task
/// may report; the line is drawn at most ten times a second and erased when the copy ends.
final class ProgressMeter: Sendable {
    private struct State {
        var line: ProgressLine
        var rate: RateEstimate
        var lastDrawn: ContinuousClock.Instant?
        var isDrawn = false
    }

    static let redrawInterval = Duration.milliseconds(100)

    private let state: Mutex<State>
    private let descriptor: Int32
    private let isEnabled: Bool

    /// `label` may be any bytes, such as the name of a file.
    init(
        label: [UInt8], total: UInt64?, verbosity: CommonOptions.Verbosity, descriptor: Int32 = STDERR_FILENO,
        now: ContinuousClock.Instant = .now
    ) {
        let line = ProgressLine(label: Printable.text(label), done: 0, total: total, rate: nil)
        state = Mutex(State(line: line, rate: RateEstimate(start: now)))
        self.descriptor = descriptor
        isEnabled = verbosity != .quiet && Terminal.isTerminal(descriptor)
    }

    /// Tells how many bytes are done in all.
    func update(done: UInt64, now: ContinuousClock.Instant = .now) {
        guard isEnabled else { return }
        state.withLock { state in
            state.line.done = done
            if let last = state.lastDrawn, now - last < Self.redrawInterval { return }
            state.rate.add(done: done, at: now)
            state.line.rate = state.rate.bytesPerSecond
            state.lastDrawn = now
            draw(&state)
        }
    }

    /// Shows another file on the line, or a total that became known.
    func describe(label: [UInt8], total: UInt64?) {
        guard isEnabled else { return }
        state.withLock { state in
            state.line.label = Printable.text(label)
            state.line.total = total
        }
    }

    /// Writes lines of diagnostics without tearing the bar.
    func note(_ text: String) {
        state.withLock { state in
            erase(&state)
            _ = writeAll(Array(text.utf8), to: descriptor)
        }
    }

    /// Erases the line; to be called on every way out.
    func finish() { state.withLock { erase(&$0) } }

    private func draw(_ state: inout State) {
        // One column stays free: writing into the last one makes some terminals wrap.
        let columns = max(1, (Terminal.columns(descriptor) ?? 80) - 1)
        _ = writeAll(Array("\r\u{1B}[K\(state.line.text(columns: columns))".utf8), to: descriptor)
        state.isDrawn = true
    }

    private func erase(_ state: inout State) {
        guard state.isDrawn else { return }
        _ = writeAll(Array("\r\u{1B}[K".utf8), to: descriptor)
        state.isDrawn = false
    }
}

/// The rate over the last few seconds: recent enough to show a change, long enough to be readable.
struct RateEstimate {
    static let window = Duration.seconds(5)
    private var samples: [(time: ContinuousClock.Instant, done: UInt64)]

    init(start: ContinuousClock.Instant) { samples = [(start, 0)] }

    /// At most one sample for each redraw is added, so at most some fifty are kept.
    mutating func add(done: UInt64, at time: ContinuousClock.Instant) {
        samples.append((time, done))
        while samples.count > 2, time - samples[1].time >= Self.window { samples.removeFirst() }
    }

    /// Nil until half a second has been seen.
    var bytesPerSecond: Double? {
        guard let first = samples.first, let last = samples.last else { return nil }
        let span = (last.time - first.time) / .seconds(1)
        guard span >= 0.5, last.done >= first.done else { return nil }
        return Double(last.done - first.done) / span
    }
}
