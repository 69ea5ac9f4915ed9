/// Why a command failed: what failed, on what, why and what to do next, in words for the user, and the exit status.
struct CommandError: Error, Equatable, Sendable {
    let code: ExitCode
    /// Empty when there is nobody to tell, as when the reader of a pipe has gone.
    let message: String

    init(_ code: ExitCode, _ message: String) {
        self.code = code
        self.message = message
    }

    static let readerGone = CommandError(.failure, "")
    static let interrupted = CommandError(.failure, "")
}
