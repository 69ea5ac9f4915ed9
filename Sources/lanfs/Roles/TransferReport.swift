import LanfsClient
import Synchronization

/// What a transfer tells the person: a bar while it runs, a line for what was left out, a summary for scripts.
final class TransferReport: Sendable {
    private struct State {
        var files: UInt64 = 0
        var folders: UInt64 = 0
        var links: UInt64 = 0
        var bytes: UInt64 = 0
        var resumed: UInt64 = 0
        var failures: UInt64 = 0
        /// Of the first failure.
        var status = ExitCode.success
        var inFile: UInt64 = 0
        var isSilent = false
    }

    private let state = Mutex(State())
    private let meter: ProgressMeter
    private let command: String
    private let tellsEach: Bool
    private let start = ContinuousClock.now

    /// `command`: what messages start with.
    init(_ command: String, _ verbosity: CommonOptions.Verbosity) {
        self.command = command
        if case .verbose = verbosity { tellsEach = true } else { tellsEach = false }
        meter = ProgressMeter(label: [], total: nil, verbosity: verbosity)
    }

    var progress: TransferProgress { TransferProgress { self.note($0) } }

    private func note(_ event: TransferProgress.Event) {
        if state.withLock({ $0.isSilent }) { return }
        switch event {
        case .began(let name, let size):
            state.withLock { $0.inFile = 0 }
            meter.describe(label: name, total: size)
            if tellsEach { meter.note("\(command): \(Printable.text(name))\n") }
        case .moved(let bytes, let resumed):
            let done = state.withLock { state in
                state.bytes += bytes
                if resumed { state.resumed += bytes }
                state.inFile += bytes
                return state.inFile
            }
            meter.update(done: done)
        case .finished(let kind):
            state.withLock { state in
                switch kind {
                case .file: state.files += 1
                case .folder: state.folders += 1
                case .link: state.links += 1
                }
            }
        case .skipped(let error): fail(CommandError(error))
        }
    }

    /// A line for the person, whatever is drawn.
    func note(_ text: String) {
        if !state.withLock({ $0.isSilent }) { meter.note(text) }
    }

    /// Tells a failure; the first one decides the exit status.
    func fail(_ error: CommandError) {
        let isSilent = state.withLock { state in
            state.failures += 1
            if state.status == .success { state.status = error.code }
            return state.isSilent
        }
        if !isSilent, !error.message.isEmpty { meter.note("\(command): \(error.message)\n") }
    }

    /// The person has ended it: nothing more is of interest, and what fails now fails for that reason.
    func fallSilent() {
        state.withLock { $0.isSilent = true }
        meter.finish()
    }

    /// The exit status, after the summary on standard output if it was asked for.
    func end(json: Bool) throws(CommandError) -> ExitCode {
        meter.finish()
        let summary = state.withLock { $0 }
        if json {
            let time = (ContinuousClock.now - start).components
            let milliseconds = time.seconds * 1000 + time.attoseconds / 1_000_000_000_000_000
            let value = JSONValue.object([
                .init("files", .unsigned(summary.files)), .init("folders", .unsigned(summary.folders)),
                .init("links", .unsigned(summary.links)), .init("bytes", .unsigned(summary.bytes)),
                .init("resumed_bytes", .unsigned(summary.resumed)), .init("failures", .unsigned(summary.failures)),
                .init("milliseconds", .integer(milliseconds)),
            ])
            try StandardOutput.print(value.text + "\n")
        }
        return summary.status
    }
}
