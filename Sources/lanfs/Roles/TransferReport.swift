import LanfsClient
import Synchronization

/// What a transfer tells the person: a bar while it runs, a line for what was left out, a summary for scripts.
final class TransferReport: Sendable {
    private struct State {
        var files = 0
        var bytes: UInt64 = 0
        var resumed: UInt64 = 0
        var skipped: [TransferError] = []
        var inFile: UInt64 = 0
    }

    private let state = Mutex(State())
    private let meter: ProgressMeter

    init(_ verbosity: CommonOptions.Verbosity) {
        meter = ProgressMeter(label: [], total: nil, verbosity: verbosity)
    }

    var progress: TransferProgress { TransferProgress { self.note($0) } }

    private func note(_ event: TransferProgress.Event) {
        switch event {
        case .began(let path, let size):
            state.withLock { $0.inFile = 0 }
            meter.describe(label: Array(path.utf8), total: size)
        case .moved(let bytes, let resumed):
            let done = state.withLock { state in
                if resumed { state.resumed += UInt64(bytes) } else { state.bytes += UInt64(bytes) }
                state.inFile += UInt64(bytes)
                return state.inFile
            }
            meter.update(done: done)
        case .finished: state.withLock { $0.files += 1 }
        case .skipped(let error):
            state.withLock { $0.skipped.append(error) }
            meter.note("lanfs: \(error)\n")
        }
    }

    func end() { meter.finish() }

    /// The exit status, after the summary on standard output if it was asked for.
    func result(json: Bool) throws(CommandError) -> ExitCode {
        let summary = state.withLock { $0 }
        if json {
            let value = JSONValue.object([
                .init("files", .integer(Int64(summary.files))), .init("bytes", .unsigned(summary.bytes)),
                .init("resumed_bytes", .unsigned(summary.resumed)),
                .init("skipped", .array(summary.skipped.map { .string($0.description) })),
            ])
            try StandardOutput.print(value.text + "\n")
        }
        guard let first = summary.skipped.first else { return .success }
        return CommandError(first).code
    }
}
